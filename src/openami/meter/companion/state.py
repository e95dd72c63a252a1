"""What a meter with a companion model keeps between associations: settings, bookkeeping, rows, an image.

Everything is COSEM data under logical name and attribute, so that objects can be made anew at any time. Rule
of this file: a meter that was never touched keeps nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from openami.protocols.dlms.encoding.axdr import Data
from openami.protocols.dlms.interface_classes.image_transfer import ImageMemory
from openami.protocols.dlms.interface_classes.push_setup import Delivery
from openami.protocols.dlms.interface_classes.recorded_profile import RowMemory
from openami.protocols.dlms.server.association_policy import AssociationPolicy
from openami.quantities.obis import ObisCode

StateKey: TypeAlias = tuple[ObisCode, int]


def _unheeded() -> None:
    return None


@dataclass(slots=True)
class CompanionState:
    """What a meter with a companion model keeps.

    Parameters
    ----------
    attributes:
        What was set, and the bookkeeping of objects, by logical name and attribute.
    reached:
        Instant up to which everything due was done; None before the first look.
    rows:
        Rows of the profiles that capture for themselves.
    image:
        Firmware on its way.
    deliveries:
        Pushes that nobody has taken yet, oldest first.
    policies:
        Policies that a client changed, by wPort.
    changed:
        Told, after the fact, that an attribute was set or a push waits.
    """

    attributes: dict[StateKey, Data] = field(default_factory=dict)
    reached: datetime | None = None
    rows: dict[ObisCode, RowMemory] = field(default_factory=dict)
    image: ImageMemory | None = None
    deliveries: deque[Delivery] = field(default_factory=lambda: deque(maxlen=64))
    policies: dict[int, AssociationPolicy] = field(default_factory=dict)
    changed: Callable[[], None] = field(default=_unheeded, repr=False)

    def deliver(self, delivery: Delivery) -> None:
        """Keep a push for whoever sends it; where too many wait, the oldest is lost."""
        self.deliveries.append(delivery)
        self.changed()

    def of(self, logical_name: ObisCode) -> ObjectState:
        """State of one object."""
        return ObjectState(self, logical_name)


class ObjectState(MutableMapping[int, Data]):
    """What one object keeps, as a view of the meter's state."""

    __slots__ = ("_all", "_meter", "_name")

    def __init__(self, meter: CompanionState, logical_name: ObisCode) -> None:
        self._meter = meter
        self._all = meter.attributes
        self._name = logical_name

    def __getitem__(self, index: int) -> Data:
        return self._all[self._name, index]

    def __setitem__(self, index: int, value: Data) -> None:
        self._all[self._name, index] = value
        self._meter.changed()

    def __delitem__(self, index: int) -> None:
        del self._all[self._name, index]
        self._meter.changed()

    def __iter__(self) -> Iterator[int]:
        return iter([index for name, index in self._all if name == self._name])

    def __len__(self) -> int:
        return sum(1 for _ in self)
