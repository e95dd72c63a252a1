"""`ami dlms models`: the companion models that `ami dlms serve --model` shows, and who gets into them.

Rule of this file: what it says of a client is read off the policy that the meters are served with.
"""

from __future__ import annotations

from typing import Annotated, Final

import typer

from openami.cli.output import JsonOption, print_json, print_table
from openami.meter.companion.device import client_policy
from openami.meter.companion.model import CompanionModel, companion_model, companion_names
from openami.meter.public_key_spec import PublicKeySpec
from openami.protocols.dlms.apdus.authentication import MANAGEMENT_CLIENT, PUBLIC_CLIENT, Mechanism
from openami.protocols.dlms.protection.security_control import Protection
from openami.protocols.dlms.server.association_policy import (
    AssociationPolicy,
    management,
    public,
    secured_management,
)
from openami.quantities.errors import FormatError

_SECURITY_SETUP: Final = 64
_ASSOCIATION: Final = 15
_SECRET: Final = b"-"
"""In the place of a password, which is not shown."""
_SEES: Final = {
    "identity": "identity, clock and counter",
    "reading": "everything, to read",
    "everything": "everything",
    "firmware": "identity and the image transfer",
    "push": "the push setups",
}


def models(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="One model, with its objects by class.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """List the companion models that software meters can be served with, or show one of them.

    Object lists "like" a companion specification are in its manner, not the document; the source says
    where the facts come from.

    Example: ami dlms models smr-5.0-3p
    """
    if name is not None:
        _show(model_named(name, "NAME"), json)
        return
    listed = [companion_model(known) for known in companion_names()]
    if json:
        print_json({"models": [_document(model) for model in listed]})
        return
    print_table(
        "companion models",
        ("name", "objects", "classes", "clients", "source"),
        [
            (
                model.name,
                str(len(model.objects)),
                str(len(classes_of(model))),
                " ".join(str(client.port) for client in model.clients),
                model.sources[-1],
            )
            for model in listed
        ],
    )


def model_named(name: str, where: str) -> CompanionModel:
    """The companion model of an option; raises `FormatError` that lists the names."""
    if name not in companion_names():
        raise FormatError(
            f"no companion model {name!r}", where=where, expected=f"one of {', '.join(companion_names())}"
        )
    return companion_model(name)


def classes_of(model: CompanionModel) -> tuple[int, ...]:
    """Interface classes of a model, that of its associations included."""
    return tuple(sorted({item.class_id for item in model.objects} | {_ASSOCIATION}))


def clients_of(
    model: CompanionModel | None, keyed: bool, public_keys: PublicKeySpec | None = None
) -> list[dict[str, object]]:
    """Clients of meters of a model (None: of openami's own few objects), and what each needs to get in.

    Parameters
    ----------
    keyed:
        Whether the meters have keys.
    public_keys:
        Public key cryptography of the meters, which may give a client another mechanism.
    """

    def served(policy: AssociationPolicy) -> AssociationPolicy:
        if public_keys is None or not policy.protection or policy.client != public_keys.client:
            return policy
        return public_keys.policy(policy)

    if model is None:
        own = secured_management() if keyed else management(_SECRET)
        return [
            _client(public(()), "public", _SEES["identity"], PUBLIC_CLIENT),
            _client(served(own), "management", _SEES["everything"], MANAGEMENT_CLIENT),
        ]
    setup = bool(model.of_class(_SECURITY_SETUP))
    return [
        _client(
            served(client_policy(model, client, keyed, keyed and setup, _SECRET)),
            client.name,
            _SEES["identity" if client.pre_established and keyed else client.view],
            client.port,
        )
        for client in model.clients
    ]


def _client(policy: AssociationPolicy, name: str, sees: str, port: int) -> dict[str, object]:
    needs = {Mechanism.NONE: "nothing", Mechanism.LOW: "password"}.get(policy.mechanism, "keys")
    return {
        "client": port,
        "name": name,
        "needs": "no association" if policy.pre_established else needs,
        "mechanism": int(policy.mechanism),
        "protection": _protection(policy.protection),
        "sees": sees,
    }


def _protection(level: Protection) -> str:
    parts = {Protection.AUTHENTICATED: "authentication", Protection.ENCRYPTED: "encryption"}
    return " and ".join(text for bit, text in parts.items() if level & bit) or "none"


def _document(model: CompanionModel) -> dict[str, object]:
    return {
        "name": model.name,
        "title": model.title,
        "objects": len(model.objects),
        "classes": list(classes_of(model)),
        "association_version": model.association_version,
        "clients": clients_of(model, keyed=False),
        "clients_with_keys": clients_of(model, keyed=True),
        "sources": list(model.sources),
    }


def _show(model: CompanionModel, json: bool) -> None:
    rows = [
        (str(item.logical_name), str(item.class_id), str(item.version), item.what) for item in model.objects
    ]
    if json:
        print_json(
            {
                **_document(model),
                "object_list": [
                    {"obis": obis, "class": int(class_id), "version": int(version), "what": what}
                    for obis, class_id, version, what in rows
                ],
            }
        )
        return
    print_table(f"{model.name}: {model.title}", ("obis", "class", "version", "what"), rows)
    print_clients(model)
    print_table("sources", ("source",), [(source,) for source in model.sources])


def print_clients(model: CompanionModel) -> None:
    """A table of the clients, without keys and with."""
    rows = [
        (
            str(plain["client"]),
            str(plain["name"]),
            f"{plain['needs']} (mechanism {plain['mechanism']})",
            f"{keyed['needs']} (mechanism {keyed['mechanism']})",
            str(plain["sees"]),
        )
        for plain, keyed in zip(clients_of(model, keyed=False), clients_of(model, keyed=True), strict=True)
    ]
    print_table("clients", ("client", "name", "meter without keys", "with keys", "sees"), rows)
