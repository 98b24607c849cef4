"""What does not work in keeping or delivering alerts, for people and as a technical alarm."""

from __future__ import annotations

from typing import NamedTuple

OUTBOX_FAILED = "outbox_failed"
DELIVERY_FAILED = "delivery_failed"


class Fault(NamedTuple):
    """Something that does not work now.

    Attributes
    ----------
    code : str
        The alarm that it raises: `outbox_failed` or `delivery_failed`.
    subject : str
        What has failed; each subject has an alarm of its own.
    reason : str
        Why, in words; it has no figures that change from one second to the next.
    consequence : str
        What that means for the alerts, and what to do.
    """

    code: str
    subject: str
    reason: str
    consequence: str

    @property
    def text(self) -> str:
        """One sentence, without a full stop."""
        return f"{self.reason}: {self.consequence}"


PEOPLE_UNREADABLE = Fault(
    DELIVERY_FAILED,
    "people",
    "the keys of people cannot be read",
    "those read before count, at the start none: answers and leases are refused, and alerts go to "
    "the team; the log says why (signing.people_file)",
)


def disk_fault(reason: str) -> Fault:
    """Return that the disk takes no alerts."""
    return Fault(
        OUTBOX_FAILED,
        "disk",
        reason,
        "alerts are held in memory and sent from there; a power cut loses them",
    )


def rows_lost(count: int) -> Fault:
    """Return that rows of the outbox could not be read."""
    return Fault(
        OUTBOX_FAILED,
        "rows",
        "its file is damaged",
        f"{count} alerts in it could not be read and may be lost; the rest goes out",
    )


def memory_full(count: int) -> Fault:
    """Return that memory gave up alerts while the disk took none."""
    return Fault(
        OUTBOX_FAILED,
        "memory",
        "neither the disk nor memory has room",
        f"{count} alerts of the lowest priority are lost; the log names them",
    )
