"""The models of a running agent: updates on request, and the rollback of one that fails."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from support.agents import keys, replay, replayed
from support.vendors import Vendor, tampered_model
from tocsin_agent.delivery.memory import MemoryStore
from tocsin_agent.messages.alert import Phase
from tocsin_agent.updates.field import FieldModels
from tocsin_agent.updates.settings import ModelSettings
from tocsin_agent.updates.store import ModelStore, State, verify
from tocsin_models import Model, Models, load_models
from tocsin_models.errors import ModelError, ModelFault

SHIPPED = load_models()


def finished(field: FieldModels) -> Models | None:
    """Return what `update` returns when the request has been done."""
    while True:
        models = field.update()
        if models is not None or not field.busy:
            return models


def test_updates_in_the_folder_are_installed_on_request(store: ModelStore, vendor: Vendor) -> None:
    field = FieldModels(SHIPPED, store)
    assert field.models.hashes == SHIPPED.hashes
    path = vendor.release(store.folder, "b")
    assert finished(field) is None, "not requested"
    field.request_update()
    models = finished(field)
    assert models is not None
    assert models is field.models
    assert models.beats is not None
    assert models.beats.sha256 == verify(path, vendor.public_key).sha256
    assert models.vf is SHIPPED.vf or models.hashes["vf"] == SHIPPED.hashes["vf"]
    field.request_update()
    assert finished(field) is None, "nothing has changed"
    assert FieldModels(SHIPPED, store).models.hashes == models.hashes, "also after a restart"


def test_an_older_release_in_the_folder_is_refused(store: ModelStore, vendor: Vendor) -> None:
    vendor.release(store.folder, "new", card=lambda card: card.update(release=2))
    field = FieldModels(SHIPPED, store)
    new = field.ids["beats"]
    vendor.release(store.folder, "old", card=lambda card: card.update(release=1))
    field.request_update()
    assert finished(field) is None
    assert field.ids["beats"] == new
    assert "release 1, and release 2 was in use" in field.refused


def test_a_refused_update_changes_nothing_and_is_reported(
    store: ModelStore, vendor: Vendor
) -> None:
    tampered_model(vendor.release(store.folder, "b"))
    field = FieldModels(SHIPPED, store)
    assert field.models.hashes == SHIPPED.hashes
    assert "SHA-256" in str(field.health().refused)
    (store.folder / "beats.json").write_text("{")
    assert "signature" in FieldModels(SHIPPED, store).refused


def test_a_version_that_was_rolled_back_is_not_installed_from_the_folder(
    store: ModelStore, vendor: Vendor
) -> None:
    path = vendor.release(store.folder, "b")
    field = FieldModels(SHIPPED, store)
    store.rollback("beats")
    field.request_update()
    assert finished(field) is not None
    assert field.models.hashes == SHIPPED.hashes
    b = store.install(path)  # a person may
    assert store.state("beats").current == b.sha256[:16]


def test_a_model_that_fails_in_use_is_rolled_back_and_no_alert_is_lost(
    store: ModelStore, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    b = verify(vendor.release(store.folder, "b"), vendor.public_key)
    field, memory, answered = FieldModels(SHIPPED, store), MemoryStore(), [0]
    right = Model.classify

    def failing(model: Model, *inputs: Any) -> Any:  # noqa: ANN401
        answered[0] += len(inputs[0]) if model.id == b.id else 0
        if answered[0] > 60 and model.id == b.id:
            raise ModelError(ModelFault.OUTPUT, "nonsense")
        return right(model, *inputs)

    with monkeypatch.context() as patch:
        patch.setattr(Model, "classify", failing)
        replay("excerpt", memory, field)
    failed = [a for a in memory.alerts if a.code == "model_failed"]
    assert [a.phase for a in failed] == [Phase.ONSET, Phase.END]
    assert failed[0].evidence.measured["failed"] == b.id
    assert keys([a for a in memory.alerts if a.code != "model_failed"]) == keys(replayed("excerpt"))
    assert store.state("beats") == State(left=(b.sha256[:16],))
    assert FieldModels(SHIPPED, store).models.hashes == SHIPPED.hashes, "nor after a restart"


def test_a_failed_model_is_not_used_again_although_the_rollback_fails(
    store: ModelStore, vendor: Vendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    b = store.install(vendor.release(tmp_path / "b", "b"))
    field = FieldModels(SHIPPED, store)

    def refuse(_: str) -> State:
        raise ModelError(ModelFault.UNWRITABLE, "read-only")

    monkeypatch.setattr(store, "rollback", refuse)
    assert field.failed("beats", b.id) is not None
    assert field.failed("beats", b.id) is None, "it is not in use any more"
    assert field.models.beats is SHIPPED.beats or field.models.hashes == SHIPPED.hashes
    field.request_update()
    assert finished(field) is None
    assert field.models.hashes == SHIPPED.hashes


def test_without_a_folder_there_are_no_updates() -> None:
    field = FieldModels(SHIPPED)
    field.request_update()
    assert finished(field) is None
    assert field.ids.keys() == {"beats", "vf", "af", "alarms"}


def test_a_configured_model_that_is_missing_is_reported_and_left_out(tmp_path: Path) -> None:
    field = FieldModels.from_settings(ModelSettings(path=str(tmp_path / "none.onnx")))
    assert field.models.beats is None
    assert field.ids.keys() == {"vf", "af", "alarms"}
    assert "no model at" in str(field.health().refused)


def test_row_16_updates_are_verified_off_the_monitoring_thread(
    store: ModelStore, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    field, threads = FieldModels(SHIPPED, store), list[str]()
    right = store.install

    def install(path: Path) -> Model:
        threads.append(threading.current_thread().name)
        return right(path)

    monkeypatch.setattr(store, "install", install)
    vendor.release(store.folder, "b")
    field.request_update()
    assert finished(field) is not None
    assert threads
    assert threading.current_thread().name not in threads


def test_row_16_pipes_huge_and_deep_files_are_refused(store: ModelStore, vendor: Vendor) -> None:
    field = FieldModels(SHIPPED, store)
    path = vendor.release(store.folder, "b")
    card = path.with_suffix(".json")
    good = card.read_bytes()
    card.unlink()
    os.mkfifo(card)
    field.request_update()
    assert finished(field) is None
    assert "not a regular file" in field.refused
    card.unlink()
    card.write_bytes(good)
    os.truncate(path, 6 * 1024**3)
    field.request_update()
    assert finished(field) is None
    assert "larger than" in field.refused
    card.write_bytes(b"[" * 100_000 + b"]" * 100_000)
    field.request_update()
    assert finished(field) is None
    assert field.models.hashes == SHIPPED.hashes
