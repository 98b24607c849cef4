"""A small, strict FHIR server on the loopback: validates, stores, and fails on request.

It takes transactions of updates only, all or none; every resource must be valid, and every
reference must lead to one that is stored or comes with it.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from tocsin_agent.team.export.fhir_check import check

Resource = dict[str, Any]
_CONTENT = "application/fhir+json"


class FhirDouble:
    """Stored resources by `Type/id`, and every version of each."""

    def __init__(
        self, *, release: str = "R4", port: int = 0, cert: Path | None = None, token: str = ""
    ) -> None:
        self.stored: dict[str, Resource] = {}
        self.versions: dict[str, int] = {}
        self.requests = 0
        self.statuses: list[int] = []
        """Answered in place of what would be, one a request."""
        self.said = _outcome("fails on request")
        self.leaves_out = 0
        """So many entries of an answer are missing."""
        self.refuses: Callable[[Resource], bool] = lambda _: False
        self._release, self._token = release, token
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        if cert is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(cert, cert.with_suffix(".key"))
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = int(self._server.server_address[1])
        self.url = f"{'https' if cert else 'http'}://127.0.0.1:{self.port}/fhir"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def of(self, kind: str) -> list[Resource]:
        return [one for name, one in self.stored.items() if name.startswith(f"{kind}/")]

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, Resource]:
        self.requests += 1
        if self._token and headers.get("authorization") != f"Bearer {self._token}":
            return 401, _outcome("a token is needed")
        if self.statuses:
            return self.statuses.pop(0), self.said
        if path != "/fhir" or not headers.get("content-type", "").startswith(_CONTENT):
            return 404, _outcome("application/fhir+json at /fhir expected")
        try:
            found = self._transaction(json.loads(body))
        except ValueError as exc:
            return 422, _outcome(str(exc))
        for name, resource in found.items():
            if self.stored.get(name) != resource:
                self.versions[name] = self.versions.get(name, 0) + 1
            self.stored[name] = resource
        entries = [{"response": {"status": "200 OK", "location": name}} for name in found]
        entries = entries[self.leaves_out :]
        return 200, {
            "resourceType": "Bundle", "type": "transaction-response", "entry": entries,
        }  # fmt: skip

    def _transaction(self, bundle: Resource) -> dict[str, Resource]:
        if bundle.get("resourceType") != "Bundle" or bundle.get("type") != "transaction":
            raise ValueError("a transaction expected")
        found: dict[str, Resource] = {}
        for entry in bundle["entry"]:
            resource, request = entry["resource"], entry["request"]
            check(resource, self._release)
            name = f"{resource['resourceType']}/{resource['id']}"
            if request != {"method": "PUT", "url": name} or name in found:
                raise ValueError(f"{request} for {name}")
            if self.refuses(resource):
                raise ValueError("this one is refused")
            found[name] = resource
        lost = {r for one in found.values() for r in _references(one)} - {*found, *self.stored}
        if lost:
            raise ValueError(f"references that lead nowhere: {sorted(lost)}")
        return found


def _references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("reference"), str):
            yield value["reference"]
        for inner in value.values():
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


def _outcome(text: str) -> Resource:
    issue = {"severity": "error", "code": "processing", "diagnostics": text}
    return {"resourceType": "OperationOutcome", "issue": [issue]}


def _handler(double: FhirDouble) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, answer = double.answer(self.path, headers, body)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", _CONTENT)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    return Handler
