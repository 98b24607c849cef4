"""The exception tree: everything tocsin raises on purpose is a `TocsinError`."""

from __future__ import annotations

from enum import StrEnum


class TocsinError(Exception):
    """Root of the tree; its message says what was expected and what to do next.

    ::

        TocsinError
        ├── SignalError          a block or a stream that cannot be what it claims   (.reason)
        ├── SourceError          a source that cannot be opened or read              (.reason)
        ├── ConfigError          a configuration that is refused                     (.key)
        ├── ModelError           a model file that is refused                        (.reason)
        └── DeliveryError        an outbox or a broker that cannot be used           (.reason)
    """


class SignalFault(StrEnum):
    """What is wrong with a block or a stream description."""

    RATE = "rate"
    SHAPE = "shape"
    LEADS = "leads"


class SignalError(TocsinError):
    """A block or a stream description that contradicts itself or the limits.

    Parameters
    ----------
    reason : SignalFault
        What a program may tell apart.
    message : str
        What a person reads.
    """

    def __init__(self, reason: SignalFault, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class SourceFault(StrEnum):
    """Why a source cannot be opened or read."""

    NOT_FOUND = "not_found"
    TRUNCATED = "truncated"
    MALFORMED = "malformed"
    LOST = "lost"
    MISSING_EXTRA = "missing_extra"
    CHECKSUM = "checksum"
    UNREACHABLE = "unreachable"
    MISMATCH = "mismatch"


class SourceError(TocsinError):
    """A source that cannot be opened or read; parameters as in `SignalError`."""

    def __init__(self, reason: SourceFault, message: str) -> None:
        super().__init__(message)
        self.reason = reason


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


class ModelFault(StrEnum):
    """Why a model is refused or no longer trusted."""

    MISSING = "missing"
    HASH = "hash"
    CONTRACT = "contract"
    OUTPUT = "output"
    SIGNATURE = "signature"
    OLDER = "older"
    MISSING_EXTRA = "missing_extra"
    UNWRITABLE = "unwritable"


class ModelError(TocsinError):
    """A model that is refused or answers nonsense; parameters as in `SignalError`."""

    def __init__(self, reason: ModelFault, message: str) -> None:
        super().__init__(message)
        self.reason = reason


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
