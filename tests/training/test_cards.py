"""The cards of the shipped models are those that the training would write for their figures."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import tocsin_models

if find_spec("torch") is None:
    if os.environ.get("TOCSIN_REQUIRE_TOOLS") == "1":
        pytest.fail("torch is missing: pip install -e '.[train]'", pytrace=False)
    pytest.skip("torch is missing: pip install -e '.[train]'", allow_module_level=True)

OF_THE_FILE = ("name", "sha256", "opset")


def shipped(name: str) -> dict[str, Any]:
    path = Path(tocsin_models.__file__).with_name(f"{name}.json")
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return {key: value for key, value in content.items() if key not in OF_THE_FILE}


def as_json(card: dict[str, Any]) -> Any:
    return json.loads(json.dumps(card))


def test_the_card_of_the_beat_model() -> None:
    from tocsin_training.beats.train import card

    content = shipped("beats")
    assert as_json(card(content["metrics"], content["cross_validation"])) == content


def test_the_card_of_the_fibrillation_model() -> None:
    from tocsin_training.vf.train import card

    content = shipped("vf")
    assert as_json(card(content["metrics"], content["training"]["epochs"])) == content


def test_the_card_of_the_atrial_fibrillation_model() -> None:
    from tocsin_training.af.train import card

    content = shipped("af")
    assert as_json(card(content["metrics"])) == content
