"""The password of the broker: from a file, or from the environment."""

from __future__ import annotations

import os
from pathlib import Path

from tocsin_agent.mqtt.settings import PASSWORD_VARIABLE
from tocsin_agent.regular_file import read_regular

_MAX_BYTES = 65_535  # of a password in MQTT
_QUOTES = ("'", '"')


def read_password(file: str | None) -> str | None:
    """Return the password; a byte order mark and a newline at the end are left out.

    Parameters
    ----------
    file : str or None
        The file that holds it; None for the environment, where it may be unset.

    Raises
    ------
    OSError
        If the file cannot be read; `strerror` says why.
    ValueError
        If what it holds cannot be meant as a password: nothing, several lines, surrounding quotes
        or spaces, or no UTF-8.
    """
    if file is None:
        value = os.environ.get(PASSWORD_VARIABLE)
        return None if value is None else value.rstrip("\r\n")
    text = read_regular(Path(file), _MAX_BYTES).decode("utf-8-sig").rstrip("\r\n")
    if not text:
        raise ValueError("it is empty")
    if "\n" in text or "\r" in text:
        raise ValueError("it has several lines: leave the password alone in it")
    if text != text.strip():
        raise ValueError("it begins or ends with a space: remove it")
    if len(text) > 1 and text[0] == text[-1] and text[0] in _QUOTES:
        raise ValueError("the password is in quotes: remove them")
    return text
