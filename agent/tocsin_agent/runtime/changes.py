"""What changed in an agent, for the audit trail: its configuration, models and version."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from tocsin_agent.config.config import Config, config_hash
from tocsin_agent.delivery.answer_store import AnswerStore
from tocsin_agent.delivery.audit import CONFIGURATION, MODELS, VERSION
from tocsin_agent.errors import DeliveryError
from tocsin_models import Models

log = logging.getLogger(__name__)

_SHOWN = 12  # changed values that an entry names


def record_configuration(store: AnswerStore, config: Config) -> None:
    """Record the configuration if it is another than at the last start, and what changed.

    A configuration has no secrets: passwords and keys are in files that it names.
    """
    now = msgspec.json.encode(config)
    try:
        if (before := store.recall(CONFIGURATION)) != now:
            store.record(CONFIGURATION, _configuration(before, now, config_hash(config)))
            store.remember(CONFIGURATION, now)
    except DeliveryError as exc:  # monitoring begins on a full disk too
        log.warning("the configuration is not in the audit trail: %s", exc)


def record_models(store: AnswerStore, models: Models) -> None:
    """Record which models are in use, unless the trail says so already."""
    hashes = models.hashes
    detail = ", ".join(f"{name} {hashes[name][:12]}" for name in sorted(hashes)) or "none"
    try:
        store.record(MODELS, detail)
    except DeliveryError as exc:  # they are used all the same
        log.warning("the models are not in the audit trail: %s", exc)


def record_version(store: AnswerStore, detail: str) -> bool:
    """Record what happened to the version of the agent; return whether the trail has it."""
    try:
        store.record(VERSION, detail)
    except DeliveryError as exc:
        log.warning("%s: it is not in the audit trail: %s", detail, exc)
        return False
    return True


def _configuration(before: bytes | None, now: bytes, known: str) -> str:
    """Return the entry: the hash, and each value that is another than before."""
    try:
        old = dict(_values(msgspec.json.decode(before, type=dict[str, Any]))) if before else {}
    except ValueError:  # msgspec's errors are ValueErrors
        old = {}
    new = dict(_values(msgspec.json.decode(now, type=dict[str, Any])))
    changed = [
        f"{name} {old.get(name)!r} -> {new.get(name)!r}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]
    if not old or not changed:
        return known
    more = f"; and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
    return f"{known}: {'; '.join(changed[:_SHOWN])}{more}"


def _values(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value with its full name; a list is one value."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _values(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
