"""Which configuration and which models applied when is in the audit trail."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from support.factories import NOON, make_alert
from tocsin_agent.config.config import Config, config_hash
from tocsin_agent.delivery.answer_store import MemoryAnswers
from tocsin_agent.delivery.audit import PRUNE_EVERY, Entry, read_audit
from tocsin_agent.delivery.memory import MemoryStore
from tocsin_agent.delivery.outbox import Outbox
from tocsin_agent.messages.alert import encode_alert
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_agent.runtime.changes import record_configuration, record_models
from tocsin_agent.sources.settings import SourceSettings
from tocsin_models import Models, load_models

CONFIG = Config(site="ward3", device="bed7", source=SourceSettings(uri="excerpt"))


def details(store: MemoryAnswers, event: str) -> list[str]:
    return [entry.detail for entry in store.entries if entry.event == event]


def test_a_changed_configuration_names_each_value_that_changed() -> None:
    store = MemoryStore().answers
    other = msgspec.structs.replace(
        CONFIG, limits=Limits(vt_bpm=120.0), patient="p-9", location="ward 3, bed 7"
    )
    for config in (CONFIG, CONFIG, other, CONFIG):
        record_configuration(store, config)
    first, second, third = details(store, "configuration")
    assert first == config_hash(CONFIG)
    assert second.startswith(f"{config_hash(other)}: ")
    assert "limits.vt_bpm 100.0 -> 120.0" in second
    assert "patient" in second
    assert "limits.vt_bpm 120.0 -> 100.0" in third


def test_a_configuration_that_cannot_be_compared_is_recorded_by_its_hash() -> None:
    store = MemoryStore().answers
    store.remember("configuration", b"?")
    record_configuration(store, CONFIG)
    assert details(store, "configuration") == [config_hash(CONFIG)]


def test_the_models_in_use_are_recorded_when_they_change() -> None:
    store, models = MemoryStore().answers, load_models()
    for used in (models, models, models._replace(vf=None), Models()):
        record_models(store, used)
    assert models.vf is not None
    everything, without_vf, nothing = details(store, "models")
    assert f"{models.vf.name} {models.vf.sha256[:12]}" in everything
    assert models.vf.name not in without_vf
    assert nothing == "none"


def test_the_trail_is_kept_for_ninety_days_and_within_its_size(tmp_path: Path) -> None:
    """A hundred days of an entry an hour, each with a document, as an agent saves them."""
    now = NOON
    path = tmp_path / "o.db"
    document = encode_alert(make_alert())

    def utc() -> datetime:
        return now

    with Outbox(path, utc=utc) as outbox:
        for _ in range(100):
            entries = [Entry(now + timedelta(hours=h), "committed", "a", 1, document=document)
                       for h in range(24)]  # fmt: skip
            now += timedelta(days=1)
            outbox.answers.save([], entries=entries)
    kept = list(read_audit(path))
    age_days = (now - kept[0].at).total_seconds() / 86_400
    assert 90.0 <= age_days <= 90.0 + PRUNE_EVERY / 24 + 1
    assert all(entry.document == document for entry in kept), "64 MB are enough for these"
    assert path.stat().st_size < 64e6
