"""What the meter shows of its legally relevant software: version and digest of metrology and metering core.

Both parts together are the legally relevant software (OIML R 46-1, 3.6.9 [recalled]; WELMEC 7.2); everything
else of the meter can be updated without changing what is shown here. Rule never to be broken: the identity is
computed from what is installed, never written down.
"""

from __future__ import annotations

from openami.metrology.legal_identity import LegalIdentity, legal_identity

LEGALLY_RELEVANT = ("openami.metrology", "openami.meter.metering_core")
"""The packages that make up the legally relevant part."""


def metering_identity() -> LegalIdentity:
    """Identity of the legally relevant part as it runs."""
    return legal_identity(*LEGALLY_RELEVANT)
