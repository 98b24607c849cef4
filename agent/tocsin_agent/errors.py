"""The exceptions of the agent.

::

    TocsinError
    ├── SourceError          a source that cannot be opened or read                 (.reason)
    ├── ConfigError          a configuration that is refused                        (.key)
    ├── DeliveryError        an outbox or a broker that cannot be used              (.reason)
    ├── MissingExtraError    an optional dependency that is not installed           (.extra)
    └── LabError             a judgement that cannot be made
"""

from __future__ import annotations

from enum import StrEnum

from tocsin_dsp.errors import TocsinError


class SourceFault(StrEnum):
    """Why a source cannot be opened or read."""

    NOT_FOUND = "not_found"
    TRUNCATED = "truncated"
    MALFORMED = "malformed"
    LOST = "lost"
    CHECKSUM = "checksum"
    UNREACHABLE = "unreachable"

    @property
    def transient(self) -> bool:
        """True for a fault that can end without a change of the configuration: open again later."""
        return self in {SourceFault.LOST, SourceFault.UNREACHABLE}

    @property
    def transient_after_connection(self) -> bool:
        """`transient` for a source that has worked before: an unplugged port is NOT_FOUND then."""
        return self.transient or self is SourceFault.NOT_FOUND


class SourceError(TocsinError):
    """A source that cannot be opened or read.

    Parameters
    ----------
    reason : SourceFault
        What a program can act on.
    message : str
        What a person reads: what happened and what to do.
    fetchable : bool
        True where `tocsin fetch` may be able to get what was not found.
    """

    def __init__(self, reason: SourceFault, message: str, *, fetchable: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.fetchable = fetchable


class ConfigError(TocsinError):
    """A configuration that is refused.

    Parameters
    ----------
    message : str
        File, key, value and what would be right.
    key : str
        The dotted path of the offending key, empty where the whole file is meant.
    """

    def __init__(self, message: str, key: str = "") -> None:
        super().__init__(message)
        self.key = key


class DeliveryFault(StrEnum):
    """Why alerts cannot be kept or sent."""

    OUTBOX_CORRUPT = "outbox_corrupt"
    OUTBOX_FULL = "outbox_full"
    OUTBOX_LOCKED = "outbox_locked"
    OUTBOX_UNWRITABLE = "outbox_unwritable"
    BROKER_UNREACHABLE = "broker_unreachable"
    BROKER_REFUSED = "broker_refused"
    TLS = "tls"


class DeliveryError(TocsinError):
    """An outbox or a broker that cannot be used; parameters as in `SignalError`."""

    def __init__(self, reason: DeliveryFault, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class MissingExtraError(TocsinError):
    """An optional dependency that is not installed.

    Parameters
    ----------
    extra : str
        The extra of tocsin that brings it.
    message : str
        What needs it, and how to install it.
    """

    def __init__(self, extra: str, message: str) -> None:
        super().__init__(message)
        self.extra = extra


class LabError(TocsinError):
    """A judgement that cannot be made: a broker, worker or file of the laboratory failed."""
