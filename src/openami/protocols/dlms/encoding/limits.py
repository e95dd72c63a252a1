"""Limits of what the codec accepts, in one place (DESIGN section 4).

Whoever sends us bytes decides nothing about our memory or time: every declared length, count and depth is
held against the bytes that are there and against these figures.
"""

from __future__ import annotations

MAX_DEPTH = 16
"""Deepest nesting of arrays and structures in one value."""

MAX_COMPACT_NODES = 256
MAX_COMPACT_NODES_PER_OCTET = 4
"""Values that a compact array may expand to, and more per octet of contents: null-data take no octet."""

MAX_REASSEMBLED = 4 << 20
"""Octets of one value after block transfer."""

MAX_SET_VALUE = 1 << 18
"""Octets of one value that a client may set in blocks; nothing that a meter stores is longer."""

MAX_PDU = 65_535
"""Largest APDU that the wrapper can carry (IEC 62056-47: 16-bit length)."""

MIN_PDU = 32
"""Smallest receive size we serve: a data block needs 12 octets of header."""

DEFAULT_WINDOW = 16
"""Blocks of a general-block-transfer taken at once, unless told otherwise; at most 63 can be said."""

MAX_REQUEST = MAX_SET_VALUE + 65_536
"""Octets of one request after general-block-transfer: a value as long as any that is set, or a long list."""

MAX_ACSE_FIELD = 1024
"""Octets of one field of an ACSE APDU; names, secrets and user information are far shorter."""
