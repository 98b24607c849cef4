"""The exceptions of the models.

::

    TocsinError
    └── ModelError           a model file that is refused, or a model that fails    (.reason)
"""

from __future__ import annotations

from enum import StrEnum

from tocsin_dsp.errors import TocsinError


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
    """A model that is refused or gives an invalid output; parameters as in `SignalError`."""

    def __init__(self, reason: ModelFault, message: str) -> None:
        super().__init__(message)
        self.reason = reason
