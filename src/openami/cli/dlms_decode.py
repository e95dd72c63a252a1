"""`ami dlms decode`: what any bytes of DLMS/COSEM say, layer by layer."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.text import Text

from openami.cli.dlms_access import (
    GakOption,
    GuekOption,
    KeyringOption,
    MeterOption,
    QuirkOption,
    credentials_of,
    opened_keyring,
    title_of,
)
from openami.cli.hex_dump import octets_of_text
from openami.cli.output import JsonOption, print_json, stdout
from openami.protocols.dlms.client.vendor_quirks import quirks_named
from openami.protocols.dlms.layers.decode_layers import decode_layers
from openami.protocols.dlms.layers.layer_tree import Node
from openami.protocols.dlms.layers.protection_layers import LayerKeys
from openami.quantities.errors import FormatError, SecurityError
from openami.security.secret import Secret

_MOSTLY: Final = 0.75
"""Part of a text in an old code page that is ASCII all the same."""


def decode(
    hexadecimal: Annotated[
        list[str] | None, typer.Argument(metavar="[HEX...]", help="The octets; of --file or stdin without.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Text with hex or a log, or a binary file.")
    ] = None,
    guek: GuekOption = None,
    gak: GakOption = None,
    dedicated: Annotated[
        str | None, typer.Option(help="Dedicated key, hex.", envvar="OPENAMI_DLMS_DEDICATED")
    ] = None,
    keyring: KeyringOption = None,
    meter: MeterOption = None,
    client_title: Annotated[
        str | None, typer.Option("--client-title", help="System title of the client, 16 hex digits.")
    ] = None,
    server_title: Annotated[
        str | None, typer.Option("--server-title", help="System title of the meter, 16 hex digits.")
    ] = None,
    quirk: QuirkOption = "standard",
    json: JsonOption = False,
) -> None:
    """Explain octets layer by layer: frames, ciphering, services, values; deciphered with given keys.

    Spaces, 0x, offsets, time stamps and arrows of logs are passed over. Exit code 1 when something in the
    octets is wrong, or a key is missing.

    Example: ami dlms decode 7EA0 0820 0327 9373 857E

    Example: ami dlms decode --file dump.txt --guek 000102030405060708090A0B0C0D0E0F
    """
    keys = _keys(guek, gak, dedicated, keyring, meter, client_title, server_title)
    tree = decode_layers(_octets(hexadecimal, file), keys, quirks_named(quirk))
    if json:
        print_json(tree.document())
    else:
        for line in _lines(tree):
            if stdout.is_terminal:
                stdout.print(line)
            else:
                typer.echo(line.plain)
    if any(True for _ in tree.faults()):
        raise typer.Exit(1)


def _octets(hexadecimal: list[str] | None, file: Path | None) -> bytes:
    if hexadecimal and file is not None:
        raise FormatError("octets twice", where="--file", expected="hex, or a file")
    if hexadecimal:
        return octets_of_text(" ".join(hexadecimal))
    if file is not None and str(file) != "-":
        content = file.read_bytes()
        return _of_content(content, str(file))
    if sys.stdin.isatty():
        raise FormatError("no octets", expected="hex as arguments, --file, or stdin")
    return _of_content(
        sys.stdin.buffer.read() if hasattr(sys.stdin, "buffer") else sys.stdin.read().encode(), "stdin"
    )


def _of_content(content: bytes, where: str) -> bytes:
    """Octets of a file: text with hex, or the octets themselves where it is no text."""
    text = _text_of(content)
    return content if text is None else octets_of_text(text, where)


def _text_of(content: bytes) -> str | None:
    """A text in ASCII, UTF-8, UTF-16 with its mark, or an old code page; None where it is none."""
    for mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        if content.startswith(mark):
            text = content.decode("utf-16", "replace")
            return text if _readable(text) and "\ufffd" not in text else None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
        ascii_octets = sum(octet < 0x80 for octet in content)
        return text if _readable(text) and ascii_octets >= len(content) * _MOSTLY else None
    return text if _readable(text) else None


def _readable(text: str) -> bool:
    return all(letter.isprintable() or letter.isspace() for letter in text)


def _keys(
    guek: str | None,
    gak: str | None,
    dedicated: str | None,
    keyring: Path | None,
    meter: str | None,
    client_title: str | None,
    server_title: str | None,
) -> LayerKeys:
    known = LayerKeys(
        _key(guek, "--guek"),
        _key(gak, "--gak"),
        _key(dedicated, "--dedicated"),
        title_of(client_title, "--client-title") or b"",
        title_of(server_title, "--server-title") or b"",
    )
    if keyring is None:
        return known
    if meter is None:
        raise FormatError("which meter of the keyring", where="--meter", expected="its serial number")
    with opened_keyring(keyring) as ring:
        credentials = credentials_of(ring, meter)
    if credentials.keys is None:
        return known
    return LayerKeys(
        known.encryption or credentials.keys.global_unicast,
        known.authentication or credentials.keys.authentication,
        known.dedicated,
        known.client_title,
        known.server_title or credentials.title or b"",
    )


def _key(text: str | None, where: str) -> Secret | None:
    if text is None:
        return None
    try:
        return Secret.from_hex(text.strip())
    except SecurityError as error:
        raise SecurityError(error.message, where=where, expected=error.expected) from None


def _lines(node: Node, head: str = "", below: str = "") -> Iterator[Text]:
    """The tree, a line each; drawn here because dumps may have a hundred thousand frames."""
    place = f"{node.begin}" if node.end <= node.begin + 1 else f"{node.begin}-{node.end - 1}"
    if node.fault:
        yield Text.assemble(head, (f"! {node.value}", "bold red"), (f"  [{place}]", "dim"))
    else:
        yield Text.assemble(head, (node.name, "cyan"), "  ", node.value, (f"  [{place}]", "dim"))
    if node.octets:
        yield Text.assemble(below, "├── " if node.children else "└── ", (node.octets.hex(), "dim"))
    for number, child in enumerate(node.children, 1):
        last = number == len(node.children)
        yield from _lines(child, below + ("└── " if last else "├── "), below + ("    " if last else "│   "))
