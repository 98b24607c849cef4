"""Installed models: what is refused, what is kept, and what a power cut leaves behind."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.vendors import Vendor, poisoned, tampered_model
from tocsin_agent.signing import keys
from tocsin_agent.updates import signature
from tocsin_agent.updates.releases import ReleaseMemory
from tocsin_agent.updates.store import ModelStore, verify
from tocsin_models import Model, load_models
from tocsin_models.errors import ModelError, ModelFault

SHIPPED = load_models()


def loaded(store: ModelStore) -> tuple[Model, list[ModelFault]]:
    """Return the beat model that is used now, and why versions were left out."""
    refused: list[ModelFault] = []
    model = store.load("beats", SHIPPED.beats, lambda error: refused.append(error.reason))
    assert model is not None
    return model, refused


def fault(store: ModelStore, path: Path) -> ModelFault:
    before = store.state("beats")
    with pytest.raises(ModelError) as caught:
        store.install(path)
    assert store.state("beats") == before
    assert not (store.folder / "installed" / "staged").exists()
    return caught.value.reason


def test_a_signed_model_is_used_and_falls_back_on_the_one_before(
    store: ModelStore, vendor: Vendor, tmp_path: Path
) -> None:
    b = store.install(vendor.release(tmp_path / "b", "b"))
    c = store.install(vendor.release(tmp_path / "c", "c"))
    model, refused = loaded(store)
    assert not refused
    assert model.id == c.id
    assert model.fallback is not None
    assert model.fallback.id == b.id
    assert model.fallback.fallback is SHIPPED.beats


def test_an_older_release_is_refused_unless_it_is_requested(
    store: ModelStore, vendor: Vendor, tmp_path: Path
) -> None:
    def numbered(number: int) -> Path:
        folder = tmp_path / str(number)
        return vendor.release(folder, str(number), card=lambda card: card.update(release=number))

    store.install(numbered(3))
    five = store.install(numbered(5))
    assert fault(store, numbered(4)) is ModelFault.OLDER
    assert loaded(store)[0].id == five.id
    store.rollback("beats")  # the newest release stays recorded
    assert fault(store, numbered(4)) is ModelFault.OLDER
    assert fault(store, vendor.release(tmp_path / "none", "none")) is ModelFault.OLDER
    four = store.install(numbered(4), older=True)
    assert loaded(store)[0].id == four.id


def test_a_release_that_is_not_a_number_is_refused(
    store: ModelStore, vendor: Vendor, tmp_path: Path
) -> None:
    path = vendor.release(tmp_path / "b", card=lambda card: card.update(release="new"))
    assert fault(store, path) is ModelFault.CONTRACT


def tampered_card(path: Path) -> None:
    card = path.with_suffix(".json")
    card.write_text(card.read_text().replace("intended_use", "intended_USE"))


TAMPERED: dict[str, tuple[Callable[[Path], object], ModelFault]] = {
    "card": (tampered_card, ModelFault.SIGNATURE),
    "model": (tampered_model, ModelFault.HASH),
    "truncated model": (lambda path: os.truncate(path, 1000), ModelFault.HASH),
    "signature": (
        lambda path: path.with_suffix(".sig").write_bytes(bytes(64)),
        ModelFault.SIGNATURE,
    ),
    "short signature": (
        lambda path: path.with_suffix(".sig").write_bytes(b""),
        ModelFault.SIGNATURE,
    ),
    "unsigned": (lambda path: path.with_suffix(".sig").unlink(), ModelFault.MISSING),
}


@pytest.mark.parametrize(("tamper", "reason"), TAMPERED.values(), ids=TAMPERED)
def test_a_changed_file_is_refused(
    store: ModelStore,
    vendor: Vendor,
    tmp_path: Path,
    tamper: Callable[[Path], object],
    reason: ModelFault,
) -> None:
    path = vendor.release(tmp_path / "b")
    tamper(path)
    assert fault(store, path) is reason


def test_a_model_signed_by_another_vendor_is_refused(store: ModelStore, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Vendor(tmp_path / "other")
    assert fault(store, other.release(tmp_path / "b")) is ModelFault.SIGNATURE


def test_a_signed_model_of_another_contract_is_refused(
    store: ModelStore, vendor: Vendor, tmp_path: Path
) -> None:
    path = vendor.release(tmp_path / "b", card=lambda card: card["input"]["features"].pop())
    assert fault(store, path) is ModelFault.CONTRACT
    path = vendor.release(tmp_path / "c", name="vf")
    for suffix in (".onnx", ".json", ".sig"):
        path.with_suffix(suffix).rename(path.with_name(f"beats{suffix}"))
    assert fault(store, path.with_name("beats.onnx")) is ModelFault.CONTRACT
    assert fault(store, tmp_path / "unknown.onnx") is ModelFault.CONTRACT


def test_a_signed_model_that_answers_nan_is_refused(
    store: ModelStore, vendor: Vendor, tmp_path: Path
) -> None:
    assert fault(store, vendor.release(tmp_path / "b", change=poisoned)) is ModelFault.OUTPUT


@pytest.mark.parametrize("change", [lambda p: p * 2, lambda p: p - 0.5, lambda p: p / 2])
def test_a_model_whose_answers_are_no_probabilities_is_refused(
    store: ModelStore,
    vendor: Vendor,
    tmp_path: Path,
    change: Callable[[np.ndarray], np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = Model.classify
    monkeypatch.setattr(Model, "classify", lambda self, *inputs: change(right(self, *inputs)))
    assert fault(store, vendor.release(tmp_path / "b")) is ModelFault.OUTPUT


def test_with_a_wrong_key_every_model_is_refused(
    vendor: Vendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = vendor.release(tmp_path / "b")
    for key in (vendor.private_key, path):
        assert fault(ModelStore(tmp_path / "m", key), path) is ModelFault.SIGNATURE
    assert fault(ModelStore(tmp_path / "m", tmp_path / "none.pem"), path) is ModelFault.MISSING
    monkeypatch.setattr(keys, "find_spec", lambda _: None)
    store = ModelStore(tmp_path / "m", vendor.public_key)
    assert fault(store, path) is ModelFault.MISSING_EXTRA


def test_a_rollback_returns_to_the_previous_version_then_to_the_shipped_one(
    store: ModelStore, vendor: Vendor, tmp_path: Path
) -> None:
    b = store.install(vendor.release(tmp_path / "b", "b"))
    store.install(vendor.release(tmp_path / "c", "c"))
    store.rollback("beats")
    assert loaded(store)[0].id == b.id
    store.rollback("beats")
    assert loaded(store)[0] is SHIPPED.beats
    with pytest.raises(ModelError, match="shipped"):
        store.rollback("beats")


def test_only_the_current_and_the_previous_version_are_kept(
    store: ModelStore, vendor: Vendor, tmp_path: Path
) -> None:
    for mark in "bcde":
        store.install(vendor.release(tmp_path / mark, mark))
    shelf = store.folder / "installed" / "beats"
    state = store.state("beats")
    assert {p.name for p in shelf.iterdir()} == {"current", state.current, state.previous}


def test_installing_a_damaged_version_again_repairs_it(
    store: ModelStore, vendor: Vendor, tmp_path: Path
) -> None:
    store.install(vendor.release(tmp_path / "b", "b"))
    path = vendor.release(tmp_path / "c", "c")
    c = store.install(path)
    state = store.state("beats")
    os.truncate(store.folder / f"installed/beats/{state.current}/beats.onnx", 10)
    model, refused = loaded(store)
    assert (model.id == c.id, refused) == (False, [ModelFault.HASH])
    store.install(path)
    assert loaded(store)[0].id == c.id
    assert store.state("beats") == state


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"current": 3}', b"\xff", b'{"current":"../../x"}', b"[" * 9999]
)
def test_with_a_damaged_state_the_shipped_model_is_used(
    store: ModelStore, vendor: Vendor, tmp_path: Path, content: bytes
) -> None:
    path = vendor.release(tmp_path / "b")
    b = store.install(path)
    (store.folder / "installed" / "beats" / "current").write_bytes(content)
    assert loaded(store)[0] is SHIPPED.beats
    store.install(path)
    assert loaded(store)[0].id == b.id


class PowerCut(BaseException):
    """The process stops at once, without cleaning up."""


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Cut the power at the n-th call that changes the disk; truncate the file written then."""
    left = [1 << 30]

    def counted(name: str, owner: object) -> None:
        right = getattr(owner, name)

        def call(*args: Any, **more: Any) -> Any:  # noqa: ANN401
            left[0] -= 1
            if left[0] == 0 and name == "fsync" and stat.S_ISREG(os.fstat(args[0]).st_mode):
                os.truncate(args[0], os.fstat(args[0]).st_size // 2)
            if left[0] <= 0:
                raise PowerCut
            return right(*args, **more)

        monkeypatch.setattr(owner, name, call)

    counted("fsync", os)
    counted("replace", Path)
    counted("mkdir", Path)
    counted("rmtree", shutil)
    yield lambda at: left.__setitem__(0, at)
    left[0] = 1 << 30


def test_a_power_cut_at_any_step_leaves_the_old_model_or_the_new_one(
    vendor: Vendor, tmp_path: Path, cut: Callable[[int], None]
) -> None:
    old, new = vendor.release(tmp_path / "b", "b"), vendor.release(tmp_path / "c", "c")
    became_new: list[bool] = []
    for step in range(1, 100):
        store = ModelStore(tmp_path / f"models{step}", vendor.public_key)
        before = store.install(old)
        cut(step)
        try:
            after = store.install(new)
        except PowerCut:
            cut(1 << 30)
            model, refused = loaded(store)
            assert not refused
            became_new.append(model.id != before.id)
            assert store.install(new).id == loaded(store)[0].id  # and it can be done again
        else:
            cut(1 << 30)
            assert loaded(store)[0].id == after.id
            break
    assert became_new == sorted(became_new), "from some step on it is the new one"
    assert {False, True} == set(became_new)


def test_a_read_only_folder_keeps_its_state(
    store: ModelStore, vendor: Vendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    b = store.install(vendor.release(tmp_path / "b", "b"))

    right = Path.open

    def refuse(*_: object, **__: object) -> Any:  # noqa: ANN401
        raise OSError(30, "Read-only file system")

    def read_only(path: Path, mode: str = "r", *more: Any) -> Any:  # noqa: ANN401
        return refuse() if "w" in mode else right(path, mode, *more)

    monkeypatch.setattr(Path, "open", read_only)
    assert fault(store, tmp_path / "b" / "beats.onnx") is ModelFault.UNWRITABLE
    with pytest.raises(ModelError, match="Read-only"):
        store.rollback("beats")
    monkeypatch.undo()
    assert loaded(store)[0].id == b.id


def test_row_17_what_is_verified_is_what_is_loaded(
    vendor: Vendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = vendor.release(tmp_path / "b")
    right = signature.load_public_key

    def swapped(key: Path) -> object:
        tampered_model(path)  # after it was read, before it is loaded
        path.with_suffix(".json").write_text("{}")
        return right(key)

    monkeypatch.setattr(signature, "load_public_key", swapped)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert verify(path, vendor.public_key).sha256 == sha256


def test_row_17_an_older_release_stays_refused_when_the_folder_forgets(
    vendor: Vendor, tmp_path: Path
) -> None:
    def number(release: int) -> Callable[[Any], None]:
        return lambda card: card.update(release=release)

    outbox = tmp_path / "state" / "o.db"

    def store(folder: str) -> ModelStore:
        return ModelStore(tmp_path / folder, vendor.public_key, ReleaseMemory.beside(outbox))

    first = store("card").install(vendor.release(tmp_path / "one", "one", card=number(1)))
    second = store("card").install(vendor.release(tmp_path / "two", "two", card=number(2)))
    store("card").rollback("beats")
    assert loaded(store("card"))[0].id == first.id, "a version that was installed here"

    older = vendor.release(tmp_path / "old", "old", card=number(1))
    (tmp_path / "card" / "installed" / "beats" / "current").unlink()
    assert fault(store("card"), older) is ModelFault.OLDER
    # A card that was prepared on another device.
    ModelStore(tmp_path / "other", vendor.public_key).install(older)
    assert loaded(store("other")) == (SHIPPED.beats, [ModelFault.OLDER])
    store("card").install(tmp_path / "two" / "beats.onnx")
    assert loaded(store("card"))[0].id == second.id
