"""The wiring of an agent from a configuration."""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec
import pytest

from support.agents import keys, replayed
from support.brokers import free_port, until
from support.factories import NOON
from support.keys import make_key
from tocsin_agent import __version__
from tocsin_agent.config.config import Config, config_hash
from tocsin_agent.delivery.memory import MemoryStore
from tocsin_agent.errors import SourceError
from tocsin_agent.messages.context import ContextMessage, PatientContext, encode_context
from tocsin_agent.monitor.patient import PatientMonitor
from tocsin_agent.monitor.rate_only import RateMonitor
from tocsin_agent.monitor.settings import PatientSettings
from tocsin_agent.mqtt.settings import MqttSettings
from tocsin_agent.runtime.assembly import Assembly, describe
from tocsin_agent.runtime.source import build_source
from tocsin_agent.runtime.stream import StreamReport
from tocsin_agent.signing.settings import SigningSettings
from tocsin_agent.sources.files.excerpt import ExcerptSource
from tocsin_agent.sources.pacing import PacedSource
from tocsin_agent.sources.queued import QueuedSource
from tocsin_agent.sources.settings import SourceSettings
from tocsin_agent.updates.field import FieldModels
from tocsin_dsp.signal import StreamSpec
from tocsin_models import load_models


def config(uri: str = "excerpt") -> Config:
    return Config(
        site="s",
        device="d",
        source=SourceSettings(uri=uri, speed="max", block_s=30.0),
        mqtt=MqttSettings(host="127.0.0.1", port=free_port()),
    )


@pytest.fixture(scope="module")
def models() -> FieldModels:
    return FieldModels(load_models())


def test_a_recording_is_paced_unless_it_is_read_as_fast_as_possible() -> None:
    assert isinstance(build_source(SourceSettings(uri="excerpt", speed="max")), ExcerptSource)
    assert isinstance(build_source(SourceSettings(uri="excerpt")), PacedSource)


def test_a_live_source_is_read_through_a_queue() -> None:
    source = build_source(SourceSettings(uri=f"udp://127.0.0.1:{free_port()}"))
    assert isinstance(source, QueuedSource)
    assert not source.finite


def test_an_agent_commits_to_the_store_and_reports(models: FieldModels) -> None:
    store, reports = MemoryStore(), list[StreamReport]()
    with Assembly(config(), models, store, publish=False) as assembly:
        assembly.agent(on_report=reports.append).run(threading.Event())
        assembly.deliver(threading.Event())
    assert assembly.publisher is None
    reported = [alert for report in reports for alert in report.alerts]
    assert keys(store.alerts) == keys(reported) == keys(replayed("excerpt"))
    assert {(alert.site, alert.device) for alert in store.alerts} == {("s", "d")}


def test_an_unknown_source_is_refused_before_anything_runs(models: FieldModels) -> None:
    assembly = Assembly(config(uri="mitdb/none"), models, MemoryStore(), publish=False)
    with pytest.raises(SourceError, match="mitdb/none"):
        assembly.agent()


def test_waiting_for_delivery_ends_when_stopped(models: FieldModels) -> None:
    store, stop = MemoryStore(), threading.Event()
    stop.set()
    store.append(replayed("excerpt")[:1])
    with Assembly(config(), models, store, publish=True) as assembly:
        assembly.deliver(stop)  # nothing listens at the port of the broker
        assert assembly.publisher is not None
        assert not assembly.publisher.drained(0.0)
    assert store.pending() == 1


def test_a_key_that_cannot_be_read_is_raised_until_one_can(
    models: FieldModels, tmp_path: Path
) -> None:
    key = tmp_path / "d.pem"
    given = msgspec.structs.replace(config(), signing=SigningSettings(key_file=str(key)))
    with Assembly(given, models, MemoryStore(), publish=True) as assembly:
        raised = [(fault.code, fault.subject) for fault in assembly.take_faults()]
        assert ("delivery_failed", "key") in raised
        make_key(tmp_path, "d")
        assembly.use(given)
        assert "key" not in [fault.subject for fault in assembly.take_faults()]


def test_keys_of_people_that_cannot_be_read_are_raised_until_they_can(
    models: FieldModels, tmp_path: Path
) -> None:
    people = tmp_path / "people.toml"
    given = msgspec.structs.replace(config(), signing=SigningSettings(people_file=str(people)))
    with Assembly(given, models, MemoryStore(), publish=True) as assembly:

        def raised() -> bool:
            return "people" in [fault.subject for fault in assembly.take_faults()]

        until(raised, what="it is raised, without a broker too")
        people.touch()
        until(lambda: not raised(), what="it ends")


def test_the_info_message_names_version_configuration_models_and_source() -> None:
    models, given = load_models(), config()
    info = describe(given, given.source, models)
    assert (info.version, info.source) == (__version__, "excerpt")
    assert info.configuration == config_hash(given)
    assert info.models == models.hashes


def test_a_change_of_the_context_is_in_the_audit_trail(models: FieldModels) -> None:
    store = MemoryStore()
    assembly = Assembly(config(), models, store, publish=False)
    given = ContextMessage(
        id="1", who="dr-k", role="cardiologist", at=NOON, context=PatientContext(paced=True)
    )
    for payload in (encode_context(given), encode_context(given), b"?"):
        assembly._contexts.feed(payload)
    (entry,) = store.answers.entries
    assert (entry.event, entry.who) == ("context", "dr-k")
    assert '"paced":true' in entry.detail


def test_what_a_context_suppresses_is_in_the_audit_trail(models: FieldModels) -> None:
    """The patient of `all_alarms` has couplets, runs, bigeminy and frequent ventricular beats."""
    store = MemoryStore()
    given = msgspec.structs.replace(
        config("synthetic:all_alarms"), patient=PatientSettings(paced=True)
    )
    Assembly(given, models, store, publish=False).agent().run(threading.Event())
    assert not {alert.code for alert in store.alerts} & {"couplet", "bigeminy", "ventricular_run"}
    details = [e.detail for e in store.answers.entries if e.event == "suppressed"]
    assert {detail.split()[0] for detail in details} >= {"couplet", "bigeminy", "ventricular_run"}
    assert all(detail.endswith("Z: the patient is paced") for detail in details)
    assert len(details) < 40, "one entry an episode, not one a finding"


@pytest.mark.parametrize(("uri", "has_ecg"), [("hr:A0:9E:1A:00:11:22", False), ("excerpt", True)])
def test_info_says_whether_the_source_has_an_ecg(
    uri: str, models: FieldModels, *, has_ecg: bool
) -> None:
    assert describe(config(), SourceSettings(uri=uri), models.models).ecg is has_ecg


def test_a_stream_of_marks_is_monitored_for_its_rate_only(models: FieldModels) -> None:
    assembly = Assembly(config(), models, MemoryStore(), publish=False)
    marks = StreamSpec("hr/1", 250.0, ("RR",), marks_only=True)
    assert isinstance(assembly._build_monitor(marks, models.models), RateMonitor)
    other = StreamSpec("x", 250.0, ("II",))
    assert isinstance(assembly._build_monitor(other, models.models), PatientMonitor)
