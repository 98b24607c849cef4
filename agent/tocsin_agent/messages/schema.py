"""Writes the JSON schema of each message: `python -m tocsin_agent.messages.schema [FOLDER]`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec

from tocsin_agent.messages.acknowledgement import Acknowledgement
from tocsin_agent.messages.active import Active
from tocsin_agent.messages.alert import Alert
from tocsin_agent.messages.context import ContextMessage
from tocsin_agent.messages.identity import IdentityRequest, IdentityResponse
from tocsin_agent.messages.lease import Lease
from tocsin_agent.messages.receipt import Receipt
from tocsin_agent.messages.response import Response
from tocsin_agent.messages.review import Review
from tocsin_agent.messages.status import Status
from tocsin_agent.messages.trend import Trend
from tocsin_agent.messages.waveform import Waveform

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_MESSAGES: dict[str, tuple[type[msgspec.Struct], str]] = {
    "ack.schema.json": (Acknowledgement, "tocsin acknowledgement, version 1"),
    "active.schema.json": (Active, "tocsin open alerts of a device, version 1"),
    "alert.schema.json": (Alert, "tocsin alert, version 1"),
    "context.schema.json": (ContextMessage, "tocsin context of a patient, version 1"),
    "identity-request.schema.json": (
        IdentityRequest,
        "tocsin request for a certificate, version 1",
    ),
    "identity-response.schema.json": (IdentityResponse, "tocsin certificate, version 1"),
    "presence.schema.json": (Lease, "tocsin presence lease, version 1"),
    "receipt.schema.json": (Receipt, "tocsin receipt of alerts, version 1"),
    "response.schema.json": (Response, "tocsin response to an acknowledgement, version 1"),
    "review.schema.json": (Review, "tocsin review of an alert, version 1"),
    "status.schema.json": (Status, "tocsin device status, version 1"),
    "trend.schema.json": (Trend, "tocsin trend, version 1"),
    "waveform.schema.json": (Waveform, "tocsin waveform, version 1"),
}


def make_schemas() -> dict[str, str]:
    """Return the text of each schema file, by file name."""
    return {
        name: msgspec.json.format(msgspec.json.encode(_schema(kind, title)), indent=2).decode()
        + "\n"
        for name, (kind, title) in _MESSAGES.items()
    }


def _schema(kind: type[msgspec.Struct], title: str) -> dict[str, Any]:
    return {"$schema": _DIALECT, "title": title, **msgspec.json.schema(kind)}


def main(arguments: list[str]) -> None:
    """Write all schemas into the folder that is given, by default `config/messages`."""
    folder = Path(arguments[0]) if arguments else Path("config/messages")
    for name, text in make_schemas().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
