"""The cards of the shipped models as pages: what the training would write from their figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tocsin_models
from tocsin_training.af.page import page as af_page
from tocsin_training.beats.page import page as beats_page
from tocsin_training.vf.page import page as vf_page

MODELS = Path(tocsin_models.__file__).parent


def card(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((MODELS / f"{name}.json").read_text(encoding="utf-8"))
    return content


def written(name: str) -> str:
    return (MODELS / f"{name}.md").read_text(encoding="utf-8")


def test_the_page_of_the_beat_model_is_that_of_its_card() -> None:
    assert beats_page(card("beats")) == written("beats")


def test_the_page_of_the_fibrillation_model_is_that_of_its_card() -> None:
    shipped = card("vf")
    assert vf_page(shipped["metrics"], shipped["failure_modes"]) == written("vf")


def test_the_page_of_the_atrial_fibrillation_model_is_that_of_its_card() -> None:
    shipped = card("af")
    assert af_page(shipped["metrics"], shipped["failure_modes"]) == written("af")
