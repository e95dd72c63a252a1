"""COSEM date-time (IEC 62056-6-2 clause 4.1.6.1): twelve octets of local time, deviation and clock status.

    year(2) month day-of-month day-of-week hour minute second hundredths deviation(2) clock-status

The fields are local time; ``deviation`` is the minutes to *add* to get UTC, daylight saving included, so a
meter in Berlin sends -60 in winter and -120 in summer. Rule of this file: decoding never fails on twelve
octets, whatever they say (meters send 24:00:00 and 30 February); an instant is only made of a date-time
that has one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo

import numpy as np
import numpy.typing as npt

from openami.quantities.civil_time import saves_daylight
from openami.quantities.errors import LocalProtocolError, RemoteProtocolError

_FIELDS = struct.Struct(">H7BhB")

UNSPECIFIED = 0xFF
UNSPECIFIED_YEAR = 0xFFFF
UNSPECIFIED_DEVIATION = -0x8000

STATUS_INVALID = 0x01
STATUS_DOUBTFUL = 0x02
STATUS_OTHER_BASE = 0x04
STATUS_INVALID_CLOCK_STATUS = 0x08
STATUS_DAYLIGHT_SAVING = 0x80
STATUS_UNSPECIFIED = 0xFF


@dataclass(frozen=True, slots=True)
class CosemDateTime:
    """The fields of a date-time as they stand on the wire.

    ``0xFF`` (``0xFFFF`` for the year, -0x8000 for the deviation) is "not specified"; months 0xFD and 0xFE
    are the end and the begin of daylight saving, days 0xFD and 0xFE the second-last and last of the month.
    """

    year: int = UNSPECIFIED_YEAR
    month: int = UNSPECIFIED
    day: int = UNSPECIFIED
    weekday: int = UNSPECIFIED
    hour: int = UNSPECIFIED
    minute: int = UNSPECIFIED
    second: int = UNSPECIFIED
    hundredths: int = UNSPECIFIED
    deviation: int = UNSPECIFIED_DEVIATION
    status: int = STATUS_UNSPECIFIED

    @classmethod
    def from_bytes(cls, octets: bytes) -> CosemDateTime:
        """Fields of twelve octets.

        >>> CosemDateTime.from_bytes(bytes.fromhex("07e8060f0614172d00ff8880")).instant().isoformat()
        '2024-06-15T18:23:45+00:00'

        Raises
        ------
        RemoteProtocolError
            There are not twelve.
        """
        if len(octets) != 12:
            raise RemoteProtocolError(f"date-time of {len(octets)} octets", expected="12 octets")
        return cls(*_FIELDS.unpack(octets))

    @classmethod
    def from_instant(cls, instant: datetime, zone: tzinfo = UTC, status: int = 0) -> CosemDateTime:
        """An instant as the local time of ``zone``; the daylight saving bit of the status is set by the zone.

        Hundredths are kept, finer parts cut off.

        Raises
        ------
        LocalProtocolError
            The local time lies outside the years 1 to 9999.
        """
        try:
            local = instant.astimezone(zone)
        except OverflowError:
            raise LocalProtocolError(f"{instant} in {zone}", expected="a year 1 .. 9999") from None
        offset = local.utcoffset()
        if saves_daylight(local):
            status |= STATUS_DAYLIGHT_SAVING
        return cls(
            local.year,
            local.month,
            local.day,
            local.isoweekday(),
            local.hour,
            local.minute,
            local.second,
            local.microsecond // 10_000,
            -int(offset.total_seconds() // 60) if offset is not None else 0,
            status,
        )

    def to_bytes(self) -> bytes:
        """The twelve octets.

        Raises
        ------
        LocalProtocolError
            A field does not fit.
        """
        try:
            return _FIELDS.pack(
                self.year, self.month, self.day, self.weekday,
                self.hour, self.minute, self.second, self.hundredths, self.deviation, self.status,
            )  # fmt: skip
        except struct.error:
            raise LocalProtocolError(f"{self} does not fit twelve octets") from None

    @property
    def daylight_saving(self) -> bool:
        """True where the clock status says that daylight saving is active."""
        return self.status != STATUS_UNSPECIFIED and bool(self.status & STATUS_DAYLIGHT_SAVING)

    def instant(self, zone: tzinfo | None = None) -> datetime:
        """The UTC instant.

        Unspecified seconds and hundredths count as zero; 24:00:00 is the next midnight.

        Parameters
        ----------
        zone:
            Where the clock stands, used when the deviation is not specified.

        Raises
        ------
        RemoteProtocolError
            The date-time names no single instant.
        """
        second = 0 if self.second == UNSPECIFIED else self.second
        hundredths = 0 if self.hundredths == UNSPECIFIED else self.hundredths
        next_day = self.hour == 24 and not (self.minute or second or hundredths)
        try:
            local = datetime(
                self.year, self.month, self.day, 0 if next_day else self.hour, self.minute, second,
                hundredths * 10_000,
            ) + timedelta(days=next_day)  # fmt: skip
            if self.deviation != UNSPECIFIED_DEVIATION:
                return (local + timedelta(minutes=self.deviation)).replace(tzinfo=UTC)
            if zone is None:
                raise RemoteProtocolError(f"{self} has no deviation", expected="a deviation from UTC")
            # Where an hour occurs twice, its second occurrence (fold 1) is the one without daylight saving.
            # Elsewhere the fold must not count: in an hour that was skipped it would.
            aware, second_time = local.replace(tzinfo=zone), local.replace(tzinfo=zone, fold=1)
            twice = (second_time.utcoffset() or timedelta()) < (aware.utcoffset() or timedelta())
            if twice and not self.daylight_saving and self.status != STATUS_UNSPECIFIED:
                aware = second_time
            return aware.astimezone(UTC)
        except (ValueError, OverflowError):
            raise RemoteProtocolError(f"{self} names no instant") from None


def in_order(stamps: Iterable[CosemDateTime], zone: tzinfo) -> Iterator[datetime]:
    """UTC instants of the stamps of a profile, oldest row first.

    A stamp with neither deviation nor clock status does not say which occurrence of a repeated hour it
    means: it is taken as the second one where the first would not be later than the row before.

    Raises
    ------
    RemoteProtocolError
        One of them names no instant.
    """
    before: datetime | None = None
    for stamp in stamps:
        instant = stamp.instant(zone)
        if before is not None and instant <= before and stamp.status == STATUS_UNSPECIFIED:
            second_time = replace(stamp, status=0).instant(zone)
            instant = second_time if second_time > before else instant
        yield instant
        before = instant


def instants_of(octets: npt.NDArray[np.uint8]) -> npt.NDArray[np.datetime64]:
    """UTC instants of many date-times at once.

    Parameters
    ----------
    octets:
        Twelve octets each, shape (n, 12).

    Returns
    -------
    ``datetime64[us]``, shape (n,).

    Raises
    ------
    RemoteProtocolError
        One of them names no instant, or does not specify its deviation.
    """
    if octets.ndim != 2 or octets.shape[1] != 12:
        raise RemoteProtocolError(f"date-times of shape {octets.shape}", expected="(n, 12)")
    wide = np.ascontiguousarray(octets.T).astype(np.int64)
    year = wide[0] << 8 | wide[1]
    month, day, hour, minute, second, hundredths = wide[2], wide[3], wide[5], wide[6], wide[7], wide[8]
    second[second == UNSPECIFIED] = 0
    hundredths[hundredths == UNSPECIFIED] = 0
    deviation = wide[9] << 8 | wide[10]
    deviation -= (deviation & 0x8000) << 1
    first = ((year - 1970) * 12 + month - 1).astype("datetime64[M]").astype("datetime64[D]")
    in_day = (hour * 60 + minute) * 6_000 + second * 100 + hundredths
    fields = (month - 1 < 12) & (month > 0) & (day > 0) & (minute < 60) & (second < 60) & (hundredths < 100)
    valid = (
        fields & (in_day <= 8_640_000) & (year > 0) & (year < 10_000) & (deviation != UNSPECIFIED_DEVIATION)
    )
    if (day > 28).any():
        days_in_month = (first.astype("datetime64[M]") + 1).astype("datetime64[D]") - first
        valid &= day <= days_in_month.astype(np.int64)
    if not valid.all():
        row = int(np.argmin(valid))
        raise RemoteProtocolError(
            f"date-time {octets[row].tobytes().hex()} names no instant", where=f"row {row}"
        )
    micros = ((day - 1) * 8_640_000 + in_day + deviation * 6_000) * 10_000
    instants: npt.NDArray[np.datetime64] = first.astype("datetime64[us]") + micros.astype("timedelta64[us]")
    return instants


def date_times_of(
    at: npt.NDArray[np.datetime64],
    deviation: npt.NDArray[np.integer] | int,
    status: npt.NDArray[np.integer] | int,
) -> npt.NDArray[np.uint8]:
    """Twelve octets of each of many UTC instants.

    Parameters
    ----------
    at:
        UTC instants, shape (n,).
    deviation:
        Minutes to add to the local time to get UTC (negative east of Greenwich), shape (n,) or one.
    status:
        Clock status octet, daylight saving bit included, shape (n,) or one.

    Returns
    -------
    ``uint8``, shape (n, 12).
    """
    minutes = np.broadcast_to(np.asarray(deviation, np.int64), at.shape)
    local = at.astype("datetime64[us]") - minutes.astype("timedelta64[m]")
    days = local.astype("datetime64[D]")
    months = local.astype("datetime64[M]")
    in_day = (local - days).astype(np.int64) // 10_000
    year = months.astype("datetime64[Y]").astype(np.int64) + 1970
    octets = np.empty((len(at), 12), np.uint8)
    octets[:, 0] = year >> 8
    octets[:, 1] = year & 0xFF
    octets[:, 2] = months.astype(np.int64) % 12 + 1
    octets[:, 3] = (days - months.astype("datetime64[D]")).astype(np.int64) + 1
    octets[:, 4] = (days.astype(np.int64) + 3) % 7 + 1  # 1970-01-01 was a Thursday, day 4
    octets[:, 5] = in_day // 360_000
    octets[:, 6] = in_day // 6_000 % 60
    octets[:, 7] = in_day // 100 % 60
    octets[:, 8] = in_day % 100
    octets[:, 9] = minutes >> 8 & 0xFF
    octets[:, 10] = minutes & 0xFF
    octets[:, 11] = status
    return octets
