"""Metrics of `tocsin run` on a real broker, scraped as Prometheus does."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from support.brokers import Mosquitto, free_port, until
from support.programs import PATIENCE_S, child_environment

pytestmark = pytest.mark.broker


def test_a_running_agent_serves_its_figures(tmp_path: Path, mosquitto: Mosquitto) -> None:
    port, config = free_port(), tmp_path / "tocsin.toml"
    config.write_text(
        f"""
        site = "ward3"
        device = "bed7"
        [source]
        uri = "udp://127.0.0.1:{free_port()}"
        [mqtt]
        host = "127.0.0.1"
        port = {mosquitto.port}
        [outbox]
        path = "{tmp_path / "o.db"}"
        [metrics]
        port = {port}
        """
    )
    command = [sys.executable, "-m", "tocsin_agent", "run", "--config", str(config)]

    def figures() -> dict[str, float]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
                text = answer.read().decode()
        except OSError:
            return {}
        samples = [s for f in text_string_to_metric_families(text) for s in f.samples]
        assert {s.labels.pop("device") for s in samples} == {"bed7"}
        return {
            s.name + "".join(s.labels[name] for name in sorted(s.labels)): s.value for s in samples
        }

    process = subprocess.Popen(command, env=child_environment(), cwd=tmp_path)
    try:
        until(lambda: figures().get("tocsin_delivered_total", 0) >= 1)  # counted last
        known = figures()
        assert known["tocsin_delivery_delay_seconds_count"] >= 1
        assert known["tocsin_alerts_totalsource_lostmediumonset"] == 1
        assert known["tocsin_source_lost"] == 1
        assert known["tocsin_broker_stateonline"] == 1
        assert known["tocsin_outbox_pending"] == 0
        mosquitto.stop()
        until(lambda: figures().get("tocsin_broker_stateonline") == 0)
        mosquitto.start()
        until(lambda: figures().get("tocsin_reconnects_total", 0) >= 1)
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
