"""A running agent under a service manager: fed, stalled, started again, stopped."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.brokers import Mosquitto, Recorder, free_port, quick, until
from support.programs import PATIENCE_S, child_environment
from support.service_manager import Manager

pytestmark = pytest.mark.broker

_PROGRAM = """
import sys, time
from pathlib import Path
from tocsin_agent.runtime.agent import Agent

flag, turn = Path(sys.argv.pop(1)), Agent._report_silence

def stall(self):
    if flag.exists():
        flag.unlink()
        time.sleep(3600)
    turn(self)

Agent._report_silence = stall
from tocsin_agent.cli import cli
cli.main(sys.argv[1:])
"""


@contextmanager
def running(folder: Path, port: int, manager: Manager) -> Iterator[subprocess.Popen[bytes]]:
    config = folder / "tocsin.toml"
    config.write_text(
        f"""
        site = "ward3"
        device = "bed7"
        [source]
        uri = "udp://127.0.0.1:{free_port()}"
        [mqtt]
        host = "127.0.0.1"
        port = {port}
        [outbox]
        path = "{folder / "o.db"}"
        [supervision]
        stall_s = 2.0
        """
    )
    command = [
        sys.executable,
        "-c",
        _PROGRAM,
        str(folder / "stall"),
        "run",
        "--config",
        str(config),
    ]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            command, env=child_environment() | manager.environ, stderr=log, cwd=folder
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(PATIENCE_S)


def fed(manager: Manager) -> bool:
    return "WATCHDOG=1" in manager.received()


def test_a_stalled_monitor_is_raised_and_started_again(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    with (
        Manager(str(tmp_path / "notify")) as manager,
        Recorder(quick(mosquitto.port)) as recorder,
        running(tmp_path, mosquitto.port, manager) as process,
    ):
        until(lambda: fed(manager), what="it is ready, and feeds the watchdog")
        until(lambda: any(a.code == "source_lost" for a in recorder.team()))
        (tmp_path / "stall").touch()
        until(
            lambda: any(
                a.code == "monitor_stalled" and "monitoring stood still" in a.text
                for a in recorder.team()
            ),
            what="the process that took its place raises it",
        )
        assert process.poll() is None, "it has the same process id: nobody had to start it"
        manager.received()
        until(lambda: fed(manager), what="it is fed again")
        assert b"stands still for" in (tmp_path / "log").read_bytes()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
        assert "STOPPING=1" in manager.received()


def test_a_process_that_stands_still_as_a_whole_feeds_nobody(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    with (
        Manager(str(tmp_path / "notify")) as manager,
        running(tmp_path, mosquitto.port, manager) as process,
    ):
        until(lambda: fed(manager))
        process.send_signal(signal.SIGSTOP)
        until(lambda: Path(f"/proc/{process.pid}/stat").read_text().split(") ")[1][0] == "T")
        manager.received()
        looks = iter(range(400))
        until(lambda: next(looks) == 399, what="some seconds pass")
        assert manager.received() == [], "systemd ends it after WatchdogSec"
        process.send_signal(signal.SIGCONT)
        until(lambda: fed(manager), what="it goes on, and is not taken for stalled")
        assert b"stands still for" not in (tmp_path / "log").read_bytes()


def test_the_unit_asks_for_the_watchdog() -> None:
    unit = (Path(__file__).parents[2] / "config/gateway/tocsin.service").read_text()
    assert {"Type=notify", "WatchdogSec=60", "NotifyAccess=main"} <= set(unit.splitlines())
