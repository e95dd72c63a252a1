"""Options of `ami dlms` for meters that want it otherwise: HDLC parameters, no AARQ, another counter."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ami_command import Ami
from openami.protocols.dlms.framing.hdlc_parameters import HdlcParameters
from served_processes import address_of, served_meters

HDLC = ("--server", 16, "--transport", "hdlc")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A companion meter whose client 102 need not associate, on an HDLC line over TCP."""
    with served_meters("--model", "idis-like-1p", "--transport", "hdlc", "--days", 1) as document:
        yield address_of(document)


@pytest.mark.parametrize(("information", "window"), [(32, 1), (300, 3), (2030, 7)])
def test_the_parameters_of_an_hdlc_line_are_those_of_the_options(
    ami: Ami, address: str, information: int, window: int
) -> None:
    done = ami(
        "dlms", "read", address, "0-0:96.1.0", *HDLC, "--password", "00000000", "--trace", "--json",
        "--hdlc-information", information, "--hdlc-window", window,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert done.document["values"][0]["text"] == "H000001"
    assert HdlcParameters.of(information, window).to_bytes().hex(" ") in done.err.splitlines()[0]


def test_a_client_that_need_not_associate_reads_without_an_aarq(ami: Ami, address: str) -> None:
    read = ("dlms", "read", address, "0-0:25.9.0", "-a", 1, "-c", 40, *HDLC, "--client", 102)
    done = ami(*read, "--pre-established", "--trace", "--json")
    assert done.code == 0, done.err
    assert done.document["values"][0]["raw"] == "0000190900ff"
    sent = [line for line in done.err.splitlines() if line.startswith("->")]
    assert not [line for line in sent if " e6 e6 00 60 " in line or " e6 e6 00 62 " in line]
    asked = ami(*read, "--trace").err
    assert " e6 e6 00 60 " in asked
    assert " e6 e6 00 62 " in asked


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--hdlc-window", 0), "greater than or equal to 1"),
        (("--hdlc-window", 8), "less than or equal to 7"),
        (("--hdlc-information", 31), "greater than or equal to 32"),
        (("--hdlc-information", 2031), "less than or equal to 2030"),
        (("--hdlc-window", 1), "--hdlc-window"),
        (("--hdlc-information", 128), "--transport hdlc"),
        (("--pre-established", "--password", "00000000"), "neither a password nor keys"),
        (("--pre-established", "--user", 3), "--pre-established"),
        (("--counter-object", "0-0-43"), "--counter-object"),
    ],
)
def test_what_fits_nothing_is_refused_before_anybody_is_asked(
    ami: Ami, options: tuple[object, ...], said: str
) -> None:
    done = ami("dlms", "read", "127.0.0.1:1", "0-0:96.1.0", *options)
    assert (done.code, said in done.err) == (2, True), done.err
