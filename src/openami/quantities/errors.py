"""The error tree: everything that openami raises on bad input descends from `OpenAmiError`.

An error says what was wrong, where (file, line, offset, object) and what would be right. Nothing else
escapes from a public function because of its input.
"""

from __future__ import annotations


class OpenAmiError(Exception):
    """Root of all errors of openami.

    Parameters
    ----------
    message:
        What is wrong, as one sentence.
    where:
        The place: ``"file.csv, line 12"``, ``"byte 17"``, ``"usage point UP-3"``.
    expected:
        What would be right.
    """

    def __init__(self, message: str, *, where: str | None = None, expected: str | None = None) -> None:
        self.message = message
        self.where = where
        self.expected = expected
        super().__init__(message)

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text} (expected: {self.expected})" if self.expected else text


class QuantityError(OpenAmiError):
    """A code, unit, quantum, status or time that the vocabulary does not have."""


class ProtocolError(OpenAmiError):
    """Bytes or a request that break a protocol."""


class LocalProtocolError(ProtocolError):
    """*We* asked for something the protocol does not allow in this state."""


class RemoteProtocolError(ProtocolError):
    """*They* sent bytes that break the protocol."""


class ProtectionError(RemoteProtocolError):
    """Bytes that are not protected as agreed: a wrong tag or signature, a counter that was used before."""


class SecurityError(OpenAmiError):
    """A key, a certificate or a counter that is missing, unusable or must not be used any more."""


class LinkError(OpenAmiError):
    """A connection could not be made, was lost, or did not answer in time."""


class RegistryError(OpenAmiError):
    """Master data that is unknown, contradictory or overlapping."""


class StoreError(OpenAmiError):
    """Readings could not be stored or found; what was acknowledged before is untouched."""


class FormatError(OpenAmiError):
    """A file or document that does not follow its format."""


class ValidationError(OpenAmiError):
    """A rule pack, or readings handed to validation, that cannot be used."""


class TariffError(OpenAmiError):
    """A tariff that has holes or contradictions, or that cannot price what it was given."""


class BillingError(OpenAmiError):
    """A bill that cannot be computed from what is stored."""


class MeteringError(OpenAmiError):
    """Samples, a waveform, a front end or a test plan that cannot be measured with."""
