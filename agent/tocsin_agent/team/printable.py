"""Text of a payload that may be shown."""

from __future__ import annotations


def clean(text: str) -> str:
    """Replace control characters: a payload is not trusted, and they could control the terminal."""
    return "".join(c if c.isprintable() else "�" for c in text)
