"""The contract of every shipped model: a true card, equal answers in any batch, valid output."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tocsin_models import AF, ALARMS, BEATS, VF, Model, Models, load_model, load_models
from tocsin_models.errors import ModelError, ModelFault
from tocsin_models.runner import BATCH, Contract

CONTRACTS = (BEATS, VF, AF, ALARMS)
MOST_BYTES = {"beats": 100_000, "vf": 200_000, "af": 200_000, "alarms": 300_000}


@pytest.fixture(params=CONTRACTS, ids=lambda contract: contract.name)
def contract(request: pytest.FixtureRequest) -> Contract:
    given: Contract = request.param
    return given


@pytest.fixture
def model(contract: Contract) -> Model:
    return load_model(contract)


@pytest.fixture
def copy(contract: Contract, tmp_path: Path) -> Path:
    """Return a copy of a shipped model that a test may change."""
    with resources.as_file(resources.files("tocsin_models")) as folder:
        for name in (f"{contract.name}.onnx", f"{contract.name}.json"):
            shutil.copy(folder / name, tmp_path / name)
    return tmp_path / f"{contract.name}.onnx"


def some(contract: Contract, n: int) -> list[NDArray[Any]]:
    draws = np.random.default_rng(5)
    return [draws.normal(0, 0.7, (n, *shape)) for shape in contract.inputs.values()]


def fault(path: Path) -> ModelFault:
    contract = next((c for c in CONTRACTS if c.name == path.stem), BEATS)
    with pytest.raises(ModelError) as caught:
        load_model(contract, path)
    assert path.stem in str(caught.value)
    return caught.value.reason


def test_the_shipped_model_is_the_one_its_card_describes(model: Model, copy: Path) -> None:
    card = json.loads(copy.with_suffix(".json").read_text())
    assert (model.name, model.sha256) == (card["name"], card["sha256"])
    assert load_model(model.contract, copy).sha256 == model.sha256


def test_answers_are_probabilities(model: Model) -> None:
    answer = model.classify(*some(model.contract, 20))
    assert answer.shape == (20, len(model.contract.labels))
    if model.contract.exclusive and len(model.contract.labels) > 1:
        assert np.allclose(answer.sum(axis=1), 1.0, atol=1e-5)
    assert (answer >= 0).all()
    assert (answer <= 1).all()


@pytest.mark.parametrize("n", [1, 2, 3, 7, BATCH - 1, BATCH, BATCH + 1, 2 * BATCH + 5])
def test_a_batch_answers_as_its_members_one_by_one(model: Model, n: int) -> None:
    inputs = some(model.contract, n)
    singly = [model.classify(*(x[i : i + 1] for x in inputs)) for i in range(n)]
    assert (model.classify(*inputs) == np.concatenate(singly)).all()


def test_an_answer_does_not_depend_on_the_rest_of_the_batch(model: Model) -> None:
    """Beats of several patients may share a batch."""
    inputs = some(model.contract, 300)
    order = np.random.default_rng(6).permutation(300)
    assert (model.classify(*(x[order] for x in inputs)) == model.classify(*inputs)[order]).all()


def test_several_threads_may_classify_at_once(model: Model) -> None:
    inputs = [[x + i / 10 for x in some(model.contract, 50)] for i in range(4)]
    alone = [model.classify(*of_one) for of_one in inputs]
    same = [False] * len(inputs)

    def ask(i: int) -> None:
        same[i] = all((model.classify(*inputs[i]) == alone[i]).all() for _ in range(20))

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)
    assert all(same)


def test_inputs_are_not_changed(model: Model) -> None:
    inputs = some(model.contract, 5)
    for x in inputs:
        x.setflags(write=False)
    model.classify(*inputs)


@pytest.mark.parametrize("absurd", [np.nan, np.inf, -np.inf, 1e30, -1e30, 3e38])
def test_absurd_numbers_give_probabilities_or_an_error(model: Model, absurd: float) -> None:
    inputs = [np.full_like(x, absurd) for x in some(model.contract, 3)]
    reason = None
    try:
        answer = model.classify(*inputs)
    except ModelError as error:
        reason = error.reason
    assert reason is ModelFault.OUTPUT or ((answer >= 0) & (answer <= 1)).all()


def test_the_file_is_small_enough(contract: Contract, copy: Path) -> None:
    assert copy.stat().st_size <= MOST_BYTES[contract.name]


def test_the_card_states_use_data_command_and_cost(copy: Path) -> None:
    card = json.loads(copy.with_suffix(".json").read_text())
    assert card["failure_modes"]
    assert card["intended_use"]
    assert card["training"]["command"] == f"make train-{card['name']}"
    assert card["test"]["database"]
    kinds = ("float",) if card["quantisation"].startswith("none: trees") else ("float", "int8")
    for kind in kinds:
        assert {"bytes", "us_single", "us_batch_256"} <= card["metrics"][kind].keys()
    with resources.as_file(resources.files("tocsin_models")) as folder:
        assert f"# Model card: {card['name']}" in (folder / f"{card['name']}.md").read_text()


def test_an_empty_batch_gives_an_empty_answer(model: Model) -> None:
    assert model.classify(*some(model.contract, 0)).shape == (0, len(model.contract.labels))


def test_a_missing_model_or_card_is_refused(copy: Path, tmp_path: Path) -> None:
    assert fault(tmp_path / "none.onnx") is ModelFault.MISSING
    copy.unlink()
    assert fault(copy) is ModelFault.MISSING


def test_a_changed_file_is_refused(copy: Path) -> None:
    content = bytearray(copy.read_bytes())
    content[len(content) // 2] ^= 1
    copy.write_bytes(content)
    assert fault(copy) is ModelFault.HASH


def test_a_truncated_file_is_refused(copy: Path) -> None:
    copy.write_bytes(copy.read_bytes()[:300])
    assert fault(copy) is ModelFault.HASH


def change_card(card: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(card.read_text())
    change(content)
    card.write_text(json.dumps(content))


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "labels": lambda card: card["labels"].append("X"),
    "points": lambda card: card["input"].update(points=81),
    "features": lambda card: card["input"]["features"].pop(),
    "operator set": lambda card: card.update(opset=16),
    "no operator set": lambda card: card.pop("opset"),
    "no name": lambda card: card.pop("name"),
    "no input": lambda card: card.pop("input"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_another_contract_is_refused(
    copy: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    change_card(copy.with_suffix(".json"), change)
    assert fault(copy) is ModelFault.CONTRACT


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"text"', '{"input": 1}'])
def test_a_file_that_is_no_card_is_refused(copy: Path, text: str) -> None:
    copy.with_suffix(".json").write_text(text)
    assert fault(copy) is ModelFault.CONTRACT


def test_a_card_whose_input_is_no_object_is_refused(copy: Path) -> None:
    change_card(copy.with_suffix(".json"), lambda card: card.update(input=3))
    assert fault(copy) is ModelFault.CONTRACT


def test_a_card_without_points_is_refused(copy: Path) -> None:
    change_card(copy.with_suffix(".json"), lambda card: card["input"].pop("points"))
    assert fault(copy) is ModelFault.CONTRACT


def rehash(path: Path, content: bytes, opset: int = 17) -> None:
    """Write other content, with a card that has its hash."""
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    change_card(path.with_suffix(".json"), lambda card: card.update(sha256=digest, opset=opset))


@pytest.mark.parametrize("content", [b"", b"no model", b"\x42\x02\x10\x11", bytes(1000)])
def test_a_file_that_is_no_model_is_refused_despite_a_matching_card(
    copy: Path, content: bytes
) -> None:
    rehash(copy, content)
    assert fault(copy) is ModelFault.CONTRACT


@pytest.mark.parametrize("opset", [7, 12, 22, 99])
def test_an_untested_operator_set_is_refused(copy: Path, opset: int) -> None:
    content = copy.read_bytes()
    stated = b"\x10\x11"  # version: 17
    at = max(content.find(b"\x42\x04\x0a\x00" + stated), content.find(b"\x42\x02" + stated))
    at = content.index(stated, at)
    rehash(copy, content[: at + 1] + bytes([opset]) + content[at + 2 :], opset)
    with pytest.raises(ModelError, match=f"operator set {opset} .* one of 13 to 21"):
        load_model(next(c for c in CONTRACTS if c.name == copy.stem), copy)


class _Session:
    def __init__(self, answer: NDArray[Any]) -> None:
        self._answer = answer

    def run(self, _names: None, _inputs: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        return [self._answer]


@pytest.mark.parametrize(
    "change_answer",
    [
        lambda right: right * np.nan,
        lambda right: right + np.inf,
        lambda right: right[:, 1:],
        lambda right: np.concatenate((right, right)),
        lambda right: right[0],
    ],
)
def test_an_invalid_output_is_an_error(
    model: Model,
    change_answer: Callable[[NDArray[Any]], NDArray[Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inputs = some(model.contract, 1)
    monkeypatch.setattr(model, "_session", _Session(change_answer(model.classify(*inputs))))
    with pytest.raises(ModelError) as caught:
        model.classify(*inputs)
    assert caught.value.reason is ModelFault.OUTPUT


def test_all_models_are_loaded_with_their_hashes() -> None:
    models = load_models()
    assert models.hashes == {c.name: load_model(c).sha256 for c in CONTRACTS}


def test_a_refused_model_leaves_the_others(copy: Path) -> None:
    errors: list[ModelError] = []
    models = load_models(copy.parent / "none.onnx", errors.append)
    assert [e.reason for e in errors] == [ModelFault.MISSING]
    assert models == Models(None, *models[1:])
    assert models.vf is not None
    with pytest.raises(ModelError):
        load_models(copy.parent / "none.onnx")


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    with resources.as_file(resources.files("tocsin_models")) as folder:
        for name in ("onnx", "json"):
            shutil.copy(folder / f"vf.{name}", tmp_path / f"beats.{name}")
    assert fault(tmp_path / "beats.onnx") is ModelFault.CONTRACT
