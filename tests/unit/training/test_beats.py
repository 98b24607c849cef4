"""The classes of beats in training, and where their records are found."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.patients import write_record
from tocsin_agent.errors import SourceError
from tocsin_agent.lab.ec57.annotations import AAMI_CLASS
from tocsin_models import LABELS
from tocsin_training.data.beats import TRAINING_CLASS, record_path


def test_training_classes_differ_from_those_of_the_evaluation_in_escape_beats_alone() -> None:
    assert set(TRAINING_CLASS.values()) == set(LABELS)
    differ = {s for s, label in TRAINING_CLASS.items() if AAMI_CLASS[s] != label}
    assert differ == set("ejn")
    assert set(AAMI_CLASS) - set(TRAINING_CLASS) == set("Br")


def test_records_are_found_where_sources_find_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOCSIN_RECORDS", str(tmp_path))
    write_record(tmp_path / "mitdb", "900")
    assert record_path("mitdb", "900") == str(tmp_path / "mitdb" / "900")
    with pytest.raises(SourceError):
        record_path("mitdb", "901")
