"""Alerts from a file: one document, or the lines that `watch --json` or `replay --json` write."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tocsin_agent.messages.alert import Alert
    from tocsin_agent.messages.trend import Trend


def read_alerts(payload: bytes, name: str) -> list[Alert]:
    """Return the alerts of a file; other lines of these commands are left out.

    Parameters
    ----------
    payload : bytes
        Its content.
    name : str
        For the error.

    Raises
    ------
    click.UsageError
        If it holds no JSON, or what is no alert.
    """
    import msgspec

    from tocsin_agent.messages.alert import Alert

    try:
        records = [msgspec.json.decode(payload)]
    except msgspec.DecodeError:
        try:
            records = [msgspec.json.decode(line) for line in payload.splitlines() if line.strip()]
        except msgspec.DecodeError as exc:
            raise click.UsageError(
                f"{name} is neither an alert nor lines of `tocsin watch --json`: {exc}"
            ) from exc
    objects = [record for record in records if isinstance(record, dict)]
    found = [
        record.get("alert", record)
        for record in objects
        if "alert" in record or "alert_id" in record
    ]
    try:
        return [msgspec.convert(one, Alert, strict=False) for one in found or records[:1]]
    except msgspec.ValidationError as exc:
        raise click.UsageError(f"{name} is not a tocsin alert: {exc}") from exc


def read_documents(payload: bytes, name: str) -> list[Alert | Trend]:
    """Return alerts and trends of a file, in order; parameters and errors as `read_alerts`."""
    import msgspec

    from tocsin_agent.messages.trend import Trend

    documents: list[Alert | Trend] = []
    for line in payload.splitlines():
        record = None
        with contextlib.suppress(msgspec.DecodeError):
            record = msgspec.json.decode(line)
        inner = record.get("trend", record) if isinstance(record, dict) else None
        if isinstance(inner, dict) and inner.get("schema") == "tocsin/trend/v1":
            try:
                documents.append(msgspec.convert(inner, Trend, strict=False))
            except msgspec.ValidationError as exc:
                raise click.UsageError(f"{name} has a trend that is none: {exc}") from exc
        elif isinstance(record, dict) and ("alert" in record or "alert_id" in record):
            documents += read_alerts(line, name)
    return documents or [*read_alerts(payload, name)]
