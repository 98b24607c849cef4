"""The judge of waves: matching, counting, and what it refuses."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tocsin_agent.cli.waves import command
from tocsin_agent.errors import SourceError
from tocsin_agent.lab.ec57.annotations import make_annotations
from tocsin_agent.lab.evaluate.waves import (
    BeatP,
    LeadJudgement,
    Wave,
    _area,
    _group,
    _judge,
    _marked,
    _p_by_beat,
    _pairs,
    half,
)
from tocsin_dsp.beats.beats import LIMIT, SHAPE, BeatView
from tocsin_dsp.beats.delineation import Delineated
from tocsin_dsp.beats.waves import UNKNOWN
from tocsin_dsp.leads.leads import LeadBeat

RATE = 250


def beat(r: int, **waves: float) -> LeadBeat:
    """Return a beat at an analysis index with the waves given by name."""
    shapes = np.zeros((2, SHAPE))
    view = BeatView(r, r + 100, 1.0, None, 1.0, True, shapes, np.full(1, LIMIT))
    return LeadBeat(view, 0, Delineated(UNKNOWN._replace(**waves)))


def marks(*waves: tuple[str, float, float, float]) -> dict[str, list[Wave]]:
    """Return annotated waves from kind and points in seconds."""
    symbols = "".join(f"({kind})" for kind, *_ in waves)
    samples = [round(500 * at) for _, *points in waves for at in points]
    return _marked(make_annotations(samples, list(symbols), rate_hz=500.0))


TRUTH = marks(
    ("N", 0.95, 1.0, 1.05),
    ("p", 1.80, 1.85, 1.90),
    ("N", 1.95, 2.0, 2.05),
    ("t", 2.20, 2.30, 2.40),
    ("p", 2.80, 2.85, 2.90),
    ("N", 2.95, 3.0, 3.05),
)


def test_records_are_divided_into_odd_and_even_ones() -> None:
    records = [f"data/{n}" for n in range(1, 201)]
    odd, even = half(records, "odd"), half(records, "even")
    assert len(odd) == len(even) == 100
    assert not set(odd) & set(even)
    assert odd[:2] == ("data/1", "data/3")
    with pytest.raises(SourceError, match="patient has no number"):
        half(["patient"], "odd")


def test_marks_are_read_with_their_points() -> None:
    assert TRUTH["P"] == [Wave(1.80, 1.85, 1.90), Wave(2.80, 2.85, 2.90)]
    lone = _marked(make_annotations([500], ["N"], rate_hz=500.0))["QRS"][0]
    assert lone.peak_s == 1.0
    assert math.isnan(lone.onset_s)
    assert math.isnan(lone.end_s)


def test_times_are_matched_once_and_the_nearest_first() -> None:
    assert _pairs([1.0, 1.1, 5.0], [1.08, 4.8]) == [(1, 0)]
    assert _pairs([1.0, 1.1], [1.02, 1.12]) == [(0, 0), (1, 1)]
    assert _pairs([], [1.0]) == []


def test_errors_and_counts_are_those_of_the_waves() -> None:
    ours = [
        beat(250, p_peak=212.0, qrs_onset=237.5, qrs_end=262.5),
        beat(500, p_onset=452.5, p_peak=464.0, p_end=475.0, qrs_onset=487.5, qrs_end=513.0),
        beat(750, previous_t_peak=575.0, previous_t_end=602.0, qrs_onset=737.5, qrs_end=762.5),
        beat(1000, qrs_onset=987.5, p_peak=960.0),
    ]
    judged = _judge("1", "ii", "sinus rhythm", TRUTH, ours)
    assert judged.counts == {"P": (1, 1, 0), "QRS": (3, 0, 0), "T": (1, 0, 0)}
    assert judged.errors_ms["P onset"] == pytest.approx([10.0])
    assert judged.errors_ms["QRS end"] == pytest.approx([0.0, 2.0, 0.0])
    assert judged.errors_ms["T end"] == pytest.approx([8.0])


def test_beats_outside_the_annotated_part_are_not_judged() -> None:
    outside = [beat(100, p_peak=60.0), beat(1200, p_peak=1160.0)]
    judged = _judge("1", "ii", "", TRUTH, outside)
    assert judged.counts["P"] == (0, 2, 0)
    assert judged.counts["QRS"] == (0, 3, 0)


def test_a_wave_without_annotation_is_false() -> None:
    ours = [beat(250), beat(500, p_peak=400.0), beat(750, p_peak=712.0)]
    assert _judge("1", "ii", "", TRUTH, ours).counts["P"] == (1, 1, 1)


def test_p_is_judged_by_beat_where_it_may_have_been_marked() -> None:
    truth = {**TRUTH, "P": TRUTH["P"][:1]}
    ours = [beat(250, p_score=0.9), beat(500, p_score=0.9), beat(750, p_score=0.8)]
    judged = _judge("1", "ii", "", truth, ours)
    assert judged.p == [BeatP(0.9, True), BeatP(0.8, False)]
    scores = _p_by_beat([judged])
    assert (scores["se"], scores["sp"], scores["auc"]) == (100.0, 0.0, 1.0)


def test_the_area_counts_ties_half() -> None:
    assert _area(np.array([0.5, 0.9]), np.array([0.5, 0.1])) == 0.875
    assert _area(np.array([0.5]), np.array([])) is None


def test_a_group_says_if_the_deviation_is_within_the_tolerance() -> None:
    def lead(errors: list[float]) -> LeadJudgement:
        return LeadJudgement("1", "ii", "", {p: [] for p in ("P onset", "P peak", "P end",
            "QRS end", "T peak", "T end")} | {"QRS onset": errors}, {}, [])  # fmt: skip

    near = _group([lead([3.0, 5.0]), lead([1.0, 7.0])])["points"]["QRS onset"]
    far = _group([lead([-10.0, 10.0])])["points"]["QRS onset"]
    assert (near["mean_ms"], near["n"], near["within_cse"]) == (4.0, 4, True)
    assert (far["sd_ms"], far["within_cse"]) == (10.0, False)


def test_a_folder_without_annotated_leads_judges_nothing(tmp_path: Path) -> None:
    (tmp_path / "1.hea").write_text("1 1 250 10\n1.dat 16 200 16 0 0 0 0 ii\n")
    (tmp_path / "1.dat").write_bytes(bytes(20))
    result = CliRunner().invoke(command, [str(tmp_path), "--half", "all"], standalone_mode=False)
    assert result.return_value == 4
    assert "no annotation file" in result.output
