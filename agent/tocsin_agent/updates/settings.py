"""The sections `[model]` and `[update]` of the configuration."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class ModelSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The models, and how they may be updated."""

    path: Annotated[
        str | None,
        Meta(description="The beat model: an `.onnx` file with its card; unset: the shipped one."),
    ] = None
    folder: Annotated[
        str | None,
        Meta(
            description="Folder for updates, read when the agent starts and at SIGHUP; unset: "
            "models are not updated. See `tocsin model --help`."
        ),
    ] = None
    public_key: Annotated[
        str | None,
        Meta(description="PEM file with the ed25519 public key of the vendor who signs updates."),
    ] = None

    def __post_init__(self) -> None:
        if self.folder is not None and self.public_key is None:
            raise ValueError(
                "folder without public_key: an update is accepted only with a signature"
            )


class UpdateSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Updates of the agent itself: two slots beside the installed package."""

    folder: Annotated[
        str | None,
        Meta(
            examples=["/var/lib/tocsin/agent"],
            description="Absolute path of the folder for the slots; unset: the agent is not "
            "updated. See `tocsin update --help`.",
        ),
    ] = None
    keys: Annotated[
        tuple[str, ...],
        Meta(description="PEM files with the ed25519 public keys whose signatures count."),
    ] = ()
    threshold: Annotated[
        int, Meta(ge=1, le=8, description="How many of these keys must have signed an update.")
    ] = 1
    shadow_s: Annotated[
        float,
        Meta(ge=0, le=300, description="Seconds of live samples for the comparison."),
    ] = 60.0
    healthy_s: Annotated[
        float,
        Meta(ge=1, le=3600, description="Seconds without a fault until a new version is kept."),
    ] = 60.0

    def __post_init__(self) -> None:
        if self.folder is None:
            return
        if not self.folder.startswith("/"):
            raise ValueError(f"folder is {self.folder!r}: write an absolute path")
        if len(self.keys) < self.threshold:
            raise ValueError(
                f"{len(self.keys)} keys and threshold {self.threshold}: an update is accepted only "
                "with that many signatures"
            )
