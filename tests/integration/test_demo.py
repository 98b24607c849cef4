"""`tocsin demo`: a newcomer's first minute."""

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
        timeout=90,
        check=False,
    )


def test_the_team_sees_every_alert_once() -> None:
    result = demo("--speed", "150", "--json")
    assert result.returncode == 0, result.stderr
    *lines, last = (json.loads(line) for line in result.stdout.splitlines())
    alerts = [line["alert"] for line in lines if line["type"] == "alert"]
    assert len(alerts) == last["committed"] == last["received"] > 0
    assert (last["duplicates"], last["lost"]) == (0, 0)
    assert {a["stream"] for a in alerts if not a["synthetic"]} == {"mitdb/208@422820"}
    assert "ventricular_tachycardia" in {a["code"] for a in alerts if a["synthetic"]}
    assert result.stderr == ""


def test_a_person_reads_what_is_shown_and_how_it_went() -> None:
    result = demo("--speed", "300")
    assert result.returncode == 0, result.stderr
    assert "MIT-BIH record 208, a real patient" in result.stdout
    assert "SYNTHETIC" in result.stdout
    assert "lost" in result.stdout.splitlines()[-2]


def test_another_record_may_be_shown() -> None:
    result = demo("--speed", "300", "--record", "synthetic:demo", "--no-strip")
    assert result.returncode == 0, result.stderr
    assert "SYNTHETIC" in result.stdout


def test_a_record_that_is_not_there_is_said() -> None:
    result = demo("--record", "mitdb/none")
    assert result.returncode == 4
    assert result.stderr.startswith("tocsin: ")


def test_where_somebody_looks_the_heart_beats_and_time_passes() -> None:
    ours, terminal = pty.openpty()
    shown: list[bytes] = []

    def look() -> None:
        try:
            while piece := os.read(ours, 65_536):
                shown.append(piece)
        except OSError:  # what a terminal says when its last writer has gone
            pass

    looker = threading.Thread(target=look)
    looker.start()
    command = (sys.executable, "-m", "tocsin_agent", "demo", "--speed", "300", "--json")
    try:
        result = subprocess.run(
            [*command, "--record", "excerpt"],
            stdout=subprocess.DEVNULL,
            stderr=terminal,
            timeout=90,
            check=False,
        )
    finally:
        os.close(terminal)
        looker.join()
        os.close(ours)
    assert result.returncode == 0
    screen = b"".join(shown).decode()
    assert "♥" in screen
    assert "4:59 of the recording" in screen
    assert screen.endswith("\r\x1b[K"), "and the line is taken away at the end"
