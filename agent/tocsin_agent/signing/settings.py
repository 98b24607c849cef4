"""The section `[signing]` of the configuration."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class SigningSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Signatures: the device's own, and whose are asked for (extra `signing`, MQTT 5)."""

    key_file: Annotated[
        str | None,
        Meta(
            description="PEM file with the ed25519 private key of this device, which signs all "
            "that it publishes; unset: nothing is signed. See `tocsin key --help`."
        ),
    ] = None
    people_file: Annotated[
        str | None,
        Meta(
            description="TOML file with the public keys of the people whose acknowledgements, "
            "leases and contexts are accepted, as `tocsin key add` writes it; read again when it "
            "changes. Unset: they are accepted without a signature."
        ),
    ] = None
    max_age_s: Annotated[
        float,
        Meta(
            gt=0,
            le=86_400,
            description="A message of a person that was signed longer ago is refused.",
        ),
    ] = 3600.0
    max_skew_s: Annotated[
        float,
        Meta(
            ge=0,
            le=3600,
            description="A message that was signed further in the future is refused.",
        ),
    ] = 60.0
