"""The exceptions of the agent.

::

    TocsinError
    ├── SourceError          a source that cannot be opened or read                 (.reason)
    ├── ConfigError          a configuration that is refused                        (.key)
    ├── DeliveryError        an outbox or a broker that cannot be used              (.reason)
    ├── MissingExtraError    an optional dependency that is not installed           (.extra)
    ├── SigningError         a key or a file of keys that cannot be used
    ├── ExportError          a system that does not take what is exported           (.reason)
    ├── UpdateError          an update of the agent that is refused                 (.reason)
    └── LabError             a judgement that cannot be made
"""

from __future__ import annotations

from enum import StrEnum

from tocsin_dsp.errors import TocsinError


class SourceFault(StrEnum):
    """Why a source cannot be opened or read.

    A live source is opened again whatever the fault is; a recording is not. The words of the error
    are those of the alarm `source_lost`.
    """

    NOT_FOUND = "not_found"  # the file, port, name or lead is not there
    TRUNCATED = "truncated"
    MALFORMED = "malformed"
    LOST = "lost"  # it worked, and the connection broke
    CHECKSUM = "checksum"
    UNREACHABLE = "unreachable"  # no answer
    NO_PERMISSION = "no_permission"  # this user may not open it
    BUSY = "busy"  # another program holds it
    AMBIGUOUS = "ambiguous"  # the name fits several
    REFUSED = "refused"  # it answers, and does not let this agent in
    CERTIFICATE = "certificate"  # TLS files, or a certificate that is not trusted
    CLOCK_NOT_SET = "clock_not_set"  # TLS cannot work before this gateway knows the date


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
    CLIENT_ID_TAKEN = "client_id_taken"
    AGENT_UNREACHABLE = "agent_unreachable"
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


class SigningError(TocsinError):
    """A key, or a file of keys, that cannot be used."""


class ExportFault(StrEnum):
    """Why another system does not take what is exported."""

    UNREACHABLE = "unreachable"  # no connection, no answer in time, or it is overloaded
    NOT_PERMITTED = "not_permitted"  # it does not let this client in, or has no such address
    REFUSED = "refused"  # it takes others, and not this one
    UNREADABLE = "unreadable"  # its answer is not one of its protocol
    QUEUE = "queue"  # the file of what waits cannot be used


class ExportError(TocsinError):
    """A system that does not take what is exported; parameters as in `SignalError`."""

    def __init__(self, reason: ExportFault, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class UpdateFault(StrEnum):
    """Why an update of the agent is refused; the agent in use stays."""

    UNREADABLE = "unreadable"  # no bundle, or damaged
    SIGNATURE = "signature"  # fewer of the configured keys than needed have signed it
    EXPIRED = "expired"
    OLDER = "older"  # than one that was in use here
    UNFIT = "unfit"  # another machine, Python, or a version from which there is no step to it
    NO_WAY_BACK = "no_way_back"  # the agent in use could not read its outbox
    UNWRITABLE = "unwritable"  # the disk is full or read-only
    BUSY = "busy"  # another update is under way
    DIFFERENT = "different"  # it misses alarms, or fails, on samples of this patient
    NOT_CONFIRMED = "not_confirmed"  # it was started, did not become healthy, and was left
    NOT_RUNNING = "not_running"  # no agent that could be updated runs
    NOTHING = "nothing"  # there is no version to go back to


class UpdateError(TocsinError):
    """An update of the agent that is refused, or was left; parameters as in `SignalError`."""

    def __init__(self, reason: UpdateFault, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class LabError(TocsinError):
    """A judgement that cannot be made: a broker, worker or file of the laboratory failed."""
