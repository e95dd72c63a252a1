"""Combined maximum error: intrinsic error and the effects of what a meter in service is exposed to, together.

Two forms. EN 50470-3 and the French decree of 2013 (annex 1): the root of the squares of the error at a
current and power factor and of its changes by temperature, voltage and frequency, against Table 2 of
directive 2014/32/EU, by range of temperature. OIML R 46: the same root with load balance and waveform in it;
no limit for it is at hand, so it is compared with the root of the squares of the tabled limits. Rule never to
be broken: of each influence quantity the largest change counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from openami.laboratory.accuracy_limits import Basis, ClassLimits, CompositeLimit, Load, Source
from openami.laboratory.checks import Check, Law
from openami.laboratory.conditions import REFERENCE_TEMPERATURE_C, Condition, Quantity, WaveformName
from openami.laboratory.current_range import Size, currents_of, limit_at, ruling_row
from openami.laboratory.intrinsic_tests import condition_at
from openami.laboratory.register_tests import reference_current_a
from openami.meter.model import MeterModel, Rating

_ROOT_OF_LIMITS = Source(Basis.OWN, "root of the squares of the class's tabled limits")
_QUICK_FACTORS = ("1", "0.5L")


def combined_checks(limits: ClassLimits, model: MeterModel, size: Size) -> Iterator[Check]:
    """The combined error in the form that belongs to the class's standard."""
    if limits.composite:
        yield from _by_temperature_range(limits, model.rating, size)
    else:
        yield from _at_reference_current(limits, model)


def _by_temperature_range(limits: ClassLimits, rating: Rating, size: Size) -> Iterator[Check]:
    """EN 50470-3: at each current and power factor, in each range of temperature the meter is made for."""
    low, high = rating.temperature_c
    seen: set[tuple[object, ...]] = set()
    for row in limits.composite:
        if row.load is Load.SINGLE_PHASE and rating.phases == 1:
            continue
        elements = range(rating.phases) if row.load is Load.SINGLE_PHASE and size is Size.FULL else range(1)
        for factor, loaded, amperes in (
            (factor, (element,) if row.load is Load.SINGLE_PHASE else (), amperes)
            for factor in (row.factor if size is Size.FULL else _QUICK_FACTORS)
            for element in elements
            for amperes in currents_of(row, rating, limits.base, Size.QUICK)
        ):
            ruling = ruling_row(limits.composite, row.load, factor, amperes, rating, limits.base)
            if ruling is None or (key := (row.load, factor, loaded, amperes)) in seen:
                continue
            seen.add(key)
            base = condition_at(rating, amperes, factor, loaded=loaded)
            for limit, spans in zip(ruling.limits_pct, limits.temperatures, strict=True):
                made_for = [span for span in spans if low <= span[0] and span[1] <= high]
                corners = sorted({corner for span in made_for for corner in span})
                if corners:
                    yield _composite(base, corners, limit, ruling)


def _composite(base: Condition, temperatures_c: Sequence[float], limit: float, row: CompositeLimit) -> Check:
    groups = (
        [replace(base, temperature_c=corner) for corner in temperatures_c],
        [replace(base, voltage=multiple) for multiple in (0.9, 1.1)],
        [replace(base, frequency_hz=base.frequency_hz * multiple) for multiple in (0.98, 1.02)],
    )
    return Check(
        "combined_error",
        Quantity.ACTIVE,
        Law.COMBINED,
        (base, *(condition for group in groups for condition in group)),
        limit,
        row.source,
        low=0.0,
        groups=tuple(len(group) for group in groups),
        note=f"{temperatures_c[0]:g}..{temperatures_c[-1]:g} °C",
    )


def _at_reference_current(limits: ClassLimits, model: MeterModel) -> Iterator[Check]:
    """R 46: at the reference current, over the whole range of temperature."""
    rating = model.rating
    amperes = reference_current_a(limits, model)
    rows = [row for row in limits.intrinsic if row.connection in (None, rating.connection)]
    for factor in ("1", "0.5L"):
        row = ruling_row(rows, Load.BALANCED, factor, amperes, rating, limits.base)
        if row is None:
            continue
        base = condition_at(rating, amperes, factor)
        corners = [replace(base, temperature_c=corner) for corner in rating.temperature_c]
        groups = [
            ("voltage", [replace(base, voltage=multiple) for multiple in (0.9, 1.1)]),
            ("frequency", [replace(base, frequency_hz=base.frequency_hz * m) for m in (0.98, 1.02)]),
            ("temperature_coefficient", corners),
        ]
        if limits.base == "transitional":
            shapes = [replace(base, waveform=WaveformName(name)) for name in ("quadriform", "peaked")]
            groups.append(("quadriform", shapes))
            if rating.phases == 3:
                single = [replace(base, loaded=(element,)) for element in range(3)]
                groups.append(("load_balance", single))
        allowed = [limit_at(row, amperes, rating)]
        allowed += [_allowed(limits, name, factor, rating) for name, _ in groups]
        yield Check(
            "combined_error",
            Quantity.ACTIVE,
            Law.COMBINED,
            (base, *(condition for _, group in groups for condition in group)),
            math.hypot(*allowed),
            _ROOT_OF_LIMITS,
            low=0.0,
            groups=tuple(len(group) for _, group in groups),
            note=f"{rating.temperature_c[0]:g}..{rating.temperature_c[1]:g} °C",
        )


def _allowed(limits: ClassLimits, test: str, factor: str, rating: Rating) -> float:
    """The tabled limit of an influence quantity, percent; over the whole range for the temperature."""
    rows = [row for row in limits.influence if row.test == test]
    limit = next((row.limit_pct for row in rows if row.factor == factor), rows[0].limit_pct)
    if test != "temperature_coefficient":
        return limit
    return limit * max(abs(corner - REFERENCE_TEMPERATURE_C) for corner in rating.temperature_c)
