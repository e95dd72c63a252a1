"""Manages the certificates of a meter with the gurux client, over TCP, in a conversation of JSON lines.

The plan comes first on standard input: port, title, encryption and authentication key (hex). Each further
line is one step, ``[name, arguments...]``, and has one line as its answer: ``value`` or ``error``.
Run with the interpreter of the peers; the library prints a lot, so stdout is kept apart.
"""

from __future__ import annotations

import contextlib
import io
import json
import socket
import sys

from gurux_dlms import GXByteBuffer, GXReplyData
from gurux_dlms.asn import GXPkcs10, GXx509Certificate
from gurux_dlms.enums import Authentication, InterfaceType, Security
from gurux_dlms.objects import GXDLMSSecuritySetup
from gurux_dlms.objects.enums import CertificateEntity, CertificateType, SecuritySuite
from gurux_dlms.secure import GXDLMSSecureClient


class Conversation:
    """One association with the meter, and its security setup."""

    def __init__(self, plan: dict) -> None:
        self.client = GXDLMSSecureClient(True, 1, 7, Authentication.HIGH_GMAC, None, InterfaceType.WRAPPER)
        ciphering = self.client.ciphering
        ciphering.securitySuite = SecuritySuite.SUITE_1
        ciphering.systemTitle = bytes.fromhex(plan["title"])
        ciphering.blockCipherKey = bytes.fromhex(plan["encryption"])
        ciphering.authenticationKey = bytes.fromhex(plan["authentication"])
        ciphering.security = Security.AUTHENTICATION_ENCRYPTION
        ciphering.invocationCounter = 100
        self.connection = socket.create_connection(("127.0.0.1", plan["port"]), timeout=8)
        self.setup = GXDLMSSecuritySetup("0.0.43.0.0.255")
        self.setup.version = 1

    def exchange(self, requests: object) -> GXReplyData:
        """The answer to requests."""
        reply = GXReplyData()
        for request in requests if isinstance(requests, list) else [requests]:
            reply, buffer = GXReplyData(), GXByteBuffer()
            self.send(request, reply, buffer)
            while reply.isMoreData():
                self.send(self.client.receiverReady(reply), reply, GXByteBuffer())
            if reply.error:
                raise ValueError(f"error {int(reply.error)}")
        return reply

    def send(self, request: bytes, reply: GXReplyData, buffer: GXByteBuffer) -> None:
        """One request, one answer."""
        self.connection.sendall(bytes(request))
        while not self.client.getData(buffer, reply):
            data = self.connection.recv(65536)
            if not data:
                raise ConnectionError("the meter closed the connection")
            buffer.set(data)

    def associate(self) -> None:
        """High level security 5."""
        reply = self.exchange(self.client.aarqRequest())
        self.client.parseAareResponse(reply.data)
        reply = self.exchange(self.client.getApplicationAssociationRequest())
        self.client.parseApplicationAssociationResponse(reply.data)

    def step(self, name: str, *given: object) -> object:
        """What a step gives."""
        setup, client = self.setup, self.client
        match name, given:
            case "associate", ():
                return self.associate()
            case "generate", (kind,):
                self.exchange(setup.generateKeyPair(client, CertificateType(kind)))
            case "request", (kind,):
                value = bytes(self.exchange(setup.generateCertificate(client, CertificateType(kind))).value)
                return {"der": value.hex(), "subject": GXPkcs10(value).subject}
            case "import", (der,):
                self.exchange(setup.importCertificate(client, GXx509Certificate(bytes.fromhex(der))))
            case "export", (entity, kind, title):
                asked = setup.exportCertificateByEntity(
                    client, CertificateEntity(entity), CertificateType(kind), bytes.fromhex(title)
                )
                value = bytes(self.exchange(asked).value)
                return {"der": value.hex(), "subject": GXx509Certificate(value).subject}
            case "remove", (entity, kind, title):
                self.exchange(
                    setup.removeCertificateByEntity(
                        client, CertificateEntity(entity), CertificateType(kind), bytes.fromhex(title)
                    )
                )
            case "list", ():
                reply = self.exchange(client.read(setup, 6))
                client.updateValue(setup, 6, reply.value)
                return [
                    [
                        int(item.entity),
                        int(item.type_),
                        bytes(item.serialNumber).hex(),
                        bytes(item.subject).hex(),
                    ]
                    for item in setup.certificates
                ]
        return None


def main() -> None:
    """Run the steps."""
    conversation = Conversation(json.loads(sys.stdin.readline()))
    for line in sys.stdin:
        with contextlib.redirect_stdout(io.StringIO()):
            try:
                answer = {"value": conversation.step(*json.loads(line))}
            except Exception as error:  # whatever the library raises is the result
                answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
