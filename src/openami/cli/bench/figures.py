"""What every `ami bench NAME --json` prints: one shape, with the peer measured in the same run."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure.

    Parameters
    ----------
    value, unit:
        Ours.
    peer, peer_value:
        Who was measured beside it in the same run and what it reached; None where there is no peer.
    goal:
        The value promised; None where nothing is promised.
    goal_ratio:
        The promised multiple of the peer; None where nothing is promised.
    """

    value: float
    unit: str
    peer: str | None = None
    peer_value: float | None = None
    goal: float | None = None
    goal_ratio: float | None = None

    @property
    def ratio(self) -> float | None:
        """Ours divided by the peer's."""
        return self.value / self.peer_value if self.peer_value else None

    @property
    def of_goal(self) -> float | None:
        """Ours divided by the value promised."""
        return self.value / self.goal if self.goal else None

    @property
    def holds(self) -> bool:
        """True when what was promised was reached (a ratio without its peer is not reached)."""
        if self.goal is not None and self.value < self.goal:
            return False
        return self.goal_ratio is None or (self.ratio is not None and self.ratio >= self.goal_ratio)


def document(bench: str, figures: dict[str, Figure]) -> dict[str, object]:
    """The JSON document of a bench; a bench of one promise repeats its figure at the top level."""
    promised = {
        name: figure.value
        for name, figure in figures.items()
        if figure.goal is not None or figure.goal_ratio is not None
    }
    return {
        "bench": bench,
        "machine": machine(),
        **(promised if len(promised) == 1 else {}),
        "figures": {
            name: {**asdict(figure), "ratio": figure.ratio, "of_goal": figure.of_goal, "holds": figure.holds}
            for name, figure in figures.items()
        },
        "holds": all(figure.holds for figure in figures.values()),
    }


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    return {
        "python": platform.python_version(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load_1min": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def peers_python() -> Path | None:
    """Interpreter of the environment with the test-time peers (`make peers`), if it was made."""
    for candidate in (os.environ.get("OPENAMI_PEERS"), ".venv-peers"):
        if candidate and (python := Path(candidate) / "bin" / "python").exists():
            return python.absolute()
    return None
