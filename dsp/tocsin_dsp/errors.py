"""The root of the exception tree: every exception that tocsin raises on purpose derives from it."""

from __future__ import annotations

from enum import StrEnum


class TocsinError(Exception):
    """Base class of all exceptions; the message states what was expected and what to do next.

    Each package adds its own branch: `tocsin_models.errors`, `tocsin_agent.errors`.

    ::

        TocsinError
        └── SignalError          an inconsistent block or stream description         (.reason)
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
        For programs: the kind of fault.
    message : str
        For people: what is wrong and what to do.
    """

    def __init__(self, reason: SignalFault, message: str) -> None:
        super().__init__(message)
        self.reason = reason
