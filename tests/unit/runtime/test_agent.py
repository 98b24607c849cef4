from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from tocsin_agent.delivery.outbox import Outbox
from tocsin_agent.errors import DeliveryError, DeliveryFault, SourceError, SourceFault
from tocsin_agent.messages.alert import (
    Alert,
    Evidence,
    Kind,
    Phase,
    Priority,
    SignalQuality,
    make_alert_id,
)
from tocsin_agent.monitor.alarms.event import AlertEvent
from tocsin_agent.runtime.agent import Agent
from tocsin_agent.runtime.document import Identity
from tocsin_agent.runtime.stream import Beat, StreamReport
from tocsin_agent.sources.base import EndOfStream, Source
from tocsin_agent.sources.settings import SourceSettings
from tocsin_dsp.signal import SampleBlock, StreamSpec
from tocsin_models import Models

RATE_HZ = 200.0
SPEC = StreamSpec("ward/1", RATE_HZ, ("I",))
SETTINGS = SourceSettings(uri="fake", timeout_s=0.2, retry_first_s=0.01, retry_max_s=0.02)


class Said(NamedTuple):
    beats: list[Beat]
    alerts: list[AlertEvent]


class FakeMonitor:
    """Rings `pause` at each block that holds a 9, and ends it with the stream."""

    def __init__(self, spec: StreamSpec) -> None:
        self.spec = spec
        self.position = 0
        self.open: list[AlertEvent] = []
        self.lost: AlertEvent | None = None
        self.used: list[tuple[int, Models]] = []

    def push(self, block: SampleBlock) -> Said:
        said: list[AlertEvent] = []
        if self.lost is not None:
            said.append(self.ended(self.lost))
            self.lost = None
        self.position = block.stop_index
        if (block.samples_mv == 9).any():
            self.open.append(self.event("pause"))
            said.append(self.open[-1])
        return Said([], said)

    def finish(self) -> Said:
        said = [self.ended(event) for event in self.open]
        self.open = []
        return Said([], said)

    def use(self, models: Models) -> Said:
        self.used.append((self.position, models))
        return Said([], [])

    def source_lost(self) -> Said:
        self.lost = self.event("source_lost", Kind.TECHNICAL)
        return Said([], [self.lost])

    def event(self, code: str, kind: Kind = Kind.PHYSIOLOGICAL) -> AlertEvent:
        return AlertEvent(
            alert_id=make_alert_id(self.spec.stream_id, code, self.position),
            sequence=1,
            phase=Phase.ONSET,
            kind=kind,
            code=code,
            priority=Priority.MEDIUM,
            onset_index=self.position,
            detected_index=self.position,
            heart_rate_bpm=None,
            evidence=Evidence(rule="fake", limits={}, measured={}),
            signal_quality=SignalQuality(leads={}),
            text="Fake.",
        )

    def ended(self, event: AlertEvent) -> AlertEvent:
        return AlertEvent(
            **{
                name: getattr(event, name)
                for name in event.__struct_fields__
                if name not in {"sequence", "phase"}
            },
            sequence=event.sequence + 1,
            phase=Phase.END,
        )


Step = SampleBlock | Exception | float | Callable[[], None]


class ScriptedSource(Source):
    """Plays steps: a block, an error, seconds of silence, or something to do."""

    def __init__(
        self, *steps: Step, finite: bool = True, opens: tuple[Exception | None, ...] = ()
    ) -> None:
        self.finite = finite
        self.spec = SPEC
        self.start_utc = None
        self.opened = self.closed = 0
        self._steps: Iterator[Step] = iter(steps)
        self._opens = iter(opens)

    def open(self) -> None:
        self.opened += 1
        error = next(self._opens, None)
        if error is not None:
            raise error

    def read(self, timeout_s: float) -> SampleBlock | None:
        step = next(self._steps, None)
        if isinstance(step, SampleBlock):
            return step
        if isinstance(step, Exception):
            raise step
        if isinstance(step, float):
            time.sleep(step)
        elif step is not None:
            step()
        elif self.finite:
            raise EndOfStream
        else:
            time.sleep(min(timeout_s, 0.02))
        return None

    def close(self) -> None:
        self.closed += 1


def block(start: int, value: float = 0.0, spec: StreamSpec = SPEC) -> SampleBlock:
    return SampleBlock(spec, start, np.full((50, len(spec.leads)), value))


def lost(reason: SourceFault = SourceFault.LOST) -> SourceError:
    return SourceError(reason, "the cable is out")


class Room:
    """An agent and all that it needs, and what came of it."""

    def __init__(self, folder: Path) -> None:
        self.outbox = Outbox(folder / "outbox.db")
        self.heard: list[StreamReport] = []
        self.stop = threading.Event()
        self.woken = 0
        self.monitors: list[FakeMonitor] = []

    def build(self, spec: StreamSpec) -> FakeMonitor:
        self.monitors.append(FakeMonitor(spec))
        return self.monitors[-1]

    def wake(self) -> None:
        self.woken += 1

    def run(self, source: Source) -> None:
        agent = Agent(
            source,
            self.outbox,
            identity=Identity("s", "d"),
            build_monitor=self.build,
            settings=SETTINGS,
            wake=self.wake,
            on_report=self.heard.append,
        )
        agent.run(self.stop)

    @property
    def alerts(self) -> list[Alert]:
        return [alert for heard in self.heard for alert in heard.alerts]

    def said(self) -> list[tuple[str, str]]:
        return [(str(alert.code), str(alert.phase)) for alert in self.alerts]

    def waiting(self) -> list[tuple[str, int]]:
        return [row.key for row in self.outbox.waiting(100)]


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    room = Room(tmp_path)
    yield room
    room.outbox.close()


def test_a_recording_is_heard_to_its_end_and_committed(room: Room) -> None:
    source = ScriptedSource(block(0), block(50, 9.0), block(100))
    room.run(source)
    assert room.said() == [("pause", "onset"), ("pause", "end")]
    assert room.waiting() == [(a.alert_id, a.sequence) for a in room.alerts]
    assert room.woken == 2
    assert (source.opened, source.closed) == (1, 1)


def test_each_alert_is_committed_before_anybody_is_told(room: Room) -> None:
    seen: list[int] = []

    agent = Agent(
        ScriptedSource(block(0, 9.0)),
        room.outbox,
        identity=Identity("s", "d"),
        build_monitor=room.build,
        settings=SETTINGS,
        on_report=lambda _: seen.append(room.outbox.pending()),
    )
    agent.run(room.stop)
    assert seen == [1, 2]


def test_a_broken_recording_keeps_what_was_heard_and_raises(room: Room) -> None:
    source = ScriptedSource(block(0, 9.0), lost(SourceFault.TRUNCATED))
    with pytest.raises(SourceError, match="cable"):
        room.run(source)
    assert room.said() == [("pause", "onset"), ("pause", "end")]
    assert source.closed == 1


@pytest.mark.parametrize("finite", [True, False])
def test_a_source_that_is_not_there_is_told_at_once(room: Room, finite: bool) -> None:
    source = ScriptedSource(finite=finite, opens=(lost(SourceFault.NOT_FOUND),))
    with pytest.raises(SourceError):
        room.run(source)
    assert source.opened == 1


def test_silence_of_a_live_link_rings_once_and_ends_when_samples_come(room: Room) -> None:
    source = ScriptedSource(block(0), 0.3, 0.3, block(50), room.stop.set, finite=False)
    room.run(source)
    assert room.said() == [("source_lost", "onset"), ("source_lost", "end")]


def test_silence_rings_in_time(room: Room) -> None:
    rang_s: list[float] = []
    started_s = time.monotonic()

    def note(heard: StreamReport) -> None:
        if heard.alerts:
            rang_s.append(time.monotonic() - started_s)
            room.stop.set()

    agent = Agent(
        ScriptedSource(block(0), finite=False),
        room.outbox,
        identity=Identity("s", "d"),
        build_monitor=room.build,
        settings=SETTINGS,
        on_report=note,
    )
    agent.run(room.stop)
    assert len(rang_s) == 1
    assert SETTINGS.timeout_s <= rang_s[0] < SETTINGS.timeout_s + 0.5


def test_a_recording_may_be_slow_without_an_alarm(room: Room) -> None:
    room.run(ScriptedSource(block(0), 0.3, block(50)))
    assert room.said() == []


def test_a_broken_link_is_opened_again_and_the_stream_goes_on(room: Room) -> None:
    source = ScriptedSource(
        block(0),
        lost(),
        block(500),
        room.stop.set,
        finite=False,
        opens=(None, lost(SourceFault.UNREACHABLE), lost(SourceFault.UNREACHABLE)),
    )
    room.run(source)
    assert source.opened == 4
    assert len(room.monitors) == 1
    assert room.monitors[0].position == 550


def test_a_link_that_never_comes_rings_each_time_the_agent_starts(room: Room) -> None:
    def unreachable() -> ScriptedSource:
        return ScriptedSource(finite=False, opens=(lost(SourceFault.UNREACHABLE),) * 1000)

    for _ in range(2):
        room.stop.clear()
        timer = threading.Timer(0.5, room.stop.set)
        timer.start()
        room.run(unreachable())
        timer.join()
    assert room.said() == [("source_lost", "onset")] * 2
    assert len({alert.alert_id for alert in room.alerts}) == 2


def test_a_change_of_leads_ends_the_stream_and_begins_another(room: Room) -> None:
    other = StreamSpec("ward/2", RATE_HZ, ("I", "II"))
    room.run(ScriptedSource(block(0, 9.0), block(0, 9.0, other)))
    assert room.said() == [("pause", "onset"), ("pause", "end")] * 2
    assert [alert.stream for alert in room.alerts] == ["ward/1"] * 2 + ["ward/2"] * 2


def test_stopping_leaves_episodes_open_and_the_next_stream_ends_them(room: Room) -> None:
    room.run(ScriptedSource(block(0, 9.0), room.stop.set, finite=False))
    assert room.said() == [("pause", "onset")]
    room.stop.clear()
    room.run(ScriptedSource(block(0, spec=StreamSpec("ward/2", RATE_HZ, ("I",)))))
    assert room.outbox.open_documents() == []
    assert room.waiting() == [(room.alerts[0].alert_id, 1), (room.alerts[0].alert_id, 2)]


def test_a_recording_read_again_makes_no_second_alert(room: Room) -> None:
    room.run(ScriptedSource(block(0, 9.0), room.stop.set))
    room.stop.clear()
    room.run(ScriptedSource(block(0, 9.0), block(50)))
    assert len(room.waiting()) == 2


def test_a_full_disk_does_not_stop_the_listening(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = room.outbox.append

    def full(_: object) -> int:
        raise DeliveryError(DeliveryFault.OUTBOX_FULL, "no space left")

    monkeypatch.setattr(room.outbox, "append", full)
    room.run(
        ScriptedSource(
            block(0, 9.0),
            block(50, 9.0),
            lambda: monkeypatch.setattr(room.outbox, "append", append),
            block(100, 9.0),
        )
    )
    assert len(room.alerts) == 6
    assert room.waiting() == [(a.alert_id, a.sequence) for a in room.alerts]


def test_times_are_those_that_the_source_knows(room: Room) -> None:
    start = datetime(2001, 2, 3, tzinfo=UTC)
    source = ScriptedSource(block(0), block(50, 9.0))
    source.start_utc = start
    room.run(source)
    assert room.alerts[0].onset_at == start + timedelta(seconds=100 / RATE_HZ)


def test_times_of_a_live_link_are_those_of_arrival(room: Room) -> None:
    index = 10_000_000  # the device has been counting for long
    room.run(ScriptedSource(block(index, 9.0), room.stop.set, finite=False))
    assert abs((room.alerts[0].onset_at - datetime.now(UTC)).total_seconds()) < 2.0


def test_a_device_that_counts_from_anew_keeps_the_right_time(room: Room) -> None:
    source = ScriptedSource(
        block(10_000_000), block(0), block(50, 9.0), room.stop.set, finite=False
    )
    room.run(source)
    assert abs((room.alerts[0].onset_at - datetime.now(UTC)).total_seconds()) < 2.0


def test_other_models_are_used_between_two_blocks(room: Room) -> None:
    offered = [None, Models(), None]
    agent = Agent(
        ScriptedSource(block(0, 9.0), block(50), block(100)),
        room.outbox,
        identity=Identity("s", "d"),
        build_monitor=room.build,
        settings=SETTINGS,
        new_models=lambda: offered.pop(0),
        on_report=room.heard.append,
    )
    agent.run(room.stop)
    (monitor,) = room.monitors
    assert monitor.used == [(100, Models())]
    assert room.said() == [("pause", "onset"), ("pause", "end")]
