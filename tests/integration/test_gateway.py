"""Several patients in one process, at a real broker."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.brokers import Mosquitto, Recorder, quick, until
from support.programs import PATIENCE_S
from tocsin_agent.config.config import Config
from tocsin_agent.config.several import load_patients
from tocsin_agent.delivery.publisher import Publisher
from tocsin_agent.messages.alert import Alert
from tocsin_agent.messages.status import decode_status
from tocsin_agent.messages.topics import Branch
from tocsin_agent.messages.waveform import decode_waveform
from tocsin_agent.monitor.patient import PatientMonitor
from tocsin_agent.monitor.report import Report as PatientReport
from tocsin_agent.runtime.agent import Agent
from tocsin_agent.runtime.assembly import Assembly, Store
from tocsin_agent.runtime.gateway import Gateway, Patient
from tocsin_agent.runtime.metrics import AllMetrics
from tocsin_agent.runtime.supervision import ServiceManager, Supervisor
from tocsin_agent.updates.field import FieldModels
from tocsin_dsp.errors import SignalError, SignalFault
from tocsin_dsp.signal import SampleBlock

pytestmark = pytest.mark.broker


def configuration(folder: Path, port: int, *devices: str, speed: str = "60") -> Path:
    path = folder / "gateway.toml"
    common = f"""
site = "ward3"
[mqtt]
host = "127.0.0.1"
port = {port}
[outbox]
path = "{folder}/outbox.db"
[escalation]
repeat_s = 86400
"""
    patients = "".join(
        f"""
[[patient]]
device = "{device}"
location = "Bed {device[-1]}"
source = {{ uri = "synthetic:all_alarms", speed = {speed!r} }}
"""
        if speed == "max"
        else f"""
[[patient]]
device = "{device}"
location = "Bed {device[-1]}"
source = {{ uri = "synthetic:all_alarms", speed = {speed} }}
"""
        for device in devices
    )
    path.write_text(common + patients)
    return path


@contextmanager
def running(path: Path) -> Iterator[Gateway]:
    stop = threading.Event()
    gateway = Gateway(load_patients(path), lambda: load_patients(path))
    with gateway:
        thread = threading.Thread(target=gateway.run, args=(stop,), name="gateway", daemon=True)
        thread.start()
        try:
            yield gateway
        finally:
            stop.set()
            thread.join(PATIENCE_S)


def alerts(recorder: Recorder, device: str) -> list[Alert]:
    return [one for one in recorder.team() if one.device == device]


def physiological(found: list[Alert]) -> list[tuple[str, str, int, int]]:
    return [
        (one.code, one.phase, one.onset_index, one.detected_index)
        for one in found
        if one.kind == "physiological"
    ]


def bad_signal() -> SignalError:
    return SignalError(SignalFault.RATE, "injected")


def monitoring() -> bool:
    return any(thread.name == "gateway" for thread in threading.enumerate())


def test_two_patients_have_the_alerts_of_two_single_runs(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    (single := tmp_path / "single").mkdir()
    with Recorder(quick(mosquitto.port)) as recorder:
        with running(configuration(tmp_path, mosquitto.port, "bed-1", "bed-2", speed='"max"')):
            until(lambda: not monitoring(), what="both recordings end")
        (path := single / "one.toml").write_text(
            f"""
site = "ward3"
device = "bed-9"
[source]
uri = "synthetic:all_alarms"
speed = "max"
[mqtt]
host = "127.0.0.1"
port = {mosquitto.port}
[outbox]
path = "{single}/outbox.db"
[escalation]
repeat_s = 86400
"""
        )
        with running(path):
            until(lambda: not monitoring(), what="the recording ends")
        devices = ("bed-1", "bed-2", "bed-9")

        def are_the_same() -> bool:
            first, second, alone = (sorted(physiological(alerts(recorder, d))) for d in devices)
            return len(alone) > 10 and first == second == alone

        until(are_the_same, what="the alerts of both are those of the single run")


def test_a_monitor_that_raises_is_started_again_alone(
    tmp_path: Path, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed, left = PatientMonitor.push, [3]

    def push(self: PatientMonitor, block: SampleBlock) -> PatientReport:
        if threading.current_thread().name == "tocsin-bed-1" and left:
            left[0] -= 1
            if not left[0]:
                left.clear()
                raise RuntimeError("injected")
        return pushed(self, block)

    monkeypatch.setattr(PatientMonitor, "push", push)
    with (
        Recorder(quick(mosquitto.port)) as recorder,
        running(configuration(tmp_path, mosquitto.port, "bed-1", "bed-2")) as gateway,
    ):
        until(
            lambda: any(one.code == "monitor_failed" for one in alerts(recorder, "bed-1")),
            what="it is raised for its patient",
        )
        failed = next(o for o in alerts(recorder, "bed-1") if o.code == "monitor_failed")
        assert "RuntimeError" in failed.text
        until(lambda: physiological(alerts(recorder, "bed-1")), what="it monitors again")
        assert all(one.code != "monitor_failed" for one in alerts(recorder, "bed-2"))
        assert all(patient.alive for patient in gateway.patients)


@pytest.mark.parametrize("error", [RuntimeError("injected"), MemoryError(), bad_signal()])
def test_a_monitor_that_always_fails_is_raised_all_the_same(
    tmp_path: Path, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    pushed = PatientMonitor.push

    def push(self: PatientMonitor, block: SampleBlock) -> PatientReport:
        if threading.current_thread().name == "tocsin-bed-1":
            raise error
        return pushed(self, block)

    monkeypatch.setattr(PatientMonitor, "push", push)
    with (
        Recorder(quick(mosquitto.port)) as recorder,
        running(configuration(tmp_path, mosquitto.port, "bed-1", "bed-2")) as gateway,
    ):
        until(
            lambda: any(one.code == "monitor_failed" for one in alerts(recorder, "bed-1")),
            what="it is raised",
        )
        until(lambda: physiological(alerts(recorder, "bed-2")), what="the other is monitored")
        assert gateway.patients[0].alive, "it is tried again"
        assert gateway.followed()


@pytest.mark.parametrize("raises", [False, True])
def test_a_monitor_that_stands_still_is_replaced_alone(
    tmp_path: Path, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch, raises: bool
) -> None:
    pushed, stuck, go = PatientMonitor.push, threading.Event(), threading.Event()

    def push(self: PatientMonitor, block: SampleBlock) -> PatientReport:
        if threading.current_thread().name == "tocsin-bed-1" and not stuck.is_set():
            stuck.set()
            go.wait(PATIENCE_S)
            if raises:
                raise RuntimeError("injected, after another thread took its place")
        return pushed(self, block)

    monkeypatch.setattr(PatientMonitor, "push", push)
    with (
        Recorder(quick(mosquitto.port)) as recorder,
        running(configuration(tmp_path, mosquitto.port, "bed-1", "bed-2")) as gateway,
    ):
        assert stuck.wait(PATIENCE_S)
        replaced: list[str] = []
        # Its own only: another thread may wait for seconds on a busy machine.
        pulses = [
            pulse._replace(most_s=2.0)
            for pulse in gateway.pulses()
            if pulse.what == "monitoring of bed-1"
        ]
        with Supervisor(
            ServiceManager({}), lambda: pulses, replace=replaced.append, restart=gateway.restart
        ):
            until(lambda: any(o.code == "monitor_failed" for o in alerts(recorder, "bed-1")))
        assert replaced == []
        until(lambda: any(o.code == "monitor_failed" for o in alerts(recorder, "bed-1")))
        go.set()  # the thread that was left behind turns again, and commits nothing
        until(
            lambda: (
                not any(
                    t.name == "tocsin-bed-1" and t is not gateway.patients[0]._thread
                    for t in threading.enumerate()
                )
            ),
            what="it ends",
        )
        until(lambda: physiological(alerts(recorder, "bed-1")))
        assert not gateway.restart("delivery of bed-1"), "the process is replaced for that"


def test_all_patients_are_stopped_at_once(
    tmp_path: Path, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped, both, met = Publisher.stop, threading.Barrier(2), list[bool]()

    def stop(self: Publisher, drain_s: float = 5.0) -> bool:
        if len(met) < 2:
            both.wait(PATIENCE_S)  # broken, and an error, if one waits for the other to end
            met.append(True)
        return stopped(self, drain_s)

    with running(configuration(tmp_path, mosquitto.port, "bed-1", "bed-2")):
        monkeypatch.setattr(Publisher, "stop", stop)
    assert met == [True, True]


def test_the_figures_of_each_patient_have_its_name(tmp_path: Path, mosquitto: Mosquitto) -> None:
    with running(configuration(tmp_path, mosquitto.port, "bed-1", "bed-2")) as gateway:
        metrics = AllMetrics(gateway.metrics)

        def analysed() -> dict[str, float]:
            return {
                sample.labels["device"]: sample.value
                for family in metrics.collect()
                for sample in family.samples
                if sample.name == "tocsin_blocks_total"
            }

        until(lambda: len(analysed()) == 2 and min(analysed().values()) > 0)


def test_each_patient_has_a_status_of_its_own(tmp_path: Path, mosquitto: Mosquitto) -> None:
    with Recorder(quick(mosquitto.port)) as recorder:
        with running(configuration(tmp_path, mosquitto.port, "bed-1", "bed-2")):
            until(lambda: len(recorder.payloads(Branch.STATUS)) >= 2)
        until(
            lambda: (
                [decode_status(p).state for p in recorder.payloads(Branch.STATUS)][-2:]
                == ["stopped", "stopped"]
            )
        )


def states(recorder: Recorder, device: str) -> list[str]:
    found = [decode_status(payload) for payload in recorder.payloads(Branch.STATUS)]
    return [status.state for status in found if status.device == device]


def agents(gateway: Gateway) -> dict[str, Agent]:
    found = {patient.name: patient.assembly.current_agent for patient in gateway.patients}
    return {name: agent for name, agent in found.items() if agent is not None}


def test_only_the_patients_that_a_file_changes_begin_again(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    path = configuration(tmp_path, mosquitto.port, "bed-1", "bed-2", "bed-3", speed="1")
    with Recorder(quick(mosquitto.port)) as recorder, running(path) as gateway:
        until(lambda: len(agents(gateway)) == 3)
        before, threads = agents(gateway), {p.name: p._thread for p in gateway.patients}
        configuration(tmp_path, mosquitto.port, "bed-1", "bed-2", "bed-4", speed="1")
        path.write_text(path.read_text().replace('location = "Bed 2"', 'location = "Ward 9"'))
        gateway.request_reload()
        until(lambda: "bed-4" in agents(gateway), what="the added one is monitored")
        until(lambda: states(recorder, "bed-3")[-1:] == ["stopped"], what="the removed one is not")
        until(lambda: states(recorder, "bed-4")[-1:] == ["online"])
        until(lambda: states(recorder, "bed-2")[-2:] == ["stopped", "online"])
        after = agents(gateway)
        assert set(after) == {"bed-1", "bed-2", "bed-4"}
        assert after["bed-1"] is before["bed-1"], "undisturbed"
        assert {p.name: p._thread for p in gateway.patients}["bed-1"] is threads["bed-1"]
        assert after["bed-2"] is not before["bed-2"], "what changed needs a new monitor"
        assert states(recorder, "bed-1") == ["online"]
        assert set(gateway.metrics()) == set(after)
        assert {p.what for p in gateway.pulses()} >= {"monitoring of bed-4"}


def open_codes(patient: Patient) -> set[str]:
    return {alert.code for alert in patient.outbox.open_documents()}


def test_alerts_that_are_open_when_their_bed_is_removed_are_named_in_the_log(
    tmp_path: Path, mosquitto: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    script = tmp_path / "fibrillation.toml"
    script.write_text(
        'name = "f"\nrate_hz = 250\nleads = ["II"]\nsegments = [{ seconds = 12 }, '
        '{ seconds = 3600, rhythm = "ventricular_fibrillation" }]\n'
    )
    path = configuration(tmp_path, mosquitto.port, "bed-1", "bed-2", speed="4")
    text = path.read_text()
    one, _, two = text.rpartition("synthetic:all_alarms")
    path.write_text(one + str(script) + two)
    with running(path) as gateway:
        fibrillating = gateway.patients[1]
        until(lambda: "ventricular_fibrillation" in open_codes(fibrillating))
        path.write_text(text[: text.rindex("[[patient]]")])
        assert gateway.reload()
    assert "bed-2 is removed while alerts are open (ventricular_fibrillation" in caplog.text


def test_a_bed_that_could_not_begin_begins_with_the_next_file_and_the_others_begin(
    tmp_path: Path, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, failing = Assembly.__init__, {"bed-2": True}

    def make(
        self: Assembly, config: Config, models: FieldModels, store: Store, **more: bool
    ) -> None:
        if failing.pop(config.device, False):
            raise RuntimeError("injected")
        made(self, config, models, store, **more)  # type: ignore[arg-type]

    path = configuration(tmp_path, mosquitto.port, "bed-1", "bed-9", speed="1")
    with running(path) as gateway:
        until(lambda: len(agents(gateway)) == 2)
        monkeypatch.setattr(Assembly, "__init__", make)
        configuration(tmp_path, mosquitto.port, "bed-1", "bed-2", "bed-3", speed="1")
        assert gateway.reload()
        assert [patient.name for patient in gateway.patients] == ["bed-1", "bed-3"]
        assert gateway.reload()
        assert [patient.name for patient in gateway.patients] == ["bed-1", "bed-3", "bed-2"]


def test_a_bed_whose_source_failed_begins_again_with_the_same_file(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    path = configuration(tmp_path, mosquitto.port, "bed-1", "bed-2", speed="4")
    recording = tmp_path / "recording.toml"
    one, _, two = path.read_text().rpartition("synthetic:all_alarms")
    path.write_text(one + str(recording) + two)

    def failed() -> bool:
        return any(
            patient.name == "bed-2" and patient.failure is not None and not patient.alive
            for patient in gateway.patients
        )

    with Recorder(quick(mosquitto.port)) as recorder, running(path) as gateway:
        until(failed, what="it is not monitored any more")
        before = agents(gateway)["bed-1"]
        assert gateway.reload(), "a source that still fails refuses nothing"
        until(failed, what="it failed again")
        recording.write_text(
            'name = "f"\nrate_hz = 250\nleads = ["II"]\nsegments = [{ seconds = 3600 }]\n'
        )
        assert gateway.reload()
        until(lambda: states(recorder, "bed-2")[-1:] == ["online"], what="it is monitored again")
        assert all(patient.alive for patient in gateway.patients)
        thread = gateway.patients[1]._thread
        assert gateway.reload()
        assert gateway.patients[1]._thread is thread, "undisturbed"
        assert agents(gateway)["bed-1"] is before
        until(
            lambda: any(
                one.code == "monitor_failed" and "not monitored any more" in one.text
                for one in alerts(recorder, "bed-2")
            )
        )


def test_what_can_change_while_monitoring_does_without_a_new_monitor(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    path = configuration(tmp_path, mosquitto.port, "bed-1", "bed-2", speed="1")
    with running(path) as gateway:
        until(lambda: len(agents(gateway)) == 2)
        before = agents(gateway)
        path.write_text(path.read_text().replace("repeat_s = 86400", "repeat_s = 20"))
        assert gateway.reload()
        assert agents(gateway) == before
        assert gateway.patients[0].config.escalation.repeat_s == 20
        assert gateway.reload(), "the same again changes nothing"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("[[patient]]", "[[patient]"), "not TOML"),
        (('device = "bed-2"', 'device = "bed-1"'), "two [[patient]] have the device"),
        (("synthetic:all_alarms", "nowhere/100"), "bed-1: source.uri"),
        (("[mqtt]", "[supervision]\nstall_s = 99\n[mqtt]"), "supervision.stall_s can change"),
        (('device = "bed-2"', 'device = "bed-3"\nlevl = 1'), "levl"),
    ],
)
def test_a_file_that_does_not_apply_changes_no_patient_and_is_raised(
    tmp_path: Path,
    mosquitto: Mosquitto,
    caplog: pytest.LogCaptureFixture,
    change: tuple[str, str],
    why: str,
) -> None:
    path = configuration(tmp_path, mosquitto.port, "bed-1", "bed-2", speed="1")
    text = path.read_text()
    with Recorder(quick(mosquitto.port)) as recorder, running(path) as gateway:
        until(lambda: len(agents(gateway)) == 2)
        before = agents(gateway)
        path.write_text(text.replace(*change, 1))
        assert not gateway.reload()
        assert agents(gateway) == before
        assert why in caplog.text
        for device in before:
            until(
                lambda d=device: any(  # type: ignore[misc]
                    one.code == "configuration_refused" for one in alerts(recorder, d)
                )
            )
        path.write_text(text)
        assert gateway.reload()
        assert agents(gateway) == before


def test_the_live_ecg_of_each_patient_has_its_own_topics(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    path = configuration(tmp_path, mosquitto.port, "bed-1", "bed-2", speed="1")
    path.write_text(path.read_text().replace("[mqtt]", '[waveform]\nleads = ["II"]\n[mqtt]', 1))
    with Recorder(quick(mosquitto.port), "tocsin/v1/ward3/+/waveform/+") as recorder, running(path):

        def topics() -> set[str]:
            return {message.topic for message in list(recorder.messages)}

        both = {f"tocsin/v1/ward3/{bed}/waveform/II" for bed in ("bed-1", "bed-2")}
        until(lambda: topics() >= both)
        assert topics() == both
    pieces = {m.topic: decode_waveform(m.payload) for m in recorder.messages}
    assert {piece.device for piece in pieces.values()} == {"bed-1", "bed-2"}
    assert all(piece.device in topic and piece.samples for topic, piece in pieces.items())
