"""The `[source]` section of the configuration."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from tocsin_agent.sources.opening import KINDS

_KINDS = "; ".join(
    ", ".join(f"`{form}`" for form in kind.forms)
    + f": {kind.help}"
    + (f" [{kind.extra}]" if kind.extra else "")
    for kind in KINDS
)


class SourceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the samples come from."""

    uri: Annotated[
        str,
        Meta(
            min_length=1,
            examples=["excerpt"],
            description="A recording or a device; in brackets the extra of tocsin that it needs: "
            f"{_KINDS}.",
        ),
    ]
    rate_hz: Annotated[
        Annotated[float, Meta(ge=100, le=2000)] | None,
        Meta(description="Samples per second, for files that do not state it."),
    ] = None
    unit: Annotated[
        Literal["mV", "uV", "V", "counts"],
        Meta(description="Unit of the samples, for files that do not state it."),
    ] = "mV"
    gain: Annotated[
        Annotated[float, Meta(ge=1e-3, le=1e9)] | None,
        Meta(description="Counts in a millivolt, if the unit is `counts`."),
    ] = None
    baseline: Annotated[
        float,
        Meta(
            ge=-1e9,
            le=1e9,
            description="The count that stands for 0 mV, if the unit is `counts`.",
        ),
    ] = 0.0
    leads: Annotated[
        tuple[str, ...],
        Meta(max_length=16, description="The leads to use, in order; empty uses all."),
    ] = ()
    block_s: Annotated[
        float,
        Meta(
            ge=0.002,
            le=60,
            description="Seconds of ECG in one block; the results do not depend on it.",
        ),
    ] = 0.25
    speed: Annotated[
        Annotated[float, Meta(ge=1e-3, le=10_000)] | Literal["max"],
        Meta(description="How fast a recording is played: 1 is real time, `max` does not wait."),
    ] = 1.0
    queue_s: Annotated[
        float,
        Meta(
            ge=1,
            le=600,
            description="Seconds of ECG from a device that may wait for the monitor; beyond that "
            "the oldest block is dropped.",
        ),
    ] = 30.0
    timeout_s: Annotated[
        float,
        Meta(
            ge=0.2,
            le=60,
            description="A device that sends nothing for this long raises `source_lost`.",
        ),
    ] = 1.5
    retry_first_s: Annotated[
        float, Meta(gt=0, le=60, description="Wait before a lost source is opened again.")
    ] = 0.5
    retry_max_s: Annotated[
        float, Meta(gt=0, le=3600, description="The wait doubles with each failure, up to this.")
    ] = 30.0

    def __post_init__(self) -> None:
        user, at, _ = self.uri.partition("://")[2].partition("/")[0].rpartition("@")
        if at and ":" in user:  # the URI is in the log, the audit trail and the info message
            raise ValueError("uri has a password: leave it out, it is taken from the environment")
        if self.unit == "counts" and self.gain is None:
            raise ValueError("unit is `counts`: give gain, the counts in a millivolt")
        if self.retry_max_s < self.retry_first_s:
            raise ValueError("retry_max_s is less than retry_first_s")
        if self.queue_s <= self.timeout_s:
            raise ValueError("queue_s is not above timeout_s: samples would be dropped first")
        if len(set(self.leads)) < len(self.leads) or not all(self.leads):
            raise ValueError("leads names a lead twice, or one without a name")
