"""The one shape of every bench's document."""

from __future__ import annotations

from openami.cli.bench.figures import Figure, document


def test_a_bench_of_one_promise_repeats_its_figure_and_holds_only_when_goal_and_ratio_are_reached() -> None:
    reached = Figure(3.0, "1/s", "peer", 1.0, goal=2.0, goal_ratio=3.0)
    assert document("one", {"speed": reached, "size": Figure(1.0, "B")})["speed"] == 3.0
    assert document("one", {"speed": reached})["holds"] is True
    assert document("two", {"a": reached, "b": reached}).keys() == {"bench", "machine", "figures", "holds"}
    for missed in (
        Figure(1.9, "1/s", goal=2.0),
        Figure(2.9, "1/s", "peer", 1.0, goal_ratio=3.0),
        Figure(9.0, "1/s", "peer", None, goal_ratio=3.0),
    ):
        assert document("one", {"speed": missed})["holds"] is False
