"""What an alert has gained since tocsin 0.1.0, and where it is sent.

The schema of 0.1.0 allows no other fields, so a strict reader of it refuses a document that has
more. The document on an alert's topic therefore satisfies that schema, and the rest is a JSON merge
patch (RFC 7396) to it in a user property of the same MQTT 5 message. A reader that knows the
property applies the patch; any other sees the alert as 0.1.0 sent it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tocsin_agent.messages.alert import Alert, ClockState, decode_alert

PROPERTY = "tocsin-additions"
"""Name of the user property."""
MAX_CHARS = 65_535
"""Longest string of MQTT."""

_FIELDS = {"clock": ClockState.SYNCHRONISED.value}
"""Fields of the document itself, with the value that is not sent."""
_ADDED = {"strip": ("beats", "onset_row"), "escalation": ("repeat", "to", "addressed")}


def split(document: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Return a document as 0.1.0 knew it, and what it has gained as JSON; empty for nothing.

    Parameters
    ----------
    document : mapping
        A decoded alert; left as it is.
    """
    plain, added = dict(document), dict[str, Any]()
    for name, usual in _FIELDS.items():
        value = msgspec.to_builtins(plain.pop(name, usual))
        if value != usual:
            added[name] = value
    for part, names in _ADDED.items():
        old = msgspec.to_builtins(document.get(part))
        if not isinstance(old, dict):
            continue
        plain[part] = {name: value for name, value in old.items() if name not in names}
        if more := {name: old[name] for name in names if name in old}:
            added[part] = more
    text = msgspec.json.encode(added).decode() if added else ""
    return plain, text if len(text) <= MAX_CHARS else ""


def decode_with_additions(payload: bytes, additions: str) -> Alert:
    """Decode a document and what it has gained; additions that make no alert are left out.

    Raises
    ------
    msgspec.ValidationError
        If the document does not satisfy the schema; `msgspec.DecodeError` if it is not JSON.
    """
    if not additions:
        return decode_alert(payload)
    try:
        document = msgspec.json.decode(payload, type=dict[str, Any])
        added = msgspec.json.decode(additions, type=dict[str, Any])
        document |= {name: added[name] for name in _FIELDS if name in added}
        for part, names in _ADDED.items():
            old, more = document.get(part), added.get(part, {})
            if isinstance(old, dict) and isinstance(more, dict):
                document[part] = old | {name: more[name] for name in names if name in more}
        return decode_alert(msgspec.json.encode(document))
    except (ValueError, RecursionError):  # msgspec's are ValueErrors
        return decode_alert(payload)
