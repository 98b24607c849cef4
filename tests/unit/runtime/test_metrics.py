"""Metrics: what Prometheus reads is what happened, and no other machine reads it unasked."""

from __future__ import annotations

import socket
import threading
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from support.brokers import free_port
from tocsin_agent.config.config import Config, MetricsSettings, parse_config
from tocsin_agent.delivery.memory import MemoryStore
from tocsin_agent.errors import ConfigError
from tocsin_agent.messages.alert import Alert
from tocsin_agent.mqtt.settings import MqttSettings
from tocsin_agent.runtime.assembly import Assembly
from tocsin_agent.runtime.metrics import Metrics, MetricsServer
from tocsin_agent.runtime.stream import StreamReport
from tocsin_agent.sources.settings import SourceSettings
from tocsin_agent.updates.field import FieldModels
from tocsin_models import load_models

Figures = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def read(server: MetricsServer) -> Figures:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class Run:
    """The shipped excerpt, monitored with metrics; `seconds` is their clock."""

    def __init__(self) -> None:
        self.seconds = 100.0
        self.alerts: list[Alert] = []
        self.beats = self.samples = 0
        self.metrics = Metrics(lambda: self.seconds)
        config = Config(
            site="s", device="d",
            source=SourceSettings(uri="excerpt", speed="max", block_s=30.0),
            mqtt=MqttSettings(host="127.0.0.1", port=free_port()),
        )  # fmt: skip
        models = FieldModels(load_models())
        with Assembly(config, models, MemoryStore(), publish=False) as assembly:
            agent = assembly.agent(on_report=self._report)
            self.metrics.follow(agent, None)
            agent.run(threading.Event())

    def _report(self, report: StreamReport) -> None:
        self.alerts += report.alerts
        self.beats += len(report.report.beats)
        self.samples = report.position
        self.metrics.report(report)


@pytest.fixture(scope="module")
def run() -> Run:
    return Run()


@pytest.fixture
def server(run: Run) -> Iterator[MetricsServer]:
    with MetricsServer(MetricsSettings(port=0), run.metrics) as served:
        yield served


def test_samples_beats_and_alerts_are_those_of_the_run(run: Run, server: MetricsServer) -> None:
    figures = read(server)
    assert figures["tocsin_samples_total", ()] == run.samples
    assert figures["tocsin_blocks_total", ()] > 1
    assert figures["tocsin_block_cpu_seconds_total", ()] > 0
    beats = sum(v for (name, _), v in figures.items() if name == "tocsin_beats_total")
    assert beats == run.beats > 10
    for alert in run.alerts:
        labels = (("code", alert.code), ("priority", alert.priority), ("state", alert.phase))
        same = [
            a
            for a in run.alerts
            if (a.code, a.priority, a.phase) == (alert.code, alert.priority, alert.phase)
        ]
        assert figures["tocsin_alerts_total", labels] == len(same)
    assert run.alerts


def test_the_delay_is_from_the_commit_to_the_acknowledgement(
    run: Run, server: MetricsServer
) -> None:
    name = "tocsin_delivery_delay_seconds"
    assert read(server)[f"{name}_count", ()] == 0
    run.seconds += 0.2
    run.metrics.delivered(run.alerts[0].key)
    run.metrics.delivered(run.alerts[0].key)
    run.metrics.delivered(("0" * 32, 1))
    figures = read(server)
    assert figures[f"{name}_count", ()] == 1
    assert figures[f"{name}_sum", ()] == pytest.approx(0.2)
    assert figures[f"{name}_bucket", (("le", "0.1"),)] == 0
    assert figures[f"{name}_bucket", (("le", "0.25"),)] == 1


def test_no_figure_describes_a_patient(server: MetricsServer) -> None:
    assert not [name for name, _ in read(server) if "rate" in name or "patient" in name]


def test_a_port_in_use_ends_nothing(run: Run) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        settings = MetricsSettings(port=other.getsockname()[1])
        with MetricsServer(settings, run.metrics) as served:
            assert served.port is None


@pytest.mark.parametrize(
    ("host", "more", "refused"),
    [
        ("127.0.0.1", {}, ""),
        ("::1", {}, ""),
        ("0.0.0.0", {}, "can be reached by other machines"),  # noqa: S104 - what is refused
        ("192.0.2.7", {}, "can be reached by other machines"),
        ("0.0.0.0", {"allow_remote": True}, ""),  # noqa: S104 - asked for
        ("localhost", {}, "write an address"),
    ],
)
def test_other_machines_are_let_in_only_if_asked_for(
    host: str, more: dict[str, bool], refused: str
) -> None:
    raw = {"site": "s", "device": "d", "source": {"uri": "excerpt"}}
    raw |= {"metrics": {"host": host, **more}}
    if refused:
        with pytest.raises(ConfigError, match=refused):
            parse_config(raw, "x")
    else:
        assert parse_config(raw, "x").metrics is not None
