"""Counts of what a device sent and what became of it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from tocsin_agent.messages.printable import clean

log = logging.getLogger(__name__)


@dataclass(slots=True)
class LinkStatistics:
    """Counts since the link was created. Reason for its size: a table of counters, not state."""

    bytes: int = 0
    frames: int = 0
    corrupt: int = 0  # frames whose COBS or CRC is wrong
    malformed: int = 0  # intact packets that violate the protocol
    unknown: int = 0  # intact packets of an unknown type
    samples: int = 0  # delivered, of each lead
    sample_packets: int = 0
    missing_packets: int = 0  # given up
    recovered_packets: int = 0  # arrived after a later one: sent again, or overtaken
    repeated_packets: int = 0  # arrived again, or too late
    gaps: int = 0  # jumps of the counter
    missing_samples: int = 0
    lost_in_device: int = 0  # as the device reports
    foreign_packets: int = 0  # of a session whose hello has not arrived
    restarts: int = 0  # sessions after the first
    off_samples: dict[str, int] = field(default_factory=dict)  # by lead
    saturated_packets: int = 0
    paced: int = 0
    button_pressed: int = 0
    battery_percent: int | None = None  # as the device last reported
    battery_mv: int | None = None
    battery_low: bool = False
    electrode_ohm: dict[str, int] = field(default_factory=dict)  # by lead
    faults: dict[str, str] = field(default_factory=dict)  # present, by code
    last_violation: str = ""  # the last violation of the protocol, in words

    def note_violation(self, what: str) -> None:
        """Count an intact packet that violates the protocol; log a violation that is new."""
        self.malformed += 1
        if what != self.last_violation:
            log.warning("the device violates the protocol: %s", clean(what, 200))
        self.last_violation = what
