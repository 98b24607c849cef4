from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import pytest

from tocsin_agent.delivery.outbox import Outbox
from tocsin_agent.delivery.store import Pressure
from tocsin_agent.errors import (
    DeliveryError,
    DeliveryFault,
    MissingExtraError,
    SourceError,
    SourceFault,
)
from tocsin_agent.messages.alert import (
    Alert,
    Evidence,
    Kind,
    Phase,
    Priority,
    SignalQuality,
    decode_alert,
    make_alert_id,
)
from tocsin_agent.monitor.alarms.context import Suppression
from tocsin_agent.monitor.alarms.event import AlertEvent
from tocsin_agent.monitor.report import MonitorVitals
from tocsin_agent.monitor.timeline import Failure
from tocsin_agent.monitor.trends import MinuteTrend
from tocsin_agent.runtime import agent as agent_module
from tocsin_agent.runtime.agent import Agent
from tocsin_agent.runtime.document import Identity
from tocsin_agent.runtime.stream import Beat, StreamReport
from tocsin_agent.sources.base import DeviceEvent, EndOfStream, Source
from tocsin_agent.sources.settings import SourceSettings
from tocsin_agent.updates.field import FieldModels
from tocsin_dsp.signal import SampleBlock, StreamSpec
from tocsin_models import Models

RATE_HZ = 200.0
SPEC = StreamSpec("ward/1", RATE_HZ, ("I",))
SETTINGS = SourceSettings(uri="fake", timeout_s=0.5, retry_first_s=0.01, retry_max_s=0.02)


class FakeReport(NamedTuple):
    beats: list[Beat]
    alerts: list[AlertEvent]
    failures: tuple[Failure, ...] = ()
    trends: tuple[MinuteTrend, ...] = ()
    suppressed: tuple[Suppression, ...] = ()


class FakeMonitor:
    """Raises `pause` at each block that contains a 9, and ends it with the stream."""

    def __init__(self, spec: StreamSpec) -> None:
        self.spec = spec
        self.position = 0
        self.open: list[AlertEvent] = []
        self.lost: AlertEvent | None = None
        self.reasons: list[str | None] = []
        self.events: list[tuple[object, ...]] = []
        self.used: list[tuple[int, Models]] = []
        self.pressures: list[tuple[int, int, int]] = []

    def push(self, block: SampleBlock) -> FakeReport:
        events: list[AlertEvent] = []
        if self.lost is not None:
            events.append(self.ended(self.lost))
            self.lost = None
        self.position = block.stop_index
        if (block.samples_mv == 9).any():
            self.open.append(self.event("pause"))
            events.append(self.open[-1])
        return FakeReport([], events)

    def finish(self) -> FakeReport:
        events = [self.ended(event) for event in self.open]
        self.open = []
        return FakeReport([], events)

    def vitals(self) -> MonitorVitals:
        return MonitorVitals(72.0, None)

    def use(self, models: Models) -> FakeReport:
        self.used.append((self.position, models))
        return FakeReport([], [])

    def outbox_pressure(self, pending: int, dropped: int, max_pending: int) -> FakeReport:
        self.pressures.append((pending, dropped, max_pending))
        return FakeReport([], [])

    def device_event(
        self, code: str, rule: str, subject: str, measured: dict[str, float | str], *, over: bool
    ) -> FakeReport:
        self.events.append((code, rule, subject, measured, over))
        return FakeReport([], [])

    def fault(
        self, code: str, rule: str, subject: str, measured: dict[str, float | str]
    ) -> FakeReport:
        self.events.append((code, rule, subject, measured, False))
        return FakeReport([], [])

    def source_lost(self, reason: str | None = None) -> FakeReport:
        self.reasons.append(reason)
        self.lost = self.event("source_lost", Kind.TECHNICAL)
        return FakeReport([], [self.lost])

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
    """Plays steps: a block, an error, seconds of silence, or a function to call."""

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


class Bench:
    """Runs agents over one outbox, and keeps their reports and monitors."""

    def __init__(self, folder: Path) -> None:
        self.outbox = Outbox(folder / "outbox.db")
        self.reports: list[StreamReport] = []
        self.stop = threading.Event()
        self.woken = 0
        self.monitors: list[FakeMonitor] = []

    def build(self, spec: StreamSpec, _: Models) -> FakeMonitor:
        self.monitors.append(FakeMonitor(spec))
        return self.monitors[-1]

    def wake(self) -> None:
        self.woken += 1

    def run(
        self,
        source: Source,
        *,
        models: FieldModels | None = None,
        on_report: Callable[[StreamReport], None] = lambda _: None,
    ) -> None:
        def keep(report: StreamReport) -> None:
            self.reports.append(report)
            on_report(report)

        agent = Agent(
            source,
            self.outbox,
            identity=Identity("s", "d"),
            build_monitor=self.build,
            models=models or FieldModels(Models()),
            settings=SETTINGS,
            wake=self.wake,
            on_report=keep,
        )
        agent.run(self.stop)

    def stop_at_an_alert(self, report: StreamReport) -> None:
        """Stop the agent when it has raised an alert."""
        if report.alerts:
            self.stop.set()

    @property
    def alerts(self) -> list[Alert]:
        return [alert for report in self.reports for alert in report.alerts]

    def phases(self) -> list[tuple[str, str]]:
        return [(str(alert.code), str(alert.phase)) for alert in self.alerts]

    def waiting(self) -> list[tuple[str, int]]:
        return [row.key for row in self.outbox.waiting(100)]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.outbox.close()


def test_a_recording_is_read_to_its_end_and_its_alerts_committed(bench: Bench) -> None:
    source = ScriptedSource(block(0), block(50, 9.0), block(100))
    bench.run(source)
    assert bench.phases() == [("pause", "onset"), ("pause", "end")]
    assert bench.waiting() == [(a.alert_id, a.sequence) for a in bench.alerts]
    assert bench.woken == 3  # two commits, and the begin of the stream
    assert (source.opened, source.closed) == (1, 1)


def test_each_alert_is_committed_before_it_is_reported(bench: Bench) -> None:
    pending: list[int] = []
    bench.run(
        ScriptedSource(block(0, 9.0)), on_report=lambda _: pending.append(bench.outbox.pending())
    )
    assert pending == [1, 2]


def test_a_broken_recording_keeps_its_alerts_and_raises(bench: Bench) -> None:
    source = ScriptedSource(block(0, 9.0), lost(SourceFault.TRUNCATED))
    with pytest.raises(SourceError, match="cable"):
        bench.run(source)
    assert bench.phases() == [("pause", "onset")], "nobody says that it is over"
    assert source.closed == 1


def test_a_recording_that_does_not_exist_is_an_error_at_once(bench: Bench) -> None:
    source = ScriptedSource(opens=(lost(SourceFault.NOT_FOUND),))
    with pytest.raises(SourceError):
        bench.run(source)
    assert source.opened == 1


@pytest.mark.parametrize("fault", list(SourceFault))
def test_a_live_source_is_tried_again_whatever_the_fault(bench: Bench, fault: SourceFault) -> None:
    source = ScriptedSource(
        block(0), lost(fault), block(50), bench.stop.set, finite=False, opens=(lost(fault), None)
    )
    bench.run(source)
    assert source.opened == 3
    assert bench.monitors[0].position == 100


def test_events_of_the_device_reach_the_monitor_with_and_without_samples(bench: Bench) -> None:
    call = DeviceEvent("patient_call", "the button", "", {}, over=False)

    class Called(ScriptedSource):
        calls: ClassVar[list[list[DeviceEvent]]] = [[call], [], [call]]

        def take_events(self) -> list[DeviceEvent]:
            return self.calls.pop(0) if self.calls else []

    bench.run(Called(0.01, block(0), block(50), bench.stop.set, finite=False))
    assert [monitor.events for monitor in bench.monitors] == [[tuple(call)], [tuple(call)]]


def test_a_missing_package_ends_a_live_source_at_once(bench: Bench) -> None:
    source = ScriptedSource(finite=False, opens=(MissingExtraError("ble", "pip install"),))
    with pytest.raises(MissingExtraError):
        bench.run(source)


def test_a_lost_source_says_why_and_says_so_again_when_the_reason_changes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_module, "_REASON_S", 0.0)

    class Talking(ScriptedSource):
        reasons: ClassVar[list[str]] = ["no permission"] * 3 + ["in use by gpsd"] * 3

        def why_silent(self) -> str | None:
            if not self.reasons:
                bench.stop.set()
                return None
            return self.reasons.pop(0)

    bench.run(Talking(block(0), 0.6, finite=False))
    assert bench.monitors[0].reasons[:2] == ["no permission", "in use by gpsd"]


def test_silence_of_a_live_source_raises_one_alert_that_ends_with_the_next_samples(
    bench: Bench,
) -> None:
    source = ScriptedSource(block(0), 0.6, 0.6, block(50), bench.stop.set, finite=False)
    bench.run(source)
    assert bench.phases() == [("source_lost", "onset"), ("source_lost", "end")]


def test_silence_raises_source_lost_after_the_timeout(bench: Bench) -> None:
    started_s = time.monotonic()
    bench.run(ScriptedSource(block(0), finite=False), on_report=bench.stop_at_an_alert)
    assert bench.phases() == [("source_lost", "onset")]
    assert time.monotonic() - started_s >= SETTINGS.timeout_s


def test_a_slow_recording_raises_no_alert(bench: Bench) -> None:
    bench.run(ScriptedSource(block(0), 0.6, block(50)))
    assert bench.phases() == []


def test_a_broken_source_is_opened_again_and_its_stream_continues(bench: Bench) -> None:
    source = ScriptedSource(
        block(0),
        lost(),
        block(500),
        bench.stop.set,
        finite=False,
        opens=(None, lost(SourceFault.UNREACHABLE), lost(SourceFault.UNREACHABLE)),
    )
    bench.run(source)
    assert source.opened == 4
    assert len(bench.monitors) == 1
    assert bench.monitors[0].position == 550


def test_a_source_that_never_opens_raises_an_alert_at_each_start(bench: Bench) -> None:
    for _ in range(2):
        bench.stop.clear()
        unreachable = (lost(SourceFault.UNREACHABLE),) * 10_000
        source = ScriptedSource(finite=False, opens=unreachable)
        bench.run(source, on_report=bench.stop_at_an_alert)
    assert bench.phases() == [("source_lost", "onset")] * 2
    assert len({alert.alert_id for alert in bench.alerts}) == 2


def test_a_change_of_leads_ends_the_stream_and_begins_another(bench: Bench) -> None:
    other = StreamSpec("ward/2", RATE_HZ, ("I", "II"))
    bench.run(ScriptedSource(block(0, 9.0), block(0, 9.0, other)))
    assert bench.phases() == [("pause", "onset"), ("pause", "end")] * 2
    assert [alert.stream for alert in bench.alerts] == ["ward/1"] * 2 + ["ward/2"] * 2


def test_stopping_leaves_episodes_open_and_the_next_stream_ends_them(bench: Bench) -> None:
    bench.run(ScriptedSource(block(0, 9.0), bench.stop.set, finite=False))
    assert bench.phases() == [("pause", "onset")]
    bench.stop.clear()
    bench.run(ScriptedSource(block(0, spec=StreamSpec("ward/2", RATE_HZ, ("I",)))))
    assert bench.outbox.open_documents() == []
    assert bench.waiting() == [(bench.alerts[0].alert_id, 1), (bench.alerts[0].alert_id, 2)]


def test_a_live_source_that_fails_ends_no_episode(bench: Bench) -> None:
    source = ScriptedSource(
        block(0, 9.0), lost(SourceFault.MALFORMED), bench.stop.set, finite=False
    )
    bench.run(source)
    assert bench.phases() == [("pause", "onset")]
    assert len(bench.outbox.open_documents()) == 1


def test_an_episode_of_a_live_stream_goes_on_after_a_restart(bench: Bench) -> None:
    for start in (0, 100):
        bench.stop.clear()
        bench.run(ScriptedSource(block(start, 9.0), bench.stop.set, finite=False))
    assert bench.phases() == [("pause", "onset"), ("pause", "update")]
    first, second = bench.alerts
    assert (second.alert_id, second.sequence) == (first.alert_id, 2)
    assert len(bench.waiting()) == 2


def test_a_device_that_begins_again_after_a_restart_raises_a_new_alert(bench: Bench) -> None:
    for _ in range(2):
        bench.stop.clear()
        bench.run(ScriptedSource(block(0, 9.0), bench.stop.set, finite=False))
    assert bench.phases() == [("pause", "onset"), ("pause", "end"), ("pause", "onset")]
    first, unknown, second = bench.alerts
    assert unknown.alert_id == first.alert_id != second.alert_id
    assert "not known" in unknown.text
    assert len(bench.waiting()) == 3


def test_a_recording_that_is_read_again_raises_no_second_alert(bench: Bench) -> None:
    bench.run(ScriptedSource(block(0, 9.0), bench.stop.set))
    bench.stop.clear()
    bench.run(ScriptedSource(block(0, 9.0), block(50)))
    assert len(bench.waiting()) == 2


def test_a_full_disk_does_not_stop_the_monitoring(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = bench.outbox.append

    def full(_: object) -> int:
        raise DeliveryError(DeliveryFault.OUTBOX_FULL, "no space left")

    monkeypatch.setattr(bench.outbox, "append", full)
    bench.run(
        ScriptedSource(
            block(0, 9.0),
            block(50, 9.0),
            lambda: monkeypatch.setattr(bench.outbox, "append", append),
            block(100, 9.0),
        )
    )
    assert len(bench.alerts) == 6
    assert bench.waiting() == [(a.alert_id, a.sequence) for a in bench.alerts]


def test_times_are_those_of_the_source(bench: Bench) -> None:
    start = datetime(2001, 2, 3, tzinfo=UTC)
    source = ScriptedSource(block(0), block(50, 9.0))
    source.start_utc = start
    bench.run(source)
    assert bench.alerts[0].onset_at == start + timedelta(seconds=100 / RATE_HZ)


def test_times_of_a_live_source_are_those_of_arrival(bench: Bench) -> None:
    index = 10_000_000  # the device has counted for a long time
    bench.run(ScriptedSource(block(index, 9.0), bench.stop.set, finite=False))
    assert abs((bench.alerts[0].onset_at - datetime.now(UTC)).total_seconds()) < 20.0


def test_a_device_that_counts_from_zero_again_keeps_the_right_time(bench: Bench) -> None:
    source = ScriptedSource(
        block(10_000_000), block(0), block(50, 9.0), bench.stop.set, finite=False
    )
    bench.run(source)
    assert abs((bench.alerts[0].onset_at - datetime.now(UTC)).total_seconds()) < 20.0


def test_other_models_are_used_between_two_blocks(bench: Bench) -> None:
    class Updated(FieldModels):
        """Has an update before the third block."""

        offered: ClassVar[list[Models | None]] = [None, Models(), None]

        def update(self) -> Models | None:
            return self.offered.pop(0)

    source = ScriptedSource(block(0, 9.0), block(50), block(100))
    bench.run(source, models=Updated(Models()))
    (monitor,) = bench.monitors
    assert monitor.used == [(100, Models())]
    assert bench.phases() == [("pause", "onset"), ("pause", "end")]


def test_pressure_of_the_outbox_is_passed_to_the_monitor(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.outbox, "pressure", lambda: Pressure(True, 9, 10, 3))
    bench.run(ScriptedSource(block(0), block(50)))
    (monitor,) = bench.monitors
    assert monitor.pressures == [(9, 3, 10)] * 2


class FakeWall:
    """A clock of the gateway that stands in 1970 until it is set."""

    is_set = False

    def __init__(self) -> None:
        self.pending: float | None = None

    def step(self) -> float | None:
        step, self.pending = self.pending, None
        return step


@pytest.mark.parametrize("ended", [False, True])
def test_alerts_made_before_the_clock_is_set_say_so_and_are_put_right(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, *, ended: bool
) -> None:
    wall, epoch = FakeWall(), datetime(1970, 1, 1, 0, 1, tzinfo=UTC)
    set_to = datetime(2026, 3, 1, tzinfo=UTC)
    step_s = (set_to - epoch).total_seconds()
    monkeypatch.setattr(agent_module, "WallClock", lambda: wall)

    class Timed(ScriptedSource):
        def read(self, timeout_s: float) -> SampleBlock | None:
            got = super().read(timeout_s)
            if got is not None:
                zero = set_to if FakeWall.is_set else epoch
                self.stop_utc = zero + timedelta(seconds=got.stop_index / RATE_HZ)
            return got

    def end() -> None:
        if ended:
            bench.reports.append(bench.reports[-1]._replace(alerts=[]))
            monitor = bench.monitors[0]
            monitor.lost, monitor.open = monitor.open.pop(), []

    def ntp() -> None:
        monkeypatch.setattr(FakeWall, "is_set", True)
        wall.pending = step_s

    source = Timed(
        *(block(0, 9.0), end, block(50), ntp, block(100), block(150, 9.0), bench.stop.set),
        finite=False,
    )
    bench.run(source)
    documents = bench.outbox.waiting(100)
    alerts = [decode_alert(row.document) for row in documents]
    first = [alert for alert in alerts if alert.alert_id == alerts[0].alert_id]
    assert [alert.clock for alert in first] == ["unsynchronised"] * (1 + ended) + ["corrected"]
    assert first[-1].phase is (Phase.END if ended else Phase.UPDATE)
    assert [alert.sequence for alert in first] == list(range(1, len(first) + 1))
    assert first[-1].onset_at - first[0].onset_at == timedelta(seconds=step_s)
    assert [event[0] for event in bench.monitors[0].events] == ["clock_step"]
    (later,) = [alert for alert in alerts if alert.alert_id != alerts[0].alert_id]
    assert later.clock == "synchronised"
    assert abs(later.detected_at - set_to) < timedelta(seconds=3)


def test_after_a_correction_the_sequence_of_an_alert_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall = FakeWall()
    monkeypatch.setattr(agent_module, "WallClock", lambda: wall)

    def end() -> None:
        monitor = bench.monitors[0]
        monitor.lost = monitor.open.pop()

    steps = (block(0, 9.0), lambda: setattr(wall, "pending", 60.0), block(50), end, block(100))
    bench.run(ScriptedSource(*steps, bench.stop.set, finite=False))
    alerts = [decode_alert(row.document) for row in bench.outbox.waiting(100)]
    assert [(alert.sequence, str(alert.phase)) for alert in alerts] == [
        *((1, "onset"), (2, "update"), (3, "end")),
    ]


@pytest.mark.parametrize("finite", [True, False])
@pytest.mark.parametrize("factor", [1000.0, 1.0])
def test_a_stream_that_is_no_plausible_ecg_raises_an_alarm(
    bench: Bench, factor: float, *, finite: bool
) -> None:
    spikes = np.zeros((round(11 * RATE_HZ), 1))
    spikes[:: round(RATE_HZ)] = factor
    source = ScriptedSource(SampleBlock(SPEC, 0, spikes), bench.stop.set, finite=finite)
    bench.run(source)
    raised = [(event[0], event[2]) for event in bench.monitors[0].events]
    assert raised == ([("implausible_signal", "I")] if factor > 1 else [])
