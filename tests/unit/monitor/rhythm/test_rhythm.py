"""All families together: limits and restart."""

from __future__ import annotations

from support.rhythms import beats, hops, in_time, judge_beats, of
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_agent.monitor.rhythm.rhythm import Rhythm


def test_limits_are_those_that_are_set() -> None:
    limits = Limits(pause_s=1.5, vt_beats=4, bigeminy_beats=2, bradycardia_beats=2)
    assert of(judge_beats([200, 376], limits=limits), "pause")
    assert of(judge_beats([100] * 4, "NVVVV", limits), "ventricular_tachycardia")
    assert of(judge_beats([200] * 3, "NVNV", limits), "bigeminy")
    assert of(judge_beats([200, 376], limits=limits), "extreme_bradycardia")


def test_a_restart_forgets_the_beats() -> None:
    rhythm = Rhythm(("II",), Limits())
    for item in in_time(*beats([450] * 3), *hops(7)):
        rhythm.take(item)
    rhythm.restart()
    assert rhythm.heart_rate_bpm(2000) is None
    assert not of(rhythm.take(beats([], at=1800)[0]), "extreme_bradycardia")
