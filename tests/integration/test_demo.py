"""`tocsin demo`."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading


def demo(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tocsin_agent", "demo", *args],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_the_team_receives_each_alert_once() -> None:
    result = demo("--speed", "150", "--json")
    assert result.returncode == 0, result.stderr
    *lines, last = (json.loads(line) for line in result.stdout.splitlines())
    alerts = [line["alert"] for line in lines if line["type"] == "alert"]
    assert len(alerts) == last["committed"] == last["received"] > 0
    assert (last["duplicates"], last["lost"]) == (0, 0)
    assert {a["stream"] for a in alerts if not a["synthetic"]} == {"mitdb/208@422820"}
    assert "ventricular_tachycardia" in {a["code"] for a in alerts if a["synthetic"]}
    assert result.stderr == ""


def test_as_text_it_names_the_record_and_counts_the_alerts() -> None:
    result = demo("--speed", "300")
    assert result.returncode == 0, result.stderr
    assert "MIT-BIH record 208, a real patient" in result.stdout
    assert "SYNTHETIC" in result.stdout
    assert "lost" in result.stdout.splitlines()[-2]


def test_another_record_can_be_shown() -> None:
    result = demo("--speed", "300", "--record", "synthetic:demo", "--no-strip")
    assert result.returncode == 0, result.stderr
    assert "SYNTHETIC" in result.stdout


def test_an_unknown_record_is_an_error() -> None:
    result = demo("--record", "mitdb/none")
    assert result.returncode == 4
    assert result.stderr.startswith("tocsin: ")


def test_on_a_terminal_it_shows_its_progress() -> None:
    ours, terminal = pty.openpty()
    shown: list[bytes] = []

    def read() -> None:
        try:
            while piece := os.read(ours, 65_536):
                shown.append(piece)
        except OSError:  # raised by a terminal after its last writer has closed it
            pass

    reader = threading.Thread(target=read)
    reader.start()
    command = (sys.executable, "-m", "tocsin_agent", "demo", "--speed", "300", "--json")
    try:
        result = subprocess.run(
            [*command, "--record", "excerpt"],
            stdout=subprocess.DEVNULL,
            stderr=terminal,
            timeout=300,
            check=False,
        )
    finally:
        os.close(terminal)
        reader.join()
        os.close(ours)
    assert result.returncode == 0
    screen = b"".join(shown).decode()
    assert "♥" in screen
    assert "4:59 of the recording" in screen
    assert screen.endswith("\r\x1b[K"), "the line is removed at the end"
