"""What a log message is about, as fields: device, patient and site of a thread, and an alert.

The handler of the log writes them (`runtime.logs`): a message stays one sentence.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextvars import ContextVar

_ABOUT: ContextVar[Mapping[str, str]] = ContextVar("about", default={})  # noqa: B039 - not changed


def about(**fields: object) -> None:
    """State what all further messages of this thread are about; None and empty are left out."""
    _ABOUT.set({**_ABOUT.get(), **_stated(fields)})


def with_fields(**fields: object) -> dict[str, Mapping[str, str]]:
    """Return what one message is about, for `extra` of a call of `logging`."""
    return {"fields": _stated(fields)}


def fields_of(record: logging.LogRecord) -> dict[str, str]:
    """Return the fields of a message, in the thread that has written it."""
    return {**_ABOUT.get(), **getattr(record, "fields", {})}


def _stated(fields: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in fields.items() if value not in {None, ""}}
