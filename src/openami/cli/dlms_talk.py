"""What every command does with a meter: open it, ask, release it; and what went wrong, in words that help.

Exit codes: 1 where the meter refused what was asked (its answer is final), 2 where it could not be asked: it
is not there, does not answer, or takes no association with these secrets. Rule of this file: whoever reads an
error learns which meter it was and what would be right.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeVar

import typer

from openami.cli.dlms_access import MeterOptions, meter_of
from openami.cli.output import print_error
from openami.protocols.dlms.apdus.results import (
    AccessError,
    AccessResult,
    AssociationError,
    Diagnostic,
    ServiceRefusedError,
)
from openami.quantities.errors import (
    LinkError,
    OpenAmiError,
    ProtocolError,
    QuantityError,
    SecurityError,
)
from openami.quantities.obis import ObisCode, lookup

if TYPE_CHECKING:
    from openami.headend.dlms_meter import Meter

T = TypeVar("T")

_REFUSED: Final = {
    AccessResult.READ_WRITE_DENIED: "a client that has the right (`ami dlms objects` shows the rights)",
    AccessResult.OBJECT_UNDEFINED: "an object, attribute or method that the meter has (`ami dlms objects`)",
    AccessResult.OBJECT_CLASS_INCONSISTENT: "the class of the object (`ami dlms objects`)",
    AccessResult.TYPE_UNMATCHED: "a value of the type that the object wants (--type)",
    AccessResult.SCOPE_OF_ACCESS_VIOLATED: "a value or a range that the meter allows",
    AccessResult.TEMPORARY_FAILURE: "another attempt later",
}
_SECRETS: Final = "another --mechanism, or a secret: --password, or --guek and --gak"
_STRANGERS: Final = "a logical device (--server) and a client (--client) that the meter has"
_NOT_ASSOCIATED: Final = {
    Diagnostic.NULL: _STRANGERS,
    Diagnostic.NO_REASON_GIVEN: _STRANGERS,
    Diagnostic.APPLICATION_CONTEXT_NAME_NOT_SUPPORTED: (
        "keys (--guek and --gak) where the meter ciphers, none and --protection none where it does not"
    ),
    Diagnostic.CALLING_AP_TITLE_NOT_RECOGNIZED: "a system title that the meter knows (--title)",
    Diagnostic.AUTHENTICATION_MECHANISM_NAME_NOT_RECOGNISED: _SECRETS,
    Diagnostic.AUTHENTICATION_MECHANISM_NAME_REQUIRED: _SECRETS,
    Diagnostic.AUTHENTICATION_FAILURE: "the meter's own password, or its keys, --suite and --protection",
    Diagnostic.AUTHENTICATION_REQUIRED: _SECRETS,
}
_NOBODY: Final = (
    "a meter at this address, its --transport (tcp, udp, hdlc) and --server, or a longer --timeout"
)


def talk(options: MeterOptions, ask: Callable[[Meter], Awaitable[T]], *, json: bool) -> T:
    """Open the meter, ask, release.

    Raises
    ------
    typer.Exit
        The meter refused; that was said.
    OpenAmiError
        It could not be asked; with the meter in ``where``, and what would be right.
    """

    async def asked(meter: Meter) -> T:
        async with meter:
            return await ask(meter)

    with meter_of(options) as meter:
        try:
            return asyncio.run(asked(meter))
        except (AccessError, ServiceRefusedError) as refused:
            _explain(refused, options)
            print_error(
                refused.message, type(refused).__name__, refused.where, refused.expected, as_json=json
            )
            raise typer.Exit(1) from None
        except (LinkError, ProtocolError, SecurityError) as error:
            _explain(error, options)
            raise


def title_of_meter(options: MeterOptions) -> str:
    """How a meter is called in tables and errors."""
    return f"{options.host}, logical device {options.server}"


def name_of(code: ObisCode) -> str:
    """English name of a code; empty where the catalogue has none."""
    try:
        return lookup(code).name_en
    except QuantityError:
        return ""


def meter_document(options: MeterOptions) -> dict[str, object]:
    """The same in JSON."""
    return {"address": options.host, "logical_device": options.server, "transport": options.transport}


def _explain(error: OpenAmiError, options: MeterOptions) -> None:
    """Put the meter, and what would be right, into an error that does not say them."""
    if error.where is None:
        error.where = title_of_meter(options)
    elif isinstance(error, AccessError):
        error.where = f"{title_of_meter(options)}: {error.where}"
    error.expected = error.expected or _right(error)


def _right(error: OpenAmiError) -> str | None:
    if isinstance(error, AccessError):
        return _REFUSED.get(error.result)
    if isinstance(error, AssociationError):
        known = not error.provider and error.diagnostic in Diagnostic.__members__.values()
        return _NOT_ASSOCIATED.get(Diagnostic(error.diagnostic)) if known else None
    if isinstance(error, LinkError):
        return _NOBODY
    return None
