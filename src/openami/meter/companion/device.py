"""A software meter served with a companion model: the objects of its list over the meter's cores.

Energies, demand, profiles, clock, relay and events are the real meter's. What it does not measure shows its
nominal value (voltage 230.0 V, frequency 50.00 Hz, power factor 1, currents from the power) or, for other
media, what was captured. Everything else is a live object whose state the meter keeps. Objects are made when
a client associates and forgotten with the association; what is kept of a meter is its `CompanionState`. Rule
never to be broken: the object list is the model's, object by object, attribute by attribute.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final, cast

from openami.meter.public_key_spec import PublicKeySpec
from openami.protocols.dlms.apdus.authentication import Mechanism
from openami.protocols.dlms.interface_classes.association_ln import association_object
from openami.protocols.dlms.interface_classes.interface_object import Access, InterfaceObject
from openami.protocols.dlms.interface_classes.parameter_monitor import ParameterMonitor
from openami.protocols.dlms.interface_classes.security_setup import SecuritySetup
from openami.protocols.dlms.interface_classes.timeline import Timed, Timeline, Watcher
from openami.protocols.dlms.protection.message_protection import Signing
from openami.protocols.dlms.protection.security_control import AUTHENTICATED_ENCRYPTION, Protection
from openami.protocols.dlms.server.association_policy import Administration, AssociationPolicy, ObjectRights
from openami.protocols.dlms.server.device_security import DeviceSecurity
from openami.protocols.dlms.server.logical_device import LogicalDevice
from openami.quantities.obis import ObisCode

from .model import CompanionModel, ModelClient
from .state import CompanionState

LONGEST_PAST: Final = timedelta(days=35)
"""How far back a meter that was never looked at does what was due: a billing period and a little."""
_IDENTITY: Final = frozenset(
    ObisCode.parse(text)
    for text in (
        "0-0:42.0.0", "0-0:41.0.0", "0-0:43.1.0", "0-0:1.0.0", "0-0:96.1.0", "0-0:96.1.1", "1-0:0.2.0",
    )
)  # fmt: skip
FIRST_WITH_USERS: Final = 2
"""Version of Association LN that has a list of users."""
_FIRMWARE_CLASSES: Final = frozenset({18})


class CompanionDevice(LogicalDevice):
    """A meter as its companion model has it.

    Invariant: an object is found only after everything due up to the present was done.

    Parameters
    ----------
    objects:
        Objects by logical name.
    policies:
        Who may associate.
    security:
        Keys and counters.
    timeline:
        What the objects do by themselves.
    state:
        What the meter keeps.
    """

    __slots__ = ("_state", "_timeline")

    def __init__(
        self,
        objects: dict[ObisCode, InterfaceObject],
        policies: tuple[AssociationPolicy, ...],
        security: DeviceSecurity | None,
        timeline: Timeline,
        state: CompanionState,
    ) -> None:
        super().__init__(objects.values(), policies, security)
        self._timeline = timeline
        self._state = state

    def find(self, logical_name: ObisCode) -> InterfaceObject | None:
        """The object of a logical name; None where there is none."""
        self.settle()
        return super().find(logical_name)

    def settle(self) -> None:
        """Do everything that is due up to the present."""
        self._timeline.go_on_from(self._state.reached)  # where another association was in the meantime
        self._timeline.settle()
        self._state.reached = self._timeline.reached

    def next_due(self, until: datetime) -> datetime | None:
        """When something is due next, not after ``until``, by the meter's clock; None for nothing."""
        return self._timeline.next_due(until)

    def replace_policy(self, policy: AssociationPolicy) -> None:
        """Put another policy in the place of the client's, for as long as the meter lives."""
        super().replace_policy(policy)
        self._state.policies[policy.client] = policy

    def written(self, class_id: int, logical_name: ObisCode, attribute: int) -> None:
        """Tell the parameter monitors."""
        for item in self:
            if isinstance(item, ParameterMonitor):
                item.changed(class_id, logical_name, attribute)

    def add(self, item: InterfaceObject) -> None:
        """Take in an object that needs the device itself."""
        self._objects[item.logical_name] = item


def assembled(
    model: CompanionModel,
    objects: dict[ObisCode, InterfaceObject],
    state: CompanionState,
    security: DeviceSecurity | None,
    password: bytes,
    timeline: Timeline,
    public_keys: PublicKeySpec | None,
) -> CompanionDevice:
    """A device of finished objects: policies of the model's clients, and their associations as objects."""
    policies = tuple(_policies(model, objects, state, security, password, public_keys))
    device = CompanionDevice(objects, policies, security, timeline, state)
    for place, client in enumerate(model.clients, 1):
        policy = device.policy(client.port)
        if policy is not None:
            device.add(association_object(device, policy, None, ObisCode(0, 0, 40, 0, place)))
    return device


def begin(state: CompanionState, started: datetime, now: datetime) -> datetime:
    """Instant at which the timeline of a meter goes on, or begins."""
    return max(started, now - LONGEST_PAST) if state.reached is None else state.reached


def timed_of(objects: dict[ObisCode, InterfaceObject]) -> tuple[Timed, ...]:
    """Objects that do something at instants they know, in the order of the model."""
    # a protocol that is checked at run time would cost a millisecond a device
    return tuple(cast(Timed, item) for item in objects.values() if hasattr(item, "due"))


def watchers_of(objects: dict[ObisCode, InterfaceObject]) -> tuple[Watcher, ...]:
    """Objects that hold values against limits."""
    return tuple(item for item in objects.values() if hasattr(item, "look"))


# --- who sees what --------------------------------------------------------------------------------------


def _policies(
    model: CompanionModel,
    objects: dict[ObisCode, InterfaceObject],
    state: CompanionState,
    security: DeviceSecurity | None,
    password: bytes,
    public_keys: PublicKeySpec | None,
) -> Iterator[AssociationPolicy]:
    setup = next((item for item in objects.values() if isinstance(item, SecuritySetup)), None)
    required = setup.requests_must_be if setup is not None else Protection.NONE
    signed = setup is not None and setup.signing_required
    for client in model.clients:
        made = state.policies.get(client.port)
        if made is None:
            made = client_policy(model, client, security is not None, setup is not None, password)
        if made.protection and public_keys is not None and client.port == public_keys.client:
            made = public_keys.policy(made)
        if made.protection:
            # Also of a policy that was changed since: the security setup counts for all.
            signing = Signing.REQUIRED if signed else made.signing
            made = replace(made, protection=made.protection | required, signing=signing)
        yield made


@lru_cache(maxsize=4096)
def client_policy(
    model: CompanionModel, client: ModelClient, keyed: bool, setup: bool, password: bytes
) -> AssociationPolicy:
    """Policy of a client at the factory, the same for all meters of a model with or without keys.

    Parameters
    ----------
    keyed, setup:
        Whether the meter has keys, and a security setup that governs them.
    password:
        Of the clients that need one.
    """
    # Without protection a pre-established client learns no more of a meter with keys than the public one.
    view = "identity" if client.pre_established and keyed else client.view
    rights = view_rights(model, view)
    everything = client.view == "everything"
    reference = ObisCode(0, 0, 43, 0, 0) if setup else None
    base = AssociationPolicy(
        client.port,
        rights=rights,
        ceiling=Access.READ if client.view in ("identity", "push") else Access.READ_WRITE,
        pre_established=client.pre_established,
        association_version=model.association_version,
        security_setup=reference,
    )
    if client.view in ("identity", "push"):
        return base
    users = everything and model.association_version >= FIRST_WITH_USERS
    administers = Administration.USERS if users else Administration.NONE
    if keyed and not client.password:
        return replace(
            base,
            mechanism=Mechanism.HIGH_GMAC,
            protection=AUTHENTICATED_ENCRYPTION,
            administers=administers,
        )
    administers |= Administration.SECRET if everything else Administration.NONE
    return replace(base, mechanism=Mechanism.LOW, secret=password, administers=administers)


@lru_cache(maxsize=256)
def view_rights(model: CompanionModel, view: str) -> dict[ObisCode, ObjectRights]:
    """What a view of a model allows: rights by object."""
    rights = {}
    for item in model:
        whole = dict(item.access or tuple((index, Access.READ_WRITE) for index in range(1, 21)))
        reading = {index: Access(mode & Access.READ) for index, mode in whole.items()}
        methods = frozenset(range(1, 17))
        match view:
            case "everything":
                given = ObjectRights(whole, methods)
            case "reading":
                given = ObjectRights(reading)
            case "firmware" if item.class_id in _FIRMWARE_CLASSES:
                given = ObjectRights(whole, methods)
            case "push" if item.class_id == 40:
                given = ObjectRights(reading)
            case _ if item.logical_name in _IDENTITY:
                given = ObjectRights(reading)
            case _:
                continue
        rights[item.logical_name] = given
    if view in ("everything", "reading"):
        own = Access.READ_WRITE if view == "everything" else Access.READ
        given = ObjectRights(dict.fromkeys(range(1, 12), own))
        places = range(1, len(model.clients) + 1)
        rights.update((ObisCode(0, 0, 40, 0, place), given) for place in places)
    return rights
