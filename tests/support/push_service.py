"""A push service on the loopback, and a browser's keys: what it gets is decrypted for real."""

from __future__ import annotations

import base64
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import http_ece
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from py_vapid import Vapid02


def server_key(file: Path) -> Path:
    """Write a private key as openssl does, and return its file."""
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    file.write_bytes(pem)
    return file


def base64url(raw: bytes) -> str:
    """Encode as a browser does."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class PushService:
    """Answers as a push service does; a context manager.

    Attributes
    ----------
    status : int
        What it answers.
    calls : list of dict
        The decrypted messages.
    headers : list
        Of each request.
    """

    def __init__(self) -> None:
        self.status = 201
        self.calls: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._secret = os.urandom(16)
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = service.status  # a test that sees the call may change it for the next one
                service._take(dict(self.headers.items()), body)
                self.send_response(status)
                if status in {301, 302, 307}:
                    self.send_header("Location", service.origin + "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join(60.0)
        self._server.server_close()

    def subscription(self, name: str = "phone") -> dict[str, str]:
        """Return what a browser would send: address and keys."""
        point = self._key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return {
            "endpoint": f"{self.origin}/{name}",
            "p256dh": base64url(point),
            "auth": base64url(self._secret),
        }

    def _take(self, headers: dict[str, str], body: bytes) -> None:
        assert Vapid02.verify(headers["Authorization"]), "signed with the server's key"
        clear = http_ece.decrypt(body, private_key=self._key, auth_secret=self._secret)
        self.headers.append(headers)
        self.bodies.append(clear)
        self.calls.append(msgspec.json.decode(clear))
