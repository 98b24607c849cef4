"""Where alerts are stored and who receives them: two tables of the configuration."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from tocsin_agent.messages.topics import check_level


class OutboxSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where alerts are stored until the broker has them, and how many."""

    path: Annotated[
        str,
        Meta(
            min_length=1,
            description="SQLite file, on storage that survives a restart; its folder is created.",
        ),
    ] = "tocsin-outbox.db"
    max_pending: Annotated[
        int,
        Meta(
            ge=1,
            description="Most alerts that may wait. Beyond it the agent removes updates of the "
            "lowest priority first, and never an alert of high priority.",
        ),
    ] = 10_000
    keep_delivered: Annotated[
        int,
        Meta(
            ge=0,
            description="Delivered alerts whose key is remembered, so that a replay or a restart "
            "cannot send them again.",
        ),
    ] = 10_000
    keep_trends_h: Annotated[
        float,
        Meta(gt=0, le=744, description="Hours of trends (one a minute) that are kept."),
    ] = 72.0


class PresenceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose presence keeps alerts at the bedside."""

    roles: Annotated[
        tuple[str, ...],
        Meta(description="Roles whose lease counts as attended; none: always to the team."),
    ] = ("cardiologist",)
    max_lease_s: Annotated[
        float,
        Meta(gt=0, le=86_400, description="A longer lease is malformed, and so counts as absent."),
    ] = 600.0
    max_skew_s: Annotated[
        float,
        Meta(
            ge=0,
            le=3600,
            description="A lease issued further in the future than this is malformed.",
        ),
    ] = 60.0
    settle_s: Annotated[
        float,
        Meta(
            ge=0,
            le=10,
            description="After connecting, how long to wait for a retained lease before nobody "
            "counts as present.",
        ),
    ] = 0.25

    def __post_init__(self) -> None:
        for role in self.roles:
            check_level(role, "role")
