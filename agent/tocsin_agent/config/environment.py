"""Settings by environment, for containers: `TOCSIN_MQTT_HOST` sets `mqtt.host`.

Every key of the configuration has a variable. A variable `TOCSIN_…` that sets nothing is refused: a
misspelt one would have no effect, and nobody would notice.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

import msgspec

from tocsin_agent.config.structdoc import FieldDoc, field_docs
from tocsin_agent.errors import ConfigError

PREFIX = "TOCSIN_"
OTHERS = frozenset(
    PREFIX + name
    for name in (
        *("CONFIG", "MQTT_PASSWORD", "BROKER", "LANGUAGE", "RECORDS", "EC57", "KEYS", "SIGN_WITH"),
        *("REQUIRE_RECORDS", "REQUIRE_TOOLS"),
    )
)
"""Variables that are read elsewhere: the file itself, the password, other commands, the tests."""


def variable(key: str) -> str:
    """Return the variable that sets a key."""
    return PREFIX + key.replace(".", "_").upper()


def overrides(environ: Mapping[str, str], struct: type[msgspec.Struct]) -> dict[str, str]:
    """Return the variable of each key that the environment sets.

    Raises
    ------
    ConfigError
        For a variable `TOCSIN_…` that sets nothing, with the one that may be meant.
    """
    names = [name for name in sorted(environ) if name.startswith(PREFIX) and name not in OTHERS]
    if not names:
        return {}  # without reading the descriptions of all keys
    keys = {variable(doc.key): doc.key for doc in field_docs(struct)}
    found = dict[str, str]()
    for name in names:
        if name in keys:
            found[keys[name]] = name
        else:
            import difflib  # noqa: PLC0415 - for an error only

            close = difflib.get_close_matches(name, [*keys, *OTHERS], n=1)
            hint = f"did you mean {close[0]}?" if close else "see docs/configuration.md"
            raise ConfigError(f"the environment sets {name}, which is no setting; {hint}")
    return found


def apply(raw: dict[str, Any], environ: Mapping[str, str], struct: type[msgspec.Struct]) -> None:
    """Write the values that the environment sets into the values of a file.

    Raises
    ------
    ConfigError
        As `overrides`; or for a section that is no table in the file.
    """
    found = overrides(environ, struct)
    docs = {doc.key: doc for doc in field_docs(struct)} if found else {}
    for key, name in found.items():
        *sections, last = key.split(".")
        table = raw
        for section in sections:
            table = table.setdefault(section, {})
            if not isinstance(table, dict):
                raise ConfigError(f"`{section}` is no table, and {name} sets a key in it", section)
        table[last] = _value(environ[name].rstrip("\r\n"), docs[key])


def _value(text: str, doc: FieldDoc) -> object:
    """Return text as what a file would hold: text stays text, anything else is read as TOML."""
    if doc.type.startswith(("text", "`")):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError, KeyError):
        return text
