"""Identification of the legally relevant software in a report, as WELMEC guide 7.2 asks for it.

Rule never to be broken: it is the identity that the meter itself shows, read over the wire as 1-0:0.2.8, so
that a report and a meter in the field can be held against each other.
"""

from __future__ import annotations

from openami.meter.metering_core.identification import metering_identity

_DIGITS = 16


def software_identification() -> str:
    """``"1.0.0+5f1c..."``: version of the legally relevant part and the first digits of its SHA-256."""
    identity = metering_identity()
    return f"{identity.version}+{identity.sha256.hex()[:_DIGITS]}"
