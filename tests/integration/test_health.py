"""`tocsin health` asks a running agent how it is."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from support.brokers import Mosquitto, free_port, until
from support.programs import PATIENCE_S, child_environment
from support.vendors import Vendor
from tocsin_agent.errors import DeliveryError, DeliveryFault
from tocsin_agent.runtime.inquiry import Answer, Inquiry, inquire, socket_of
from tocsin_agent.runtime.local_server import short_address
from tocsin_agent.runtime.tap import tap_of


def tocsin(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tocsin_agent", *arguments],
        cwd=folder,
        env=child_environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@pytest.mark.broker
def test_an_agent_says_how_it_is(tmp_path: Path, mosquitto: Mosquitto) -> None:
    config = tmp_path / "tocsin.toml"
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
        """
    )
    ask = ("health", "--config", str(config))
    absent = tocsin(tmp_path, *ask)
    assert absent.returncode == 1
    assert "no agent answers" in absent.stderr
    run = [sys.executable, "-m", "tocsin_agent", "run", "--config", str(config)]
    process = subprocess.Popen(run, env=child_environment(), cwd=tmp_path)
    try:

        def state() -> str:
            asked = tocsin(tmp_path, *ask, "--json")
            found = json.loads(asked.stdout)
            assert found["healthy"] is (asked.returncode == 0)
            return str((found["health"] or {}).get("state"))

        until(lambda: state() == "online")
        assert tocsin(tmp_path, *ask).stdout.startswith("healthy: broker online")
        mosquitto.stop()
        until(lambda: state() not in {"online", "None"}, what="the agent stays healthy")
        process.send_signal(signal.SIGSTOP)
        stopped = tocsin(tmp_path, *ask)
        assert stopped.returncode == 1
        assert "does not answer" in stopped.stderr
        process.send_signal(signal.SIGCONT)
        until(lambda: tocsin(tmp_path, *ask).returncode == 0)
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.wait(PATIENCE_S)
    assert not socket_of(tmp_path / "o.db").exists()


def test_an_agent_without_a_file_left_answers_when_it_has_one_again(tmp_path: Path) -> None:
    config, log = tmp_path / "tocsin.toml", tmp_path / "log"
    config.write_text(
        f"""
        site = "ward3"
        device = "bed7"
        [source]
        uri = "udp://127.0.0.1:{free_port()}"
        [mqtt]
        host = "127.0.0.1"
        port = {free_port()}
        [outbox]
        path = "{tmp_path / "o.db"}"
        [update]
        folder = "{tmp_path / "slots"}"
        keys = ["{Vendor(tmp_path).public_key}"]
        """
    )
    run = [sys.executable, "-m", "tocsin_agent", "run", "--config", str(config)]
    with log.open("wb") as file:
        process = subprocess.Popen(run, env=child_environment(), cwd=tmp_path, stderr=file)
    places = socket_of(tmp_path / "o.db"), tap_of(tmp_path / "o.db")
    try:
        until(lambda: "no samples for" in log.read_text(), what="all modules are loaded")
        limits = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
        with contextlib.ExitStack() as stack:

            def ask(place: Path) -> socket.socket:
                asking = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                asking.settimeout(PATIENCE_S)
                with short_address(place) as address:
                    asking.connect(address)
                return asking

            for place in places:
                ask(place).close()  # the thread that waits has the file for one connection already
            until(lambda: log.read_text().count("cannot be accepted yet") == len(places))
            waiting = [ask(place) for place in places]
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, limits)
            assert b"healthy" in waiting[0].recv(65536), "who waited gets an answer"
            assert waiting[1].recv(1) == b"\n", "the agent lends its samples again"
        assert inquire(tmp_path / "o.db", PATIENCE_S).healthy
    finally:
        process.terminate()
        assert process.wait(PATIENCE_S) == 0


def test_an_answer_is_given_again_and_again_in_a_deep_folder(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 200)
    folder.mkdir()
    outbox = folder / "o.db"
    why = iter(["", "monitoring stands still"])

    def answer() -> Answer:
        text = next(why)
        return Answer(healthy=not text, why=text, health=None)

    left = socket.socket(socket.AF_UNIX)  # of a killed agent
    before = Path.cwd()
    os.chdir(folder)
    try:
        left.bind(socket_of(outbox).name)
    finally:
        os.chdir(before)
        left.close()
    with Inquiry(outbox, answer):
        assert inquire(outbox) == Answer(healthy=True, why="", health=None)
        assert not inquire(outbox).healthy
        with pytest.raises(DeliveryError) as caught:  # the third answer fails
            inquire(outbox)
        assert caught.value.reason is DeliveryFault.AGENT_UNREACHABLE


def test_a_place_that_cannot_be_used_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Inquiry(tmp_path / "none" / "o.db", lambda: Answer(healthy=True, why="", health=None)):
        assert "gets no answer" in caplog.text
