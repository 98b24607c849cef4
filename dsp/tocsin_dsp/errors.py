"""The root of the exception tree: everything tocsin raises on purpose is a `TocsinError`."""

from __future__ import annotations

from enum import StrEnum


class TocsinError(Exception):
    """Root of the tree; its message says what was expected and what to do next.

    Each package draws its own branch: `tocsin_models.errors`, `tocsin_agent.errors`.

    ::

        TocsinError
        └── SignalError          a block or a stream that cannot be what it claims   (.reason)
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
