"""Reads one value with the gurux client under a security suite, over TCP, and prints JSON on the last line.

The plan comes as JSON on standard input: port, suite, mechanism, protection, title, keys (hex, encryption and
authentication), password (hex), counter, and for mechanism 7 the client's private and the meter's public key
as raw octets. Run with the interpreter of the peers; the library prints a lot, so stdout is kept apart.
"""

from __future__ import annotations

import contextlib
import io
import json
import socket
import sys

from gurux_dlms import GXByteBuffer, GXReplyData
from gurux_dlms.ecdsa import GXPrivateKey, GXPublicKey
from gurux_dlms.enums import Authentication, InterfaceType, Security
from gurux_dlms.objects import GXDLMSData
from gurux_dlms.objects.enums import SecuritySuite
from gurux_dlms.secure import GXDLMSSecureClient


def read(plan: dict) -> str:
    """The value of 0.0.96.1.0.255."""
    mechanism = Authentication(plan["mechanism"])
    client = GXDLMSSecureClient(True, 1, 7, mechanism, bytes.fromhex(plan["password"]), InterfaceType.WRAPPER)
    ciphering = client.ciphering
    ciphering.securitySuite = SecuritySuite(plan["suite"])
    ciphering.systemTitle = bytes.fromhex(plan["title"])
    ciphering.blockCipherKey = bytes.fromhex(plan["encryption"])
    ciphering.authenticationKey = bytes.fromhex(plan["authentication"])
    ciphering.security = Security(plan["protection"])
    ciphering.invocationCounter = plan["counter"]
    if plan.get("private"):
        private = GXPrivateKey.fromRawBytes(bytes.fromhex(plan["private"]))
        public = GXPublicKey.fromRawBytes(bytes.fromhex(plan["public"]))
        ciphering.signingKeyPair = (public, private)
    with socket.create_connection(("127.0.0.1", plan["port"]), timeout=8) as connection:

        def exchange(request: bytes) -> GXReplyData:
            reply, buffer = GXReplyData(), GXByteBuffer()
            connection.sendall(bytes(request))
            while not client.getData(buffer, reply):
                data = connection.recv(65536)
                if not data:
                    raise ConnectionError("the meter closed the connection")
                buffer.set(data)
            if reply.error:
                raise ValueError(f"error {int(reply.error)}")
            return reply

        for request in client.aarqRequest():
            reply = exchange(request)
        client.parseAareResponse(reply.data)
        if client.isAuthenticationRequired:
            for request in client.getApplicationAssociationRequest():
                reply = exchange(request)
            client.parseApplicationAssociationResponse(reply.data)
        item = GXDLMSData("0.0.96.1.0.255")
        for request in client.read(item, 2):
            reply = exchange(request)
        return bytes(reply.value).hex()


def main() -> None:
    """Run the plan."""
    plan = json.load(sys.stdin)
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            result = {"value": read(plan)}
        except Exception as error:  # whatever the library raises is the result
            result = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
