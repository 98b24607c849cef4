"""The section `[model]` of the configuration."""

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
