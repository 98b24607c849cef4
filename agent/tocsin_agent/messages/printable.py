"""Text from outside that may be shown or logged."""

from __future__ import annotations


def clean(text: str, most: int | None = None) -> str:
    """Replace control characters: outside text could forge a log line or control the terminal.

    Parameters
    ----------
    text : str
        Text of a payload, a device, a file or a broker.
    most : int, optional
        The most characters that are returned; what follows is replaced by `…`.
    """
    if most is not None and len(text) > most:
        text = text[: most - 1] + "…"
    return "".join(c if c.isprintable() else "�" for c in text)
