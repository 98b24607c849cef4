"""One FHIR server over HTTP: takes a transaction, or says why not."""

from __future__ import annotations

import http.client
import json
import re
import ssl
import time
from pathlib import Path
from typing import Any

import msgspec

from tocsin_agent import __version__
from tocsin_agent.errors import ExportError, ExportFault
from tocsin_agent.messages.printable import clean
from tocsin_agent.team.export.fhir import Resource
from tocsin_agent.team.export.transport import Security, split_url

_MOST_ANSWER = 1 << 20
_MOST_SAID = 300
_CONTENT = "application/fhir+json"
_LATER = {408, 409, 425, 429}  # 409: another writer of the same Device at the same time
_THIS_CLIENT = {401, 403, 404, 405, 407}
"""Statuses that say nothing about the document: the next one would have the same answer."""


class FhirServer:
    """Sends transactions; one connection each, used by one thread.

    Parameters
    ----------
    url : str
        Base of the server, `https://host/fhir`.
    security : Security
    token_file : Path, optional
        File with a bearer token, read anew each time: it may be renewed.
    timeout_s : float
        Longest wait for a connection or an answer.

    Raises
    ------
    ValueError
        If the URL is not one, or is plain and leads to another machine.
    """

    def __init__(
        self,
        url: str,
        security: Security,
        *,
        token_file: Path | None = None,
        timeout_s: float = 10.0,
    ) -> None:
        parts = split_url(url, {"http", "https"}, "https://HOST/PATH of a FHIR server expected")
        host = str(parts.hostname)
        if parts.scheme == "http":
            security.check_plain(host)
        self.where = f"{parts.scheme}://{parts.netloc}{parts.path}"
        self._host, self._port, self._path = (
            host,
            parts.port,
            parts.path.rstrip("/") or "/",
        )
        self._context = security.context() if parts.scheme == "https" else None
        self._token_file, self._timeout_s = token_file, timeout_s

    def send(self, bundle: Resource) -> None:
        """Send a transaction; on return the server has it.

        Raises
        ------
        ExportError
            `REFUSED` if the server does not take this one, and says so by an OperationOutcome; else
        others may have the same answer.
        """
        body = msgspec.json.encode(bundle)
        try:
            status, answer = self._post(body)
        except (OSError, http.client.HTTPException) as exc:
            raise ExportError(ExportFault.UNREACHABLE, self._said(exc)) from exc
        if 200 <= status < 300:
            _check_answer(self.where, answer, len(bundle["entry"]))
            return
        said = _outcome(answer)
        reason = ExportFault.REFUSED
        if status in _THIS_CLIENT or 300 <= status < 400:
            reason = ExportFault.NOT_PERMITTED
        elif status in _LATER or status >= 500:
            reason = ExportFault.UNREACHABLE
        elif said is None:  # a proxy, or a server that fails: no server of FHIR has refused it
            reason = ExportFault.UNREADABLE
        if said is None:
            said = answer[:_MOST_SAID].decode("utf-8", "replace")
        raise ExportError(reason, f"{self.where} answers {status}: {clean(said, _MOST_SAID)}")

    def _post(self, body: bytes) -> tuple[int, bytes]:
        headers = {
            "Content-Type": _CONTENT,
            "Accept": _CONTENT,
            "Prefer": "return=minimal",
            "User-Agent": f"tocsin/{__version__}",
        }
        if self._token_file is not None:
            headers["Authorization"] = f"Bearer {self._token()}"
        connection: http.client.HTTPConnection
        if self._context is not None:
            connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=self._timeout_s, context=self._context
            )
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        try:
            connection.request("POST", self._path, body, headers)
            response = connection.getresponse()
            return response.status, self._read(response)
        finally:
            connection.close()

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        """Return the answer; one that comes in drops ends at the same time as one that does not."""
        answer, deadline_s = bytearray(), time.monotonic() + self._timeout_s
        while len(answer) < _MOST_ANSWER and (part := response.read1(_MOST_ANSWER)):
            answer += part
            if time.monotonic() > deadline_s:
                raise TimeoutError("it does not end its answer in time")
        return bytes(answer)

    def _token(self) -> str:
        assert self._token_file is not None  # noqa: S101 - the caller has looked
        token = self._token_file.read_bytes().strip()
        if not token or not re.fullmatch(rb"[\x21-\x7e]+", token):
            raise ExportError(
                ExportFault.NOT_PERMITTED, f"{self._token_file} holds no token: one line expected"
            )
        return token.decode()

    def _said(self, exc: Exception) -> str:
        if isinstance(exc, ssl.SSLCertVerificationError):
            return f"{self.where} has a certificate that is not trusted ({exc.verify_message})"
        return (
            f"{self.where} cannot be reached: {clean(str(exc), _MOST_SAID) or type(exc).__name__}"
        )


def _check_answer(where: str, answer: bytes, entries: int) -> None:
    """Refuse an answer that does not confirm every entry, such as a login page."""
    try:
        bundle = json.loads(answer)
        states = [str(entry["response"]["status"]) for entry in bundle["entry"]]
    except (ValueError, KeyError, TypeError) as exc:
        raise ExportError(
            ExportFault.UNREADABLE,
            f"{where} does not answer as a FHIR server: a Bundle of type transaction-response "
            "expected; give the base of the server",
        ) from exc
    failed = [state for state in states if not state.startswith("2")]
    if failed or len(states) != entries:
        raise ExportError(
            ExportFault.REFUSED,
            f"{where} confirms {len(states) - len(failed)} of {entries} resources: "
            f"{clean(', '.join(failed), _MOST_SAID)}",
        )


def _outcome(answer: bytes) -> str | None:
    """Return what an OperationOutcome says; None for another answer."""
    try:
        issues: list[dict[str, Any]] = json.loads(answer)["issue"]
        said = [
            str(issue.get("diagnostics") or issue.get("details", {}).get("text") or issue["code"])
            for issue in issues
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return "; ".join(said)
