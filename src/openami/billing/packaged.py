"""Example tariffs that come with the package: those of the demo utility."""

from __future__ import annotations

from importlib import resources

from openami.quantities.errors import TariffError


def packaged_names() -> list[str]:
    """Names of the example tariffs."""
    folder = resources.files("openami.billing").joinpath("tariffs")
    return sorted(item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml"))


def packaged_tariff(name: str) -> str:
    """TOML text of an example tariff.

    Raises
    ------
    TariffError
        There is none of that name.
    """
    if name not in packaged_names():
        raise TariffError(f"no example tariff {name!r}", expected=f"one of {', '.join(packaged_names())}")
    return resources.files("openami.billing").joinpath("tariffs", f"{name}.toml").read_text("utf-8")
