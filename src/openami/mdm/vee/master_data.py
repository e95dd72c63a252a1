"""What a run needs of the registry, at one revision: usage points, meters, installations, multipliers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from openami.mdm.vee.finals import decimal_places
from openami.quantities.errors import RegistryError, ValidationError
from openami.registry.entities import Installation, Meter, Multiplier, UsagePoint
from openami.registry.registry import Registry


@dataclass(frozen=True, slots=True)
class MasterData:
    """Master data of one revision; what is installed is in the order of time."""

    revision: int
    points: Sequence[UsagePoint]
    installations: Mapping[str, Sequence[Installation]]
    meters: Mapping[str, Meter]
    multipliers: Mapping[str, Sequence[Multiplier]]

    def installed(self, usage_point_id: str) -> Sequence[Installation]:
        """Installations of a usage point within the time that was read."""
        return self.installations.get(usage_point_id, ())


def read_master_data(
    registry: Registry, usage_point_ids: Sequence[str] | None, start: datetime, end: datetime
) -> MasterData:
    """Master data of usage points (None for all) with what was installed in ``[start, end)``.

    Raises
    ------
    RegistryError
        A usage point is not known.
    ValidationError
        A meter counts its days in another zone than its usage point, or has a multiplier without finite
        decimal form; all of them are listed.
    """
    revision = registry.revision
    if usage_point_ids is None:
        points = registry.usage_points(revision=revision)
    else:
        points = [registry.usage_point(name, revision=revision) for name in sorted(set(usage_point_ids))]
    installations: dict[str, list[Installation]] = {point.usage_point_id: [] for point in points}
    for installation in registry.installations(start=start, end=end, revision=revision):
        if installation.usage_point_id in installations:
            installations[installation.usage_point_id].append(installation)
    meters = {meter.meter_id: meter for meter in registry.meters(revision=revision)}
    multipliers: dict[str, list[Multiplier]] = {}
    for multiplier in registry.multipliers(revision=revision):
        multipliers.setdefault(multiplier.meter_id, []).append(multiplier)
    master = MasterData(revision, points, installations, meters, multipliers)
    if faults := _faults(master):
        raise ValidationError(f"{len(faults)} faults in master data: {'; '.join(faults)}")
    return master


def _faults(master: MasterData) -> list[str]:
    faults = []
    for point in master.points:
        for installation in master.installed(point.usage_point_id):
            meter = master.meters.get(installation.meter_id)
            if meter is None:
                raise RegistryError(f"meter {installation.meter_id} at {point.usage_point_id} is not known")
            if meter.zone != point.zone:
                faults.append(
                    f"meter {meter.meter_id} counts days in {meter.zone}, usage point "
                    f"{point.usage_point_id} in {point.zone}"
                )
            for multiplier in master.multipliers.get(meter.meter_id, ()):
                try:
                    decimal_places(multiplier.factor)
                except ValidationError as error:
                    faults.append(f"meter {meter.meter_id}: {error}")
    return faults
