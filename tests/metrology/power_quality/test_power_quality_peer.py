"""The class A instrument beside pqopen-lib on the same samples: it agrees within the peer's own errors."""

import pytest

from openami.cli.bench import power_quality as bench
from openami.cli.bench.figures import peers_python

pytestmark = pytest.mark.peer


def test_ours_and_the_peer_see_the_same_supply(monkeypatch: pytest.MonkeyPatch) -> None:
    if peers_python() is None:
        pytest.skip("no environment with the peers (make peers)")
    monkeypatch.setattr(bench, "_SECONDS", 20)
    u, i = bench._samples()
    ours = bench._errors(bench._analysed(u, i))
    peer = bench._peer(u, i)
    assert peer is not None
    theirs = peer["errors"]
    # its windows end on whole samples: parts in a thousand of U and P, percent of high harmonics
    assert theirs["u_error"] < 1_000
    assert theirs["p_error"] < 5_000
    assert theirs["i13_error"] < 100_000
    assert theirs["dip_residual_error"] < 0.2
    assert theirs["dip_duration_error"] < 1.0
    assert set(theirs) <= set(ours)
    for name, error in theirs.items():
        assert ours[name] < error
    for name, limit in bench.CLASS_A.items():
        assert ours[name] < 0.2 * limit
