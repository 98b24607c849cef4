"""Which differences between two versions forbid the new one."""

from __future__ import annotations

import json

import pytest

from tocsin_agent.updates.comparison import Comparison, Found, Onset, compare, read_output

VT = Onset("ventricular_tachycardia", "high", 20.0, 22.0)
COUPLET = Onset("couplet", "low", 50.0, 51.0)


def compared(new: Found, used: Found = Found(100, (VT, COUPLET))) -> Comparison:  # noqa: B008
    return compare({"bed7": used}, {"bed7": new})


def test_equal_results_have_no_difference() -> None:
    assert compared(Found(100, (VT, COUPLET))) == Comparison((), (), 2, 100)


@pytest.mark.parametrize(
    ("new", "text"),
    [
        (Found(100, (COUPLET,)), "ventricular_tachycardia at 20.0 s is missing"),
        (Found(100, (VT._replace(onset_s=26.0), COUPLET)), "is missing"),
        (Found(100, (VT._replace(raised_s=24.5), COUPLET)), "raised 2.5 s later"),
        (Found(100, (VT._replace(priority="medium"), COUPLET)), "priority medium, not high"),
        (Found(89, (VT, COUPLET)), "89 beats, and 100 before"),
        (Found(0, (VT, COUPLET)), "0 beats"),
    ],
)
def test_what_may_not_get_worse_is_refused(new: Found, text: str) -> None:
    found = compared(new)
    assert len(found.refusals) == 1
    assert text in found.refusals[0]
    assert found.refusals[0] in found.differences


@pytest.mark.parametrize(
    ("new", "text"),
    [
        (Found(100, (VT,)), "couplet at 50.0 s is missing"),
        (Found(100, (VT, COUPLET, VT._replace(onset_s=70.0))), "at 70.0 s is new"),
        (Found(100, (VT._replace(raised_s=20.5), COUPLET)), "raised 1.5 s earlier"),
        (Found(100, (VT._replace(onset_s=21.0, raised_s=23.0), COUPLET)), "1.0 s later"),
        (Found(91, (VT, COUPLET)), "91 beats"),
    ],
)
def test_other_differences_are_reported(new: Found, text: str) -> None:
    found = compared(new)
    assert found.refusals == ()
    assert text in found.differences[0]


def test_a_few_beats_are_no_share() -> None:
    assert compared(Found(1, ()), Found(10, ())).refusals == ()


def test_two_alarms_of_one_kind_are_two() -> None:
    twice = Found(100, (VT, VT._replace(onset_s=22.0, raised_s=24.0)))
    assert "is missing" in compared(Found(100, (VT,)), twice).refusals[0]


def lines(*objects: object) -> list[str]:
    return [json.dumps(one) for one in objects]


def test_the_output_of_replay_is_read_by_recording() -> None:
    alert = {"code": "pause", "priority": "medium", "onset_index": 250, "detected_index": 500}
    records = [
        {"record": "x.npz", "stream": "x", "beats": {"N": 3, "V": 1}},
        {"record": "y.npz", "stream": "y", "beats": {}},
    ]
    found = read_output(
        lines(
            alert | {"phase": "onset", "stream": "x"},
            alert | {"phase": "end", "stream": "x"},
            {"records": records},
        ),
        {"x.npz": 250.0, "y.npz": 500.0},
    )
    assert found == {
        "x.npz": Found(4, (Onset("pause", "medium", 1.0, 2.0),)),
        "y.npz": Found(0, ()),
    }


@pytest.mark.parametrize(
    "printed",
    [
        [],
        lines({"records": []}),
        ["nonsense"],
        lines({"records": [{"record": "x.npz", "stream": "x", "beats": {}, "fault": "broken"}]}),
    ],
)
def test_an_output_that_lacks_a_recording_is_refused(printed: list[str]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read_output(printed, {"x.npz": 250.0})
