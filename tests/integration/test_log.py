"""The log of `tocsin run`: nobody reads it, or a program does."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.brokers import Mosquitto, Recorder, free_port, quick, until
from support.programs import PATIENCE_S, child_environment

pytestmark = pytest.mark.broker

_F_SETPIPE_SZ = 1031  # Linux


def start(folder: Path, port: int, stderr: int, *options: str) -> subprocess.Popen[bytes]:
    config = folder / "tocsin.toml"
    config.write_text(
        f"""
        site = "ward3"
        device = "bed7"
        [source]
        uri = "synthetic"
        speed = 20
        [mqtt]
        host = "127.0.0.1"
        port = {port}
        reconnect_min_s = 0.05
        reconnect_max_s = 0.05
        [outbox]
        path = "{folder / "o.db"}"
        """
    )
    command = [sys.executable, "-m", "tocsin_agent", "run", "--config", str(config), *options]
    return subprocess.Popen(command, env=child_environment(), stderr=stderr, cwd=folder)


@pytest.mark.parametrize("form", ["text", "json"])
def test_case_11_nobody_reads_the_log_and_alerts_arrive_all_the_same(
    tmp_path: Path, mosquitto: Mosquitto, form: str
) -> None:
    reads, writes = os.pipe()
    try:
        fcntl.fcntl(writes, _F_SETPIPE_SZ, 4096)
        os.write(writes, b"x" * 4090)
        with Recorder(quick(mosquitto.port)) as recorder:
            process = start(tmp_path, mosquitto.port, writes, "--log-format", form)
            try:
                until(lambda: len(recorder.team()) >= 3, what="alerts are not held up by the log")
                process.send_signal(signal.SIGTERM)
                assert process.wait(PATIENCE_S) == 0, "nor is the stop"
            finally:
                process.kill()
    finally:
        os.close(reads)
        os.close(writes)


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_log_says_each_thing_once_in_the_form_that_was_asked_for(
    tmp_path: Path, form: str
) -> None:
    with (tmp_path / "log").open("wb") as log:
        process = start(tmp_path, free_port(), log.fileno(), "--log-format", form)
        try:
            until(lambda: b"unreachable" in (tmp_path / "log").read_bytes())
            looks = iter(range(400))  # a few seconds, and many attempts
            until(lambda: next(looks) == 399)
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE_S)
        finally:
            process.kill()
    lines = (tmp_path / "log").read_text().splitlines()
    if form == "json":
        records = [json.loads(line) for line in lines]
        assert all({"at", "level", "logger", "message"} <= record.keys() for record in records)
        messages = [record["message"] for record in records]
    else:
        assert all(line[:2] == "20" and line[23] == "Z" for line in lines)
        messages = [line[25:] for line in lines]
    assert any("unreachable" in message for message in messages)
    repeated = [m for m in messages if messages.count(m) > 1]
    assert repeated == [], "attempts that fail for the same reason are one line"
