"""Alerts of a live stream: ids of the run, and what happens to episodes that were left open."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from support.factories import NOON, make_alert, make_episode
from tocsin_agent.messages.alert import Alert, Kind, Phase
from tocsin_agent.runtime.continuity import Continuity

STREAM, RATE_HZ = "test/100", 100.0
VT = make_alert(1000)  # detected at 1720


def live(
    *left_open: Alert, start: int = 2000, run: str = "run", stream: str = STREAM
) -> Continuity:
    return Continuity(run, left_open, stream_id=stream, start_index=start, rate_hz=RATE_HZ)


def test_the_documents_of_an_episode_have_one_id_that_no_other_run_gives() -> None:
    documents = list(make_episode())
    first, second = ([one.take(a) for a in documents] for one in (live(run="a"), live(run="b")))
    for taken in (first, second):
        assert len({alert.alert_id for alert in taken}) == 1
        assert [alert.sequence for alert in taken] == [1, 2, 3]
    assert len({VT.alert_id, first[0].alert_id, second[0].alert_id}) == 3


def test_a_device_that_begins_again_makes_a_new_alert_of_the_same_sample() -> None:
    run = live()
    onset, *_, end = make_episode(updates=0)
    first, _, again = run.take(onset), run.take(end), run.take(onset)
    assert first.alert_id != again.alert_id


def test_an_episode_goes_on_where_the_stream_does() -> None:
    run = live(msgspec.structs.replace(VT, sequence=4, phase=Phase.UPDATE))
    found = make_alert(2100, stream=STREAM)
    taken = run.take(found)
    assert (taken.alert_id, taken.sequence, taken.phase) == (VT.alert_id, 5, Phase.UPDATE)
    assert (taken.onset_index, taken.onset_at) == (VT.onset_index, VT.onset_at)
    assert taken.text.startswith("Monitoring was restarted; this lasts: ")
    end = msgspec.structs.replace(found, sequence=2, phase=Phase.END, text="over")
    ended = run.take(end)
    assert (ended.alert_id, ended.sequence, ended.phase) == (VT.alert_id, 6, Phase.END)
    assert ended.text == "over"
    assert run.due(10**9, NOON) == []


def test_what_is_not_found_again_ends_as_not_known() -> None:
    run = live(VT)
    assert run.due(2000, NOON) == []
    assert run.due(7999, NOON) == []
    (ended,) = run.due(8000, NOON)
    assert (ended.alert_id, ended.sequence, ended.phase) == (VT.alert_id, 2, Phase.END)
    assert "not known" in ended.text
    assert "over" not in ended.text
    assert ended.evidence.measured["ended"] == "not known whether it lasts"
    assert run.due(9000, NOON) == []
    assert run.take(make_alert(8100)).alert_id != VT.alert_id


def test_another_stream_a_counter_that_begins_again_and_a_long_gap_are_no_continuation() -> None:
    for run in (live(VT, stream="other"), live(VT, start=0), live(VT, start=1720 + 30_001)):
        (ended,) = run.due(0, NOON)
        assert (ended.alert_id, ended.phase) == (VT.alert_id, Phase.END)
        assert run.take(make_alert(10)).alert_id != VT.alert_id


def test_a_lead_continues_only_itself() -> None:
    def off(lead: str, onset: int) -> Alert:
        alert = make_alert(onset, code="lead_off", kind=Kind.TECHNICAL)
        evidence = msgspec.structs.replace(alert.evidence, measured={"lead": lead})
        return msgspec.structs.replace(alert, evidence=evidence)

    first, second = off("II", 1000), off("V1", 1001)
    run = live(first, second)
    assert run.take(off("V1", 2050)).alert_id == second.alert_id
    assert run.take(off("III", 2051)).alert_id not in {first.alert_id, second.alert_id}
    assert [alert.alert_id for alert in run.due(8000, NOON)] == [first.alert_id]


def test_samples_end_a_lost_source() -> None:
    lost = make_alert(code="source_lost", kind=Kind.TECHNICAL)
    (ended,) = live(lost).due(2000, NOON)
    assert ended.text == "Samples arrive again."
    assert ended.evidence.measured["ended"] == "samples arrive again"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), max_size=30))
def test_ids_and_sequences_are_unique_whatever_comes(events: list[tuple[str, int]]) -> None:
    run = live(VT)
    open_: dict[str, Alert] = {}
    seen = {VT.key}
    for code, what in events:
        alert = open_.get(code)
        if alert is None:
            alert = make_alert(what, code=code)  # onsets repeat
        elif what == 0:
            alert = msgspec.structs.replace(alert, sequence=alert.sequence + 1, phase=Phase.END)
        else:
            alert = msgspec.structs.replace(alert, sequence=alert.sequence + 1, phase=Phase.UPDATE)
        open_[code] = alert
        if alert.phase is Phase.END:
            del open_[code]
        taken = run.take(alert)
        assert taken.key not in seen
        seen.add(taken.key)
