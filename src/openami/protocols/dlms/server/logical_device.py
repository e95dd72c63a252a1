"""A COSEM logical device: objects by logical name, and the policies of the clients that may associate.

Meters of one model share everything but their values: a thousand of them in one process differ in a dozen
small objects each (class instances with slots over the meter core's callables).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from openami.protocols.dlms.interface_classes.interface_object import InterfaceObject
from openami.protocols.dlms.server.association_policy import AssociationPolicy
from openami.protocols.dlms.server.device_security import DeviceSecurity
from openami.quantities.errors import LocalProtocolError
from openami.quantities.obis import ObisCode

CURRENT_ASSOCIATION = ObisCode(0, 0, 40, 0, 0)


class LogicalDevice:
    """One meter, or the management device of a group of meters.

    Parameters
    ----------
    objects:
        Its objects; the association object 0-0:40.0.0 is added by the session.
    policies:
        Who may associate.
    security:
        System title, keys and counters; None where nobody associates with high level security.

    Raises
    ------
    LocalProtocolError
        Two objects have one logical name, two policies one client, an object is called 0-0:40.0.0, or a
        policy needs keys that the device has not.
    """

    __slots__ = ("_objects", "_policies", "security")

    def __init__(
        self,
        objects: Iterable[InterfaceObject],
        policies: Iterable[AssociationPolicy],
        security: DeviceSecurity | None = None,
    ) -> None:
        self.security = security
        self._objects: dict[ObisCode, InterfaceObject] = {}
        for item in objects:
            if item.logical_name in self._objects or item.logical_name == CURRENT_ASSOCIATION:
                raise LocalProtocolError(f"a second object {item.logical_name}")
            self._objects[item.logical_name] = item
        self._policies: tuple[AssociationPolicy, ...] = tuple(policies)
        if len({policy.client for policy in self._policies}) != len(self._policies):
            raise LocalProtocolError("two policies for one client")
        for policy in self._policies:
            if security is None and policy.needs_keys:
                raise LocalProtocolError(f"client {policy.client} needs keys", expected="a DeviceSecurity")

    def policy(self, client: int) -> AssociationPolicy | None:
        """Policy of a client; None where it may not associate."""
        for policy in self._policies:
            if policy.client == client:
                return policy
        return None

    def replace_policy(self, policy: AssociationPolicy) -> None:
        """Put another policy in the place of the client's; associations that are open go on with theirs."""
        self._policies = tuple(policy if known.client == policy.client else known for known in self._policies)

    def written(self, class_id: int, logical_name: ObisCode, attribute: int) -> None:
        """Told by the services that a client has set an attribute."""

    def find(self, logical_name: ObisCode) -> InterfaceObject | None:
        """The object of a logical name; None where there is none."""
        return self._objects.get(logical_name)

    def __iter__(self) -> Iterator[InterfaceObject]:
        return iter(self._objects.values())

    def __len__(self) -> int:
        return len(self._objects)
