"""The info message: which software, configuration and models a device runs."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class Info(msgspec.Struct, frozen=True, kw_only=True):
    """What a device runs, retained on its info topic."""

    version: Annotated[str, Meta(description="Version of tocsin.")]
    alert_schema: Annotated[str, Meta(description="Schema and version of its alerts.")]
    configuration: Annotated[str, Meta(description="SHA-256 of the effective configuration.")]
    models: Annotated[dict[str, str], Meta(description="SHA-256 of each model in use, by name.")]
    ecg: Annotated[
        bool,
        Meta(
            description="False for a source without an ECG (a heart-rate strap): only "
            "`extreme_bradycardia`, `extreme_tachycardia` and technical alarms can be raised."
        ),
    ] = True
    source: Annotated[str, Meta(description="The URI of its source.")]


def encode_info(info: Info) -> bytes:
    """Encode as UTF-8 JSON."""
    return msgspec.json.encode(info)
