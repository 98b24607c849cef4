"""Reviewed stretches as training examples, and the scripted readers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tocsin_agent.errors import LabError
from tocsin_agent.lab.ec57.annotations import make_annotations
from tocsin_agent.lab.review.agreement import cohens_kappa
from tocsin_agent.lab.review.annotation_set import publish
from tocsin_agent.lab.review.cases import Case, Why
from tocsin_agent.lab.review.folder import Answer
from tocsin_agent.lab.review.settling import Comparison, Settled
from tocsin_agent.messages.reading import ANY, Verdict
from tocsin_dsp.rhythms.evidence import FEATURES
from tocsin_training.alarms import reviewed
from tocsin_training.alarms.collect import Rows
from tocsin_training.alarms.reviewed import VT, of_review, reviewed_cases
from tocsin_training.review.scripted import read_case, truth_of

RATE = 128.0
NONE = cohens_kappa("", "")


def case_of(record: str = "svdb/800", asked: str = VT, start_s: float = 100.0) -> Case:
    start = round(start_s * RATE)
    return Case(
        case="case-001", record=record, patient=record, asked=asked, why=Why.SAMPLED,
        rate_hz=RATE, start=start, stop=start + round(40 * RATE), onset=start + 1280,
    )  # fmt: skip


def set_of(folder: Path, *settled: Settled) -> Path:
    found = Comparison(("anna", "bela"), NONE, NONE, tuple(settled), (), ())
    publish(folder, folder / "set", {}, found, settled, adjudicator=None)
    return folder / "set"


def rows_of(record: str) -> Rows:
    at = np.arange(90.0, 160.0, 0.5)
    x = np.zeros((len(at), len(FEATURES)), np.float32)
    return Rows(np.full(len(at), record), at, x, 0.5)


def test_only_the_reviewed_stretch_is_an_example(tmp_path: Path) -> None:
    answer = Answer(Verdict.TRUE, VT, round(10 * RATE), round(15 * RATE))
    folder = set_of(tmp_path, Settled(case_of(), answer, (), "both"))
    rows = rows_of("800")
    given = of_review(folder, reviewed_cases(folder), "svdb", rows)
    outside = (rows.at_s < 100) | (rows.at_s >= 140)
    assert (given.weight[outside] == 0).all()
    assert (given.true == ((rows.at_s > 112) & (rows.at_s < 120))).all()
    assert (given.weight[given.true] > 0).all()
    assert (given.weight[(rows.at_s > 100) & (rows.at_s < 109)] > 0).all()
    assert not of_review(folder, reviewed_cases(folder), "mitdb", rows).weight.any()


def test_the_beats_decide_where_another_alarm_was_reviewed(tmp_path: Path) -> None:
    run = tuple((round((20 + 0.4 * n) * RATE), "V") for n in range(10))
    answer = Answer(Verdict.TRUE, "couplet", None, None)
    folder = set_of(tmp_path, Settled(case_of(asked="couplet"), answer, run, "both"))
    given = of_review(folder, reviewed_cases(folder), "svdb", rows_of("800"))
    assert given.true.any()
    refused = Answer(Verdict.FALSE, "", None, None)
    other = set_of(tmp_path / "b", Settled(case_of(asked=ANY), refused, run, "both"))
    assert not of_review(other, reviewed_cases(other), "svdb", rows_of("800")).true.any()


@pytest.mark.parametrize("record", ["mitdb/100", "mitdb/201"])
def test_a_patient_of_the_test_set_is_refused(tmp_path: Path, record: str) -> None:
    answer = Answer(Verdict.FALSE, "", None, None)
    folder = set_of(tmp_path, Settled(case_of(record), answer, (), "both"))
    with pytest.raises(LabError, match="test set"):
        reviewed_cases(folder)


def test_a_patient_who_is_held_out_is_refused(tmp_path: Path) -> None:
    answer = Answer(Verdict.FALSE, "", None, None)
    folder = set_of(tmp_path, Settled(case_of(), answer, (), "both"))
    assert len(reviewed_cases(folder, ["svdb/801"])) == 1
    with pytest.raises(LabError, match="svdb/800"):
        reviewed_cases(folder, ["svdb/800"])


def test_a_scripted_reader_errs_as_often_as_stated() -> None:
    at = np.arange(0, 200, 0.8)
    run = np.arange(110.2, 114.0, 0.4)
    beats = [*((t, "N") for t in at if not 109.5 < t < 114.5), *((t, "V") for t in run)]
    reference = make_annotations(
        [round(t * RATE) for t, _ in beats], [label for _, label in beats], rate_hz=RATE
    )
    truth = truth_of(reference, round(200 * RATE))
    rng = np.random.default_rng(1)
    perfect = read_case(case_of(), truth, 0.0, rng)
    assert perfect.verdict is Verdict.TRUE
    assert perfect.onset == pytest.approx(10.2 * RATE, abs=0.5 * RATE)
    calm = read_case(case_of(start_s=20.0), truth, 0.0, rng)
    assert calm.verdict is Verdict.FALSE
    answers = [read_case(case_of(), truth, 0.2, rng).verdict for _ in range(400)]
    assert 0.13 < answers.count(Verdict.FALSE) / 400 < 0.27


def test_a_set_is_one_more_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = Answer(Verdict.TRUE, VT, round(10 * RATE), round(15 * RATE))
    folder = set_of(tmp_path, Settled(case_of(), answer, (), "both"))
    monkeypatch.setattr(
        reviewed, "collect", lambda name: rows_of("800") if name == "svdb" else None
    )
    (given,) = reviewed.examples_of_set(folder)
    assert given.true.any()
    assert set(given.name.tolist()) == {"svdb/800"}
