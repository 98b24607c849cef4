"""Settings that contradict each other are refused, and need no MQTT client to be read."""

from __future__ import annotations

import subprocess
import sys

import pytest

from support.programs import child_environment
from tocsin_agent.mqtt.settings import MqttSettings, TlsSettings


def test_contradictions_are_refused() -> None:
    with pytest.raises(ValueError, match="less than reconnect_min_s"):
        MqttSettings(reconnect_min_s=10.0, reconnect_max_s=1.0)
    with pytest.raises(ValueError, match="must be given together"):
        MqttSettings(tls=TlsSettings(cert_file="x.pem"))
    with pytest.raises(ValueError, match="password_file without username"):
        MqttSettings(password_file="x")  # noqa: S106  # the name of a file


@pytest.mark.parametrize("module", ["mqtt.settings", "delivery.settings", "messages.schema"])
def test_settings_and_messages_load_no_client_and_no_database(module: str) -> None:
    program = (
        f"import sys, tocsin_agent.{module}\n"
        "loaded = {'paho', 'sqlite3', 'onnxruntime', 'socket'} & set(sys.modules)\n"
        "sys.exit(', '.join(loaded) or 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env=child_environment(),
    )
    assert result.returncode == 0, result.stderr
