"""The buffer of a profile: a ring of captured rows, kept as columns.

Rows stand in the order in which they were captured, which is not the order of their stamps when the clock
was set back. Rule never to be broken: a row, once captured, is never changed; only the oldest is lost, when
the ring is full.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from openami.quantities.errors import QuantityError

_FIRST_ROOM = 64


@dataclass(frozen=True, slots=True, eq=False)
class CapturedRows:
    """Rows of a buffer, oldest first.

    Parameters
    ----------
    stamp_s:
        Meter's clock at capture, seconds of UTC since 1970, int64, shape (n,).
    status:
        `openami.quantities.status.DeviceFlag` bits, uint16, shape (n,).
    values:
        Wh, int64, shape (channels, n).
    """

    stamp_s: npt.NDArray[np.int64]
    status: npt.NDArray[np.uint16]
    values: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return int(self.stamp_s.size)

    def stamped(self, first_s: int, last_s: int) -> CapturedRows:
        """Rows with a stamp in ``[first_s, last_s]``, in the order of capture."""
        chosen = (self.stamp_s >= first_s) & (self.stamp_s <= last_s)
        return CapturedRows(self.stamp_s[chosen], self.status[chosen], self.values[:, chosen])


class CaptureBuffer:
    """A ring of rows: stamp, status and one value a channel.

    Invariant: `rows` gives the last ``min(captured, capacity)`` rows handed to `extend`, oldest first. The
    memory taken grows with the rows held, up to the capacity.

    Parameters
    ----------
    channels:
        Number of value columns.
    capacity:
        Rows held at most.
    dtype:
        Type of the value columns; a value outside it is refused.
    """

    __slots__ = ("_capacity", "_captured", "_stamp", "_status", "_values")

    def __init__(self, channels: int, capacity: int, dtype: type[np.int32] | type[np.int64]) -> None:
        if capacity < 1:
            raise QuantityError(f"a buffer of {capacity} rows", expected="1 or more")
        self._capacity = capacity
        self._captured = 0
        room = min(_FIRST_ROOM, capacity)
        self._stamp = np.empty(room, np.uint32)
        self._status = np.empty(room, np.uint16)
        self._values = np.empty((channels, room), dtype)

    @property
    def capacity(self) -> int:
        """Rows held at most."""
        return self._capacity

    @property
    def captured(self) -> int:
        """Rows captured since the beginning, those overwritten included."""
        return self._captured

    @property
    def nbytes(self) -> int:
        """Memory of the columns, in bytes."""
        return int(self._stamp.nbytes + self._status.nbytes + self._values.nbytes)

    def __len__(self) -> int:
        return min(self._captured, self._capacity)

    def extend(
        self,
        stamp_s: npt.NDArray[np.int64],
        status: npt.NDArray[np.uint16],
        values: npt.NDArray[np.int64],
    ) -> None:
        """Capture rows: stamps (n,), status (n,), values (channels, n)."""
        count = stamp_s.size
        room = self._stamp.size
        if count == 0:
            return
        if self._captured + count > room and room < self._capacity:
            self._grow(self._captured + count)
            room = self._stamp.size
        if count > room:
            self._captured += count - room
            stamp_s, status, values, count = stamp_s[-room:], status[-room:], values[:, -room:], room
        begin = self._captured % room
        first = min(count, room - begin)
        for target, source in ((self._stamp, stamp_s), (self._status, status)):
            target[begin : begin + first] = source[:first]
            target[: count - first] = source[first:]
        self._values[:, begin : begin + first] = values[:, :first]
        self._values[:, : count - first] = values[:, first:]
        self._captured += count

    def clear(self) -> None:
        """Forget the rows held (a profile's reset)."""
        self._captured = 0

    def stamps(self) -> npt.NDArray[np.int64]:
        """Stamps of all rows held, oldest first, seconds of UTC: shape (n,)."""
        return self._stamp[self._order(slice(None))].astype(np.int64)

    def rows(self, which: slice | npt.NDArray[np.intp] = slice(None)) -> CapturedRows:
        """Rows held, oldest first, as copies: all, or those of a slice or of indices (0 is the oldest)."""
        order = self._order(which)
        return CapturedRows(
            self._stamp[order].astype(np.int64),
            self._status[order].copy(),
            self._values[:, order].astype(np.int64),
        )

    def _order(self, which: slice | npt.NDArray[np.intp]) -> slice | npt.NDArray[np.int64]:
        """Places in the ring of the rows named; their numbers while nothing has been overwritten yet."""
        room = self._stamp.size
        held = min(self._captured, room)
        if self._captured <= room and isinstance(which, slice) and (which.step or 1) > 0:
            return slice(*which.indices(held))
        places = np.arange(self._captured - held, self._captured, dtype=np.int64)
        return places[which] % room

    def _grow(self, wanted: int) -> None:
        """Make room; the ring has not wrapped yet, so the rows move as they are."""
        room = self._stamp.size
        while room < wanted and room < self._capacity:
            room = min(2 * room, self._capacity)
        held = self._captured
        stamp, status = np.empty(room, np.uint32), np.empty(room, np.uint16)
        values = np.empty((self._values.shape[0], room), self._values.dtype)
        stamp[:held], status[:held] = self._stamp[:held], self._status[:held]
        values[:, :held] = self._values[:, :held]
        self._stamp, self._status, self._values = stamp, status, values
