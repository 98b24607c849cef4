"""Where alerts are stored and who receives them: tables of the configuration."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from tocsin_agent.messages.acknowledgement import MAX_SILENCE_S
from tocsin_agent.messages.alert import Audience
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
            le=1_000_000,
            description="Most alerts that may wait. Beyond it the agent removes updates of the "
            "lowest priority first, and never an alert of high priority.",
        ),
    ] = 10_000
    keep_delivered: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
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
        if len(set(self.roles)) < len(self.roles):
            raise ValueError("roles names a role twice")
        for role in self.roles:
            check_level(role, "role")


class WaveformSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The live ECG for a screen; no alarm depends on it."""

    leads: Annotated[
        tuple[str, ...],
        Meta(description="Leads that are published, by name; `*` for all; none: no live ECG."),
    ] = ()
    piece_s: Annotated[
        float, Meta(ge=0.25, le=1, description="Length of a message: how late the ECG is shown.")
    ] = 0.5


class EscalationSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is addressed, and when, while nobody accepts an alert of high priority."""

    levels: Annotated[
        tuple[tuple[str, float], ...],
        Meta(
            description="The chain: name of each level, and the seconds after which the next one "
            "is addressed too. It begins with `bedside` and `team`; a patient who is not attended "
            "begins at `team`. Every further level has the topic `escalation/<level>/<priority>`."
        ),
    ] = (("bedside", 30.0), ("team", 60.0), ("second-team", 90.0), ("all", 0.0))
    repeat_s: Annotated[
        float,
        Meta(
            ge=1,
            description="Period at which an alert that nobody accepted is repeated, to every level "
            "addressed so far.",
        ),
    ] = 30.0
    accepted_s: Annotated[
        float,
        Meta(
            ge=10,
            description="How long an acceptance is valid while the condition lasts; then it must "
            "be renewed, or the alert is open again.",
        ),
    ] = 1800.0
    max_silence_s: Annotated[
        float,
        Meta(ge=0, le=MAX_SILENCE_S, description="Longest silence; a longer one is shortened."),
    ] = 120.0
    listed_s: Annotated[
        float,
        Meta(
            ge=0,
            description="How long an alert of medium priority stays listed after the condition has "
            "ended, and how long one of high priority is repeated then.",
        ),
    ] = 3600.0
    roles: Annotated[
        tuple[str, ...],
        Meta(description="Roles whose acknowledgements are accepted."),
    ] = ("team", "bedside", "cardiologist")
    active_s: Annotated[
        float, Meta(ge=1, description="Longest time between two messages on `active`.")
    ] = 10.0

    def __post_init__(self) -> None:
        names = [name for name, _ in self.levels]
        if names[:2] != [Audience.BEDSIDE, Audience.TEAM] or len(set(names)) != len(names):
            raise ValueError(
                f"levels {names}: begin with 'bedside' and 'team', and name each level once"
            )
        for name, wait_s in self.levels:
            check_level(name, "level")
            if wait_s < 0:
                raise ValueError(f"levels: {name!r} waits {wait_s:g} s, 0 or more expected")


class ReceiptSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether receivers confirm alerts of high priority."""

    expected: Annotated[
        bool,
        Meta(
            description="Set it where a receiver that sends receipts always runs, such as `tocsin "
            "watch`: an alert of high priority then counts as delivered only when one has "
            "confirmed it, and is sent again until then."
        ),
    ] = False
    wait_s: Annotated[
        float,
        Meta(
            ge=1,
            le=60,
            description="Longest wait for a receipt; then the alert is sent again, and again after "
            "pauses that double up to a minute.",
        ),
    ] = 5.0


class AuditSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long the outbox keeps the audit trail; see `tocsin audit`."""

    keep_days: Annotated[float, Meta(gt=0, description="Entries older than this are removed.")] = (
        90.0
    )
    max_mb: Annotated[
        float,
        Meta(
            gt=0,
            description="Beyond this size the oldest documents are removed, then the oldest "
            "entries.",
        ),
    ] = 64.0
