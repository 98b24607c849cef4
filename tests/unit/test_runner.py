"""The one model runner: what it refuses, and that a batch changes nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tocsin_dsp.beats import FEATURES, SHAPE
from tocsin_dsp.errors import ModelError, ModelFault
from tocsin_models import LABELS, BeatModel, load_beat_model
from tocsin_models.runner import BATCH


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Give a copy of the shipped model that may be spoilt."""
    with resources.as_file(resources.files("tocsin_models")) as folder:
        for name in ("beats.onnx", "beats.json"):
            shutil.copy(folder / name, tmp_path / name)
    return tmp_path / "beats.onnx"


def some(n: int) -> tuple[NDArray[Any], NDArray[Any]]:
    draws = np.random.default_rng(5)
    return draws.normal(0, 0.5, (n, 2, SHAPE)), draws.normal(0, 1, (n, len(FEATURES)))


def fault(path: Path) -> ModelFault:
    with pytest.raises(ModelError) as caught:
        load_beat_model(path)
    assert path.stem in str(caught.value)
    return caught.value.reason


def test_the_shipped_model_is_the_one_its_card_describes(copy: Path) -> None:
    model, card = load_beat_model(), json.loads(copy.with_suffix(".json").read_text())
    assert (model.name, model.sha256) == (card["name"], card["sha256"])
    assert load_beat_model(copy).sha256 == model.sha256


def test_answers_are_probabilities() -> None:
    answer = load_beat_model().classify(*some(20))
    assert answer.shape == (20, len(LABELS))
    assert np.allclose(answer.sum(axis=1), 1.0, atol=1e-5)
    assert (answer >= 0).all()


@pytest.mark.parametrize("n", [1, 2, 3, 7, BATCH - 1, BATCH, BATCH + 1, 2 * BATCH + 5])
def test_a_batch_answers_as_its_beats_one_by_one(n: int) -> None:
    model = load_beat_model()
    shapes, features = some(n)
    singly = [model.classify(shapes[i : i + 1], features[i : i + 1]) for i in range(n)]
    assert (model.classify(shapes, features) == np.concatenate(singly)).all()


def test_no_beats_no_answers() -> None:
    assert load_beat_model().classify(*some(0)).shape == (0, len(LABELS))


def test_a_missing_model_or_card(copy: Path, tmp_path: Path) -> None:
    assert fault(tmp_path / "none.onnx") is ModelFault.MISSING
    copy.unlink()
    assert fault(copy) is ModelFault.MISSING


def test_a_changed_file(copy: Path) -> None:
    content = bytearray(copy.read_bytes())
    content[len(content) // 2] ^= 1
    copy.write_bytes(content)
    assert fault(copy) is ModelFault.HASH


def test_a_truncated_file(copy: Path) -> None:
    copy.write_bytes(copy.read_bytes()[:1000])
    assert fault(copy) is ModelFault.HASH


def spoil(card: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(card.read_text())
    change(content)
    card.write_text(json.dumps(content))


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "labels": lambda card: card["labels"].reverse(),
    "points": lambda card: card["input"].update(points=81),
    "features": lambda card: card["input"]["features"].pop(),
    "no name": lambda card: card.pop("name"),
    "no input": lambda card: card.pop("input"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_another_contract(copy: Path, change: Callable[[dict[str, Any]], object]) -> None:
    spoil(copy.with_suffix(".json"), change)
    assert fault(copy) is ModelFault.CONTRACT


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"text"', '{"input": 1}'])
def test_a_card_that_is_none(copy: Path, text: str) -> None:
    copy.with_suffix(".json").write_text(text)
    assert fault(copy) is ModelFault.CONTRACT


def test_a_card_whose_input_is_no_table(copy: Path) -> None:
    spoil(copy.with_suffix(".json"), lambda card: card.update(input=3))
    assert fault(copy) is ModelFault.CONTRACT


def test_a_card_without_points(copy: Path) -> None:
    spoil(copy.with_suffix(".json"), lambda card: card["input"].pop("points"))
    assert fault(copy) is ModelFault.CONTRACT


def test_a_file_that_is_no_model_though_its_card_says_so(copy: Path) -> None:
    import hashlib

    copy.write_bytes(b"no model")
    digest = hashlib.sha256(b"no model").hexdigest()
    spoil(copy.with_suffix(".json"), lambda card: card.update(sha256=digest))
    assert fault(copy) is ModelFault.CONTRACT


class _Session:
    def __init__(self, answer: NDArray[Any]) -> None:
        self._answer = answer

    def run(self, _names: None, _inputs: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        return [self._answer]


@pytest.mark.parametrize(
    "answer",
    [
        np.full((1, 5), np.nan, np.float32),
        np.full((1, 5), np.inf, np.float32),
        np.zeros((1, 4), np.float32),
        np.zeros((2, 5), np.float32),
        np.zeros(5, np.float32),
    ],
)
def test_nonsense_is_no_answer(answer: NDArray[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_beat_model()
    monkeypatch.setattr(model, "_session", _Session(answer))
    with pytest.raises(ModelError) as caught:
        model.classify(*some(1))
    assert caught.value.reason is ModelFault.OUTPUT


def test_a_loaded_model_is_a_beat_model() -> None:
    assert isinstance(load_beat_model(), BeatModel)
