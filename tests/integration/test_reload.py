"""SIGHUP at a running agent: another broker, a bad file, a key that needs a restart."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.brokers import Mosquitto, Recorder, free_port, quick, until
from support.programs import PATIENCE_S, child_environment
from tocsin_agent.delivery.audit import read_audit
from tocsin_agent.messages.alert import Phase
from tocsin_agent.messages.topics import Branch

pytestmark = pytest.mark.broker


class Agent:
    """`tocsin run` with a device that never sends."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._udp = folder, free_port()
        self.config = folder / "tocsin.toml"
        self._process: subprocess.Popen[bytes] | None = None

    def write(self, port: int, more: str = "", uri: str | None = None) -> None:
        self.config.write_text(
            f"""
            site = "ward3"
            device = "bed7"
            {more}
            [source]
            uri = "{uri or f"udp://127.0.0.1:{self._udp}"}"
            [mqtt]
            host = "127.0.0.1"
            port = {port}
            reconnect_min_s = 0.1
            [outbox]
            path = "{self._folder / "o.db"}"
            """
        )

    def start(self) -> None:
        command = [sys.executable, "-m", "tocsin_agent", "run", "--config", str(self.config)]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                command, env=child_environment(), stderr=log, cwd=self._folder
            )

    def hang_up(self) -> None:
        assert self._process is not None
        assert self._process.poll() is None
        self._process.send_signal(signal.SIGHUP)

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text()

    def stop(self) -> int:
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(PATIENCE_S)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    made = Agent(tmp_path)
    yield made
    made.stop()


def test_a_running_agent_goes_to_another_broker(
    tmp_path: Path, mosquitto: Mosquitto, agent: Agent
) -> None:
    (tmp_path / "second").mkdir()
    second = Mosquitto(tmp_path / "second")
    second.start()
    agent.write(mosquitto.port)
    with (
        ExitStack() as stack,
        Recorder(quick(mosquitto.port)) as old,
        Recorder(quick(second.port)) as new,
    ):
        stack.callback(second.stop)
        agent.start()
        until(lambda: [a for a in old.team() if a.code == "source_lost"])
        agent.write(second.port)
        agent.hang_up()
        until(lambda: new.payloads(Branch.STATUS), what="it is online at the other broker")
        assert b"online" in new.payloads(Branch.STATUS)[-1]
        states = [payload for payload in old.payloads(Branch.STATUS) if b'"offline"' in payload]
        assert states == [], "it disconnected, and was not lost"
        until(lambda: "configuration read again: mqtt.port" in agent.log)
        until(
            lambda: any(
                entry.event == "configuration" and "mqtt.port" in entry.detail
                for entry in read_audit(tmp_path / "o.db")
            ),
            what="the audit trail has it",
        )
        assert agent.stop() == 0
        until(lambda: b"stopped" in new.payloads(Branch.STATUS)[-1])


@pytest.mark.parametrize("wrong", ["invalid", "restart"])
def test_a_configuration_that_does_not_apply_is_raised_and_changes_nothing(
    mosquitto: Mosquitto, agent: Agent, wrong: str
) -> None:
    agent.write(mosquitto.port)

    def raised(phase: Phase) -> bool:
        return any(
            alert.code == "configuration_refused" and alert.phase is phase
            for alert in recorder.team()
        )

    with Recorder(quick(mosquitto.port)) as recorder:
        agent.start()
        until(lambda: [a for a in recorder.team() if a.code == "source_lost"])
        if wrong == "invalid":
            agent.write(free_port(), "levl = 1")
        else:
            agent.write(free_port(), uri="synthetic")
        agent.hang_up()
        until(lambda: raised(Phase.ONSET))
        assert "the running one goes on" in agent.log
        assert ("levl" if wrong == "invalid" else "source.uri") in agent.log
        alert = next(a for a in recorder.team() if a.code == "configuration_refused")
        assert "levl" not in alert.text, "what the file holds stays in the log"
        agent.write(mosquitto.port)
        agent.hang_up()
        until(lambda: "nothing has changed" in agent.log, what="a good file is accepted")
