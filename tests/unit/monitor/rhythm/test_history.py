"""The history of beats: heart rate."""

from __future__ import annotations

from support.rhythms import GONE, RATE, beats, hops, in_time
from tocsin_agent.monitor.rhythm.history import DECIDED_WITHIN
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_agent.monitor.rhythm.rhythm import Rhythm
from tocsin_agent.monitor.timeline import Beat
from tocsin_dsp.conditioning.quality import Hop


def rate_after(*items: Beat | Hop, at: int) -> float | None:
    rhythm = Rhythm(("II",), Limits())
    for item in items:
        rhythm.pass_time(item.decided)
        rhythm.take(item)
    return rhythm.heart_rate_bpm(at)


def test_the_rate_is_that_of_the_last_eight_intervals() -> None:
    given = in_time(*beats([300] * 10 + [150] * 8), *hops(20))
    assert rate_after(*given, at=RATE + 4300) == 100.0


def test_there_is_no_rate_before_two_beats_or_in_asystole() -> None:
    given = in_time(*beats([200]), *hops(2))
    assert rate_after(*in_time(*beats([]), *hops(2)), at=2 * RATE) is None
    assert rate_after(*given, at=2 * RATE) == 75.0
    assert rate_after(*given, at=450 + 1000 + DECIDED_WITHIN - 1) == 75.0
    assert rate_after(*given, at=450 + 1000 + DECIDED_WITHIN) is None


def test_a_rate_does_not_span_a_loss_of_signal() -> None:
    given = in_time(
        *beats([300] * 8), *hops(12), *hops(6, GONE, start=3000), *hops(6, start=4500),
        *beats([100] * 3, at=4700),
    )  # fmt: skip
    assert rate_after(*given, at=5100) == 150.0
