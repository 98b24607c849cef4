"""The whole agent is scored as the model is, and a rule can be left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import wfdb
from numpy.typing import NDArray

from support.patients import write_record
from tocsin_models import LABELS, load_models
from tocsin_training.agent.scoring import RULES, counted, labelled, without
from tocsin_training.data.beats import Beats


@pytest.fixture
def reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Beats:
    """Return the reference of seven minutes in which every sixth beat is ventricular."""
    monkeypatch.setenv("TOCSIN_RECORDS", str(tmp_path))
    write_record(tmp_path / "mitdb", "900")
    marks = wfdb.rdann(str(tmp_path / "mitdb" / "900"), "atr")
    labels = np.array([LABELS.index(symbol) for symbol in marks.symbol])
    nothing: NDArray[np.float32] = np.empty(0, np.float32)
    return Beats(
        "900", 0, nothing, nothing, labels, marks.sample / 360, np.zeros(0, bool),
        marks.sample / 360, labels,
    )  # fmt: skip


def test_the_agent_is_scored_by_its_labels(reference: Beats) -> None:
    beats = labelled("mitdb", "900", load_models())
    found, missed, false = counted(beats, reference, "mitdb").counted("V")
    late = reference.reference_labels[reference.references >= 300] == LABELS.index("V")
    assert found + missed == late.sum() > 20
    assert missed + false <= 1
    none = [beat._replace(label="N") for beat in beats]
    assert counted(none, reference, "mitdb").counted("V") == (0, found + missed, 0)


def test_a_rule_is_left_out_by_its_name(reference: Beats) -> None:
    for rule in RULES:
        assert [name for name, kept in without(rule)._asdict().items() if not kept] == [rule]
    beats = labelled("mitdb", reference.record, load_models(), rules=without("narrow"))
    assert len(beats) > 300
