"""Updates in the field: what is refused, what is kept, and that a power cut harms nothing."""

from __future__ import annotations

import os
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner, Result

from support.agents import DEVICE, SITE, keys, replayed
from support.vendors import Vendor, poisoned
from tocsin_agent.cli import ExitCode, cli
from tocsin_agent.cli.common import monitor_builder
from tocsin_agent.delivery.memory import MemoryStore
from tocsin_agent.messages.alert import Phase
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_agent.runtime.agent import Agent
from tocsin_agent.runtime.document import Identity
from tocsin_agent.sources.opening import open_source
from tocsin_agent.sources.settings import SourceSettings
from tocsin_agent.updates import field as updates
from tocsin_agent.updates.field import FieldModels, ModelStore, State, sign, verify
from tocsin_models import BEATS, Model, load_models
from tocsin_models.errors import ModelError, ModelFault

SHIPPED = load_models()


@pytest.fixture
def vendor(tmp_path: Path) -> Vendor:
    return Vendor(tmp_path)


@pytest.fixture
def store(tmp_path: Path, vendor: Vendor) -> ModelStore:
    return ModelStore(tmp_path / "models", vendor.public_key)


def loaded(store: ModelStore) -> tuple[Model, list[ModelFault]]:
    """Give the beat model that an agent would use now, and why others were passed over."""
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


# -- what is accepted, and what is refused -------------------------------------------------------


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


def test_an_older_release_is_refused_unless_a_person_asks_for_it(
    store: ModelStore, vendor: Vendor, tmp_path: Path
) -> None:
    def numbered(number: int) -> Path:
        folder = tmp_path / str(number)
        return vendor.release(folder, str(number), card=lambda card: card.update(release=number))

    store.install(numbered(3))
    five = store.install(numbered(5))
    assert fault(store, numbered(4)) is ModelFault.OLDER
    assert loaded(store)[0].id == five.id
    store.rollback("beats")  # what was newest stays known
    assert fault(store, numbered(4)) is ModelFault.OLDER
    assert fault(store, vendor.release(tmp_path / "none", "none")) is ModelFault.OLDER
    four = store.install(numbered(4), older=True)
    assert loaded(store)[0].id == four.id


def test_what_is_offered_and_older_is_passed_over_while_the_agent_runs(
    store: ModelStore, vendor: Vendor
) -> None:
    vendor.release(store.folder, "new", card=lambda card: card.update(release=2))
    field = FieldModels(None, store)
    new = field.ids["beats"]
    vendor.release(store.folder, "old", card=lambda card: card.update(release=1))
    field.ask()
    assert field.take() is None
    assert field.ids["beats"] == new
    assert "release 1, and 2 was in use" in field.refused


def test_a_release_that_is_no_number_is_no_card(
    store: ModelStore, vendor: Vendor, tmp_path: Path
) -> None:
    path = vendor.release(tmp_path / "b", card=lambda card: card.update(release="new"))
    assert fault(store, path) is ModelFault.CONTRACT


def tampered_card(path: Path) -> None:
    card = path.with_suffix(".json")
    card.write_text(card.read_text().replace("intended_use", "intended_USE"))


def tampered_model(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


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
def test_what_was_tampered_with_is_refused(
    store: ModelStore,
    vendor: Vendor,
    tmp_path: Path,
    tamper: Callable[[Path], object],
    reason: ModelFault,
) -> None:
    path = vendor.release(tmp_path / "b")
    tamper(path)
    assert fault(store, path) is reason


def test_what_another_vendor_signed_is_refused(store: ModelStore, tmp_path: Path) -> None:
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
def test_what_answers_no_probabilities_is_refused(
    store: ModelStore,
    vendor: Vendor,
    tmp_path: Path,
    change: Callable[[np.ndarray], np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = Model.classify
    monkeypatch.setattr(Model, "classify", lambda self, *inputs: change(right(self, *inputs)))
    assert fault(store, vendor.release(tmp_path / "b")) is ModelFault.OUTPUT


def test_a_key_that_is_none_lets_nothing_in(
    vendor: Vendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = vendor.release(tmp_path / "b")
    for key in (vendor.private_key, path):
        assert fault(ModelStore(tmp_path / "m", key), path) is ModelFault.SIGNATURE
    assert fault(ModelStore(tmp_path / "m", tmp_path / "none.pem"), path) is ModelFault.MISSING
    monkeypatch.setattr(updates, "find_spec", lambda _: None)
    store = ModelStore(tmp_path / "m", vendor.public_key)
    assert fault(store, path) is ModelFault.MISSING_EXTRA


def test_what_tocsin_signs_is_accepted_and_what_is_unfit_is_not_signed(
    vendor: Vendor, tmp_path: Path
) -> None:
    path = vendor.release(tmp_path / "b")
    path.with_suffix(".sig").unlink()
    sign(path, vendor.private_key)
    assert verify(path, vendor.public_key).contract is BEATS
    tampered_model(path)
    with pytest.raises(ModelError):
        sign(path, vendor.private_key)


# -- keeping and going back ----------------------------------------------------------------------


def test_a_rollback_goes_back_one_version_and_then_to_the_shipped_one(
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


def test_only_what_may_be_needed_is_kept(store: ModelStore, vendor: Vendor, tmp_path: Path) -> None:
    for mark in "bcde":
        store.install(vendor.release(tmp_path / mark, mark))
    shelf = store.folder / "installed" / "beats"
    state = store.state("beats")
    assert {p.name for p in shelf.iterdir()} == {"current", state.current, state.previous}


def test_installing_it_again_mends_it_and_keeps_the_one_before(
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


@pytest.mark.parametrize("content", [b"", b"{", b'{"current": 3}', b"\xff"])
def test_a_damaged_state_is_the_shipped_model(
    store: ModelStore, vendor: Vendor, tmp_path: Path, content: bytes
) -> None:
    path = vendor.release(tmp_path / "b")
    b = store.install(path)
    (store.folder / "installed" / "beats" / "current").write_bytes(content)
    assert loaded(store)[0] is SHIPPED.beats
    store.install(path)
    assert loaded(store)[0].id == b.id


class PowerCut(BaseException):
    """Nothing after it happens, no clean-up either."""


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Cut the power at the n-th call that changes the disk; halve the file written then."""
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
    seen: list[bool] = []
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
            seen.append(model.id != before.id)
            assert store.install(new).id == loaded(store)[0].id  # and it can be done again
        else:
            cut(1 << 30)
            assert loaded(store)[0].id == after.id
            break
    assert seen == sorted(seen), "once it is new it stays new"
    assert {False, True} == set(seen)


def test_a_read_only_folder_keeps_what_it_has(
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


# -- a running agent's models --------------------------------------------------------------------


def test_the_folder_is_looked_at_when_asked(store: ModelStore, vendor: Vendor) -> None:
    field = FieldModels(None, store)
    assert field.models.hashes == SHIPPED.hashes
    path = vendor.release(store.folder, "b")
    assert field.take() is None, "nobody asked"
    field.ask()
    models = field.take()
    assert models is not None
    assert models is field.models
    assert models.beats is not None
    assert models.beats.sha256 == verify(path, vendor.public_key).sha256
    assert models.vf is SHIPPED.vf or models.hashes["vf"] == SHIPPED.hashes["vf"]
    field.ask()
    assert field.take() is None, "nothing else came"
    assert FieldModels(None, store).models.hashes == models.hashes, "a restart finds it, too"


def test_what_is_refused_leaves_the_model_and_is_said(store: ModelStore, vendor: Vendor) -> None:
    tampered_model(vendor.release(store.folder, "b"))
    field = FieldModels(None, store)
    assert field.models.hashes == SHIPPED.hashes
    assert "SHA-256" in str(field.health()["refused"])
    (store.folder / "beats.json").write_text("{")
    assert "signature" in FieldModels(None, store).refused


def test_what_was_rolled_back_is_not_taken_from_the_folder_again(
    store: ModelStore, vendor: Vendor
) -> None:
    path = vendor.release(store.folder, "b")
    field = FieldModels(None, store)
    store.rollback("beats")
    field.ask()
    assert field.take() is not None
    assert field.models.hashes == SHIPPED.hashes
    b = store.install(path)  # but a person may
    assert loaded(store)[0].id == b.id


def test_a_model_that_fails_at_work_is_rolled_back_and_loses_no_alert(
    store: ModelStore, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    b = verify(vendor.release(store.folder, "b"), vendor.public_key)
    field, memory, asked = FieldModels(None, store), MemoryStore(), [0]
    right = Model.classify

    def failing(model: Model, *inputs: Any) -> Any:  # noqa: ANN401
        asked[0] += len(inputs[0]) if model.id == b.id else 0
        if asked[0] > 60 and model.id == b.id:
            raise ModelError(ModelFault.OUTPUT, "nonsense")
        return right(model, *inputs)

    with monkeypatch.context() as patch:
        patch.setattr(Model, "classify", failing)
        agent = Agent(
            open_source("excerpt", block_s=10.0),
            memory,
            identity=Identity(SITE, DEVICE),
            build_monitor=monitor_builder(Limits(), lambda: field.models),
            settings=SourceSettings(uri="excerpt"),
            new_models=field.take,
            on_report=field.heard,
        )
        agent.run(threading.Event())
    failed = [a for a in memory.alerts if a.code == "model_failed"]
    assert [a.phase for a in failed] == [Phase.ONSET, Phase.END]
    assert failed[0].evidence.measured["failed"] == b.id
    assert keys([a for a in memory.alerts if a.code != "model_failed"]) == keys(replayed("excerpt"))
    assert store.state("beats") == State(left=(b.sha256[:16],))
    assert FieldModels(None, store).models.hashes == SHIPPED.hashes, "nor after a restart"


def test_what_failed_at_work_is_not_used_again_where_nothing_can_be_written(
    store: ModelStore, vendor: Vendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    b = store.install(vendor.release(tmp_path / "b", "b"))
    field = FieldModels(None, store)

    def refuse(_: str) -> State:
        raise ModelError(ModelFault.UNWRITABLE, "read-only")

    monkeypatch.setattr(store, "rollback", refuse)
    field._failed({"model": "beats", "failed": b.id})
    assert field.models.beats is SHIPPED.beats or field.models.hashes == SHIPPED.hashes
    field.ask()
    assert field.take() is None
    assert field.models.hashes == SHIPPED.hashes


def test_without_a_folder_there_are_no_updates() -> None:
    field = FieldModels(None, None)
    field.ask()
    assert field.take() is None
    assert field.ids.keys() == {"beats", "vf", "af"}


# -- the command ---------------------------------------------------------------------------------


def run(*args: object) -> Result:
    return CliRunner().invoke(cli, ["model", *map(str, args)])


def test_the_command_from_signing_to_rollback(vendor: Vendor, tmp_path: Path) -> None:
    config = tmp_path / "tocsin.toml"
    config.write_text(
        'site = "s"\ndevice = "d"\n[source]\nuri = "excerpt"\n[model]\n'
        f'folder = "{tmp_path / "models"}"\npublic_key = "{vendor.public_key}"\n'
    )
    path = vendor.release(tmp_path / "b")
    path.with_suffix(".sig").unlink()
    refused = run("verify", path, "--public-key", vendor.public_key)
    assert (refused.exit_code, "beats.sig" in refused.output) == (ExitCode.MODEL, True)
    assert run("sign", path, "--key", vendor.private_key, "--release", 7).exit_code == 0
    assert "accepted" in run("verify", path, "--config", config).output
    installed = run("install", path, "--config", config, "--json")
    assert installed.exit_code == 0, installed.output
    said = msgspec.json.decode(installed.output)
    shown = msgspec.json.decode(run("show", "--config", config, "--json").output)
    assert shown["beats"]["in_use"] == said["id"]
    assert shown["vf"]["installed"] is None
    assert said["id"] in run("show", "--config", config).output
    assert "shipped" in run("rollback", "beats", "--config", config).output
    assert run("rollback", "beats", "--config", config).exit_code == ExitCode.MODEL
    assert ModelStore(tmp_path / "models", vendor.public_key).state("beats") == State(
        left=(said["sha256"][:16],), newest=7
    )
    older = vendor.release(tmp_path / "older", "older", card=lambda card: card.update(release=6))
    assert run("install", older, "--config", config).exit_code == ExitCode.MODEL
    assert run("install", older, "--config", config, "--older").exit_code == 0
    assert run("rollback", "af", "--config", config).exit_code == ExitCode.MODEL


def test_without_a_key_nothing_is_accepted(vendor: Vendor, tmp_path: Path) -> None:
    path, config = vendor.release(tmp_path / "b"), tmp_path / "tocsin.toml"
    config.write_text('site = "s"\ndevice = "d"\n[source]\nuri = "excerpt"\n')
    for command in ("install", "verify"):
        refused = run(command, path, "--config", config)
        assert refused.exit_code == ExitCode.CONFIGURATION
        assert "public_key" in refused.output
    config.write_text(config.read_text() + '[model]\nfolder = "models"\n')
    refused = run("install", path, "--config", config)
    assert refused.exit_code == ExitCode.CONFIGURATION
    assert "folder without public_key" in refused.output
