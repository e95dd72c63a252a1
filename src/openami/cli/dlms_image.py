"""`ami dlms image`: firmware into a meter, block by block, and on from where an upload was cut short.

IEC 62056-6-2 class 18. A meter does not say which image it has in part, only how many blocks; so an upload
begins anew unless somebody says that it is the same image. Rule of this file: nothing is activated that the
meter has not verified.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer

from openami.cli.dlms_access import MeterOptions, with_meter
from openami.cli.dlms_talk import meter_document, talk
from openami.cli.output import JsonOption, print_json, progress, stderr, stdout
from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.client.image_upload import (
    IMAGE_CLASS,
    IMAGE_TRANSFER,
    ImageUpload,
    Standing,
    TransferStatus,
)
from openami.protocols.dlms.encoding.axdr import Tag
from openami.protocols.dlms.encoding.typed_value import data_of_text
from openami.protocols.dlms.interface_classes.class_names import class_name
from openami.quantities.errors import FormatError, LocalProtocolError
from openami.quantities.obis import ObisCode

if TYPE_CHECKING:
    from openami.headend.dlms_meter import Meter
    from openami.headend.image_delivery import ImageDelivery

T = TypeVar("T")

_MAX_IDENTIFIER: Final = 64
_MAX_IMAGE: Final = 0xFFFF_FFFF


@with_meter
def image(
    options: MeterOptions,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The image, signed as the meter wants it.")],
    identifier: Annotated[
        str | None,
        typer.Option(help="What the image is called, text or hex:...; the file's name without suffix."),
    ] = None,
    activate: Annotated[
        bool, typer.Option("--activate", help="Put the image into service once the meter verified it.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with the same image where an upload was cut short."),
    ] = False,
    block_size: Annotated[
        int | None,
        typer.Option(help="Octets of a block, where the meter lets them be set.", min=1, max=65535),
    ] = None,
    logical_name: Annotated[
        str, typer.Option("--object", metavar="OBIS", help="Logical name of the image transfer object.")
    ] = str(IMAGE_TRANSFER),
    attempts: Annotated[
        int,
        typer.Option(help="Connections in a row without a new block until the meter is given up.", min=1),
    ] = 5,
    json: JsonOption = False,
) -> None:
    """Bring a firmware image into a meter, have it verified, and with --activate put into service.

    A lost connection is made again, and nothing is sent twice that the meter has. Exit code 1 when the meter
    refused the image: a wrong signature, or no right.

    Example: ami dlms image 127.0.0.1:4059 firmware.bin --server 16 --password 00000000 --activate
    """
    content = _content(file)
    name = _identifier(identifier, file)
    code = ObisCode.parse(logical_name)
    with progress("blocks") as heard:
        upload = ImageUpload(code, name, content, heard)
        try:
            status, delivery = talk(
                options,
                lambda meter: _bring(meter, upload, resume, block_size, attempts, activate),
                json=json,
            )
        except KeyboardInterrupt:
            _say_how_to_go_on(upload)
            raise
    if json:
        print_json(
            {
                "meter": meter_document(options),
                "file": file,
                "identifier": name,
                "octets": len(content),
                "blocks": upload.there,
                "blocks_sent": upload.blocks_sent,
                "reconnections": delivery.reconnections,
                "status": status.name.lower().replace("_", "-"),
            }
        )
        return
    done = {
        TransferStatus.VERIFIED: "verified; --resume --activate puts it into service",
        TransferStatus.ACTIVATED: "verified and put into service",
    }.get(status, f"verified; the meter is still about it (status {status.value})")
    stdout.print(f"{file}: {len(content)} octets, {upload.there} blocks, {done}", markup=False)


async def _bring(
    meter: Meter, upload: ImageUpload, resume: bool, block_size: int | None, attempts: int, activate: bool
) -> tuple[TransferStatus, ImageDelivery]:
    """The whole upload; where it stands at the end."""
    from openami.headend.image_delivery import DeliveryPatience, ImageDelivery

    target = await meter.attribute(upload.logical_name)
    if target.class_id != IMAGE_CLASS:
        raise LocalProtocolError(
            f"{upload.logical_name} is no image transfer object but {class_name(target.class_id)}",
            expected="an object of class 18 (--object, `ami dlms objects`)",
        )
    delivery = ImageDelivery(meter, upload, DeliveryPatience(attempts))
    enabled = await _explained(
        delivery.enable, "image transfer is not enabled", "a client that may enable it (attribute 5)"
    )
    if enabled:
        stderr.print("image transfer was not enabled: it is now (attribute 5)", markup=False)
    if resume:
        await delivery.resume()
    else:
        _say_what_is_lost(await delivery.standing())
    if block_size is not None:
        await _explained(
            lambda: meter.run(lambda association: upload.set_block_size(association, block_size)),
            f"the meter does not take blocks of {block_size} octets",
            "no --block-size: the meter says what it takes",
        )
    await _explained(
        delivery.transfer, "the meter does not take the image", "an image that it has room for, and the right"
    )
    await _explained(
        delivery.verify,
        "the meter does not verify the image",
        "an image made and signed for this meter, sent whole"
        + (" (without --resume, where the blocks before were of another)" if resume else ""),
    )
    if not activate:
        return TransferStatus.VERIFIED, delivery
    status = await delivery.activate()
    return status, delivery


async def _explained(act: Callable[[], Awaitable[T]], what: str, right: str) -> T:
    """Act; a refusal says what it was about."""
    try:
        return await act()
    except AccessError as refused:
        reason = refused.message
        refused.message = what if refused.result is AccessResult.OTHER_REASON else f"{what}: {reason}"
        refused.expected = right
        raise


def _say_what_is_lost(standing: Standing) -> None:
    if standing.status is TransferStatus.INITIATED and standing.there:
        stderr.print(
            f"beginning anew: the meter had {standing.there} of {standing.blocks} blocks of an image "
            "(--resume goes on with them)",
            markup=False,
        )


def _say_how_to_go_on(upload: ImageUpload) -> None:
    if upload.there:
        stderr.print(f"{upload.there} blocks are in the meter; --resume goes on with them", markup=False)


def _content(file: Path) -> bytes:
    if file.is_dir():
        raise FormatError("a folder", where=str(file), expected="the file of an image")
    if file.stat().st_size > _MAX_IMAGE:
        raise FormatError("an image of more than 4 GiB", where=str(file), expected="the file of an image")
    content = file.read_bytes()
    if not content:
        raise FormatError("the file is empty", where=str(file), expected="the file of an image")
    return content


def _identifier(text: str | None, file: Path) -> bytes:
    octets = data_of_text(file.stem if text is None else text, Tag.OCTET_STRING).value
    assert isinstance(octets, bytes)
    if not 1 <= len(octets) <= _MAX_IDENTIFIER:
        raise FormatError(
            f"an identifier of {len(octets)} octets", where="--identifier", expected=f"1 .. {_MAX_IDENTIFIER}"
        )
    return octets
