"""The rules for Prometheus and the dashboard use figures that the agent serves."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path

import prometheus_client
import pytest

from support.brokers import free_port
from tocsin_agent.config.config import Config
from tocsin_agent.delivery.memory import MemoryStore
from tocsin_agent.mqtt.settings import MqttSettings
from tocsin_agent.runtime.assembly import Assembly
from tocsin_agent.runtime.metrics import Metrics
from tocsin_agent.sources.settings import SourceSettings
from tocsin_agent.updates.field import FieldModels
from tocsin_models import load_models

FOLDER = Path(__file__).resolve().parents[3] / "config/gateway/monitoring"


@pytest.fixture(scope="module")
def served() -> set[str]:
    metrics = Metrics()
    config = Config(
        site="s",
        device="d",
        source=SourceSettings(uri="synthetic:sinus", speed="max", block_s=30.0),
        mqtt=MqttSettings(host="127.0.0.1", port=free_port()),
    )
    assembly = Assembly(config, FieldModels(load_models()), MemoryStore(), publish=True)
    agent = assembly.agent(on_report=metrics.report)
    assert assembly.publisher is not None
    metrics.follow(agent, assembly.publisher.health)
    agent.run(threading.Event())
    registry = prometheus_client.CollectorRegistry()
    registry.register(metrics)
    text = prometheus_client.generate_latest(registry).decode()
    names = set(re.findall(r"^(tocsin_\w+)", text, re.MULTILINE))
    return names | set(re.findall(r"^# TYPE (tocsin_\w+)", text, re.MULTILINE))


@pytest.mark.parametrize("name", ["tocsin-rules.yml", "grafana-tocsin.json"])
def test_every_figure_that_is_used_is_served(name: str, served: set[str]) -> None:
    text = (FOLDER / name).read_text()
    used = set(re.findall(r"\btocsin_\w+", text))
    assert len(used) > 8
    assert used <= served


def test_the_dashboard_has_panels_that_do_not_overlap() -> None:
    board = json.loads((FOLDER / "grafana-tocsin.json").read_text())
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]]
    assert len(set(places)) == len(places) >= 10
    assert all(panel["targets"] for panel in board["panels"])
