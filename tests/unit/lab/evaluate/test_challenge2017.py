"""One rhythm for a short record from the agent's output, and its score."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tocsin_agent.lab.evaluate.challenge2017 import rhythm_f1, rhythm_of
from tocsin_agent.messages.alert import Evidence, Phase, Priority, SignalQuality
from tocsin_agent.monitor import LabelledBeat
from tocsin_agent.monitor.alarms.event import AlertEvent
from tocsin_agent.monitor.alarms.table import ALARMS

RATE_HZ = 300.0
SAMPLES = 9000


def beats(rr_s: Sequence[float], labels: str = "") -> list[LabelledBeat]:
    at, found = 100.0, []
    for i, rr in enumerate([0.0, *rr_s]):
        at += rr * RATE_HZ
        label = labels[i] if i < len(labels) else "N"
        found.append(LabelledBeat(round(at), label, round(at) + 130, "I", 1.0))
    return found


def alert(code: str, start: int, end: int, priority: Priority | None = None) -> list[AlertEvent]:
    kind, default = ALARMS[code].kind, ALARMS[code].priority
    return [
        AlertEvent(
            f"{code}-{start}", i, phase, kind, code, priority or default, start, at, None,
            Evidence("", {}, {}, None, {}), SignalQuality({}), "",
        )
        for i, (phase, at) in enumerate([(Phase.ONSET, start), (Phase.END, end)])
    ]  # fmt: skip


STEADY = beats([0.8] * 30)


@pytest.mark.parametrize(
    ("labelled", "alerts", "rhythm"),
    [
        (STEADY, [], "N"),
        (beats([0.5] * 50), [], "O"),  # 120/min
        (beats([1.3] * 20), [], "O"),  # 46/min
        (beats([0.8, 0.8, 0.5, 1.1] * 7), [], "O"),
        (beats([0.8, 0.85, 0.75, 0.9] * 7), [], "N"),
        (beats([0.8] * 30, "NNNNV"), [], "O"),
        (STEADY, alert("pause", 3000, 4000), "O"),
        (STEADY, alert("atrial_fibrillation", 0, 9000), "A"),
        (STEADY, alert("signal_unusable", 0, 4600), "~"),
        (STEADY, alert("signal_unusable", 0, 4400), "N"),
        (
            STEADY,
            alert("signal_unusable", 0, 3000) + alert("lead_off", 2000, 5000, Priority.MEDIUM),
            "~",
        ),
        (STEADY, alert("lead_off", 0, 9000), "N"),
        (beats([0.8]), [], "~"),
    ],
)
def test_the_output_of_the_agent_gives_one_rhythm(
    labelled: list[LabelledBeat], alerts: list[AlertEvent], rhythm: str
) -> None:
    assert rhythm_of(labelled, alerts, RATE_HZ, SAMPLES) == rhythm


def test_an_alarm_that_never_ends_lasts_to_the_end() -> None:
    onset, _ = alert("signal_unusable", 4000, 9000)
    assert rhythm_of(STEADY, [onset], RATE_HZ, SAMPLES) == "~"


def test_the_official_score_is_the_mean_of_three(tmp_path: Path) -> None:
    (tmp_path / "REFERENCE.csv").write_text("a,N\nb,N\nc,A\nd,O\ne,~\nf,O\ngone,A\n")
    given = {"a": "N", "b": "O", "c": "A", "d": "O", "e": "~", "f": "N"}
    score = rhythm_f1(tmp_path, given)
    assert score is not None
    assert score["f1"] == {"N": 50.0, "A": 100.0, "O": 50.0, "~": 100.0}
    assert score["mean"] == pytest.approx(200 / 3, abs=1e-3)
    assert score["confusion"][0] == [1, 0, 1, 0]


def test_without_labels_there_is_no_score(tmp_path: Path) -> None:
    assert rhythm_f1(tmp_path, {"a": "N"}) is None
