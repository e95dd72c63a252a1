"""A meter that echoes, and a client with PDUs of some size, for the services of DLMS."""

from __future__ import annotations

from typing import Any

from openami.protocols.dlms.apdus.authentication import Mechanism
from openami.protocols.dlms.apdus.descriptors import Attribute, Method
from openami.protocols.dlms.apdus.results import (
    AccessError,
)
from openami.protocols.dlms.client.association import Association
from openami.protocols.dlms.encoding.axdr import Data, Tag, structure
from openami.protocols.dlms.framing.wrapper import Frame
from openami.protocols.dlms.interface_classes.interface_object import (
    AttributeRule,
    InterfaceObject,
)
from openami.protocols.dlms.server.association_policy import AssociationPolicy
from openami.protocols.dlms.server.logical_device import LogicalDevice
from openami.protocols.dlms.server.session import ServerSession
from openami.quantities.obis import ObisCode

PASSWORD = b"12345678"
ENERGY = Attribute(3, ObisCode(1, 0, 1, 8, 0), 2)
NOTE = Attribute(1, ObisCode(0, 0, 96, 13, 0), 2)
LOAD = Attribute(7, ObisCode(1, 0, 99, 1, 0), 2)
SERIAL = Attribute(1, ObisCode(0, 0, 96, 1, 0), 2)
RESET = Method(3, ObisCode(1, 0, 1, 29, 0), 1)
DATUM = Data(Tag.INTEGER, 0)
STAMP = bytes.fromhex("07e901010300000000000000")
ECHO = ObisCode(0, 0, 97, 0, 0)
SAY, FAIL = Method(1, ECHO, 1), Method(1, ECHO, 9)


class Echo(InterfaceObject):
    """Method 1 returns its parameter twice, method 2 nothing; it counts."""

    class_id = 1
    version = 0
    rules = (AttributeRule(1),)
    methods = (1, 2)
    calls = 0

    def value(self, index: int) -> bytes:
        raise AssertionError(index)

    def invoke(self, index: int, parameter: Data | None) -> Data | None:
        self.calls += 1
        if index == 1 and parameter is not None:
            return structure(parameter, parameter)
        if index == 2:
            return None
        return super().invoke(index, parameter)


class World:
    """A meter that echoes, and a client with PDUs of some size on either side."""

    def __init__(self, meter: Any, client_pdu: int = 65535, server_pdu: int = 65535, **client: Any) -> None:
        self.meter = meter
        self.echo = Echo(ECHO)
        policy = AssociationPolicy(1, Mechanism.LOW, PASSWORD, max_pdu=server_pdu)
        self.session = ServerSession({7: LogicalDevice([*meter.device(), self.echo], [policy])})
        self.association = Association(7, 1, PASSWORD, max_pdu=client_pdu, **client)
        self.sent: list[bytes] = []
        self.answered: list[bytes] = []
        self.run(self.association.associate())

    def run(self, operation: Any) -> Any:
        outgoing = next(operation)
        while True:
            self.sent.append(outgoing[8:])
            answer = self.session.receive(outgoing)
            self.answered.append(answer[8:])
            try:
                outgoing = operation.send(answer)
            except StopIteration as done:
                return done.value

    def ask(self, apdu: str) -> str:
        return self.session.receive(Frame(1, 7, bytes.fromhex(apdu.replace(" ", ""))).to_bytes())[8:].hex()


def results_of(values: list[Any]) -> list[Any]:
    return [value.result if isinstance(value, AccessError) else value for value in values]
