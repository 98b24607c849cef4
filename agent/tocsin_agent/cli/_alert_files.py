"""Alerts from a file: one document, or the lines that `watch --json` or `replay --json` write."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tocsin_agent.messages.alert import Alert


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
    found = [record["alert"] for record in objects if "alert" in record]
    found = found or [record for record in objects if "alert_id" in record]
    try:
        return [msgspec.convert(one, Alert, strict=False) for one in found or records[:1]]
    except msgspec.ValidationError as exc:
        raise click.UsageError(f"{name} is not a tocsin alert: {exc}") from exc
