"""A running agent contacts its broker only, and writes nothing below the home folder.

From version 1.29 on, onnxruntime reports to its maker unless `ORT_DISABLE_TELEMETRY` or `CI` is set
before it is loaded: so the agent runs here without both.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from support.agents import Running
from support.brokers import Mosquitto
from support.firmware import tool
from tocsin_agent.cli import ExitCode

pytestmark = pytest.mark.broker

_SHIM = Path(__file__).resolve().parents[1] / "support" / "connections.c"
_LEFT_OUT = {"CI", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS"}


@pytest.fixture
def shim(tmp_path: Path) -> Path:
    """Return a library that logs the addresses that a process connects to, in native code too."""
    library = tmp_path / "connections.so"
    command = [tool("gcc"), "-O2", "-shared", "-fPIC", str(_SHIM), "-o", str(library), "-ldl"]
    subprocess.run(command, check=True)
    return library


def test_it_contacts_only_its_broker_and_writes_nothing_at_home(
    tmp_path: Path, mosquitto: Mosquitto, shim: Path
) -> None:
    home, contacted = tmp_path / "home", tmp_path / "contacted"
    home.mkdir()
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in _LEFT_OUT and not name.startswith("XDG_")
    }
    environment |= {"HOME": str(home), "LD_PRELOAD": str(shim), "CONNECTIONS_LOG": str(contacted)}
    uri, port = "synthetic:demo", mosquitto.port
    with Running(tmp_path, port, uri=uri, speed='"max"', environment=environment) as agent:
        assert agent.ended(120.0) == ExitCode.OK, agent.log_text()
    assert [str(path.relative_to(home)) for path in home.rglob("*")] == []
    entries = {tuple(line.split()) for line in contacted.read_text().splitlines()}
    addresses = {entry[1:] for entry in entries if entry[0] == "address"}
    names = {entry[1] for entry in entries if entry[0] == "name"}
    assert addresses == {("127.0.0.1", str(port))}
    assert names <= {"127.0.0.1"}
