"""`tocsin run` as a program: a signal that comes early, and root."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from support.programs import PATIENCE_S
from tocsin_agent.cli import common
from tocsin_agent.cli.run import command

EARLY = """
import os, signal, sys, threading, time
from tocsin_agent.runtime import gateway

class Early(gateway.Gateway):
    def __init__(self, *arguments):
        os.kill(os.getpid(), signal.SIGHUP)  # before anybody listens
        super().__init__(*arguments)

    def reload(self):
        print("read again", flush=True)
        os.kill(os.getpid(), signal.SIGTERM)
        return super().reload()

    def run(self, stop):
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        super().run(stop)

    def __exit__(self, *exc):
        super().__exit__(*exc)
        os.kill(os.getpid(), signal.SIGHUP)  # nobody listens any more
        print("ended", flush=True)

gateway.Gateway = Early
from tocsin_agent.cli import main
sys.argv = ["tocsin", "run", "--config", sys.argv[1]]
main()
"""


def test_a_reload_while_it_starts_or_stops_does_not_end_it(tmp_path: Path) -> None:
    beds = "".join(f'[[patient]]\ndevice = "{n}"\nsource = {{ uri = "synthetic" }}\n' for n in "ab")
    config = tmp_path / "beds.toml"
    config.write_text(f'site = "ward3"\n[outbox]\npath = "{tmp_path}/outbox.db"\n{beds}')
    done = subprocess.run(
        [sys.executable, "-c", EARLY, str(config)],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.stdout.split("\n") == ["read again", "ended", ""], done.stderr
    assert done.returncode == 0


def test_a_signal_that_waits_does_not_outlive_the_agent() -> None:
    before = signal.getsignal(signal.SIGHUP)
    with common.holding_sighup():
        signal.raise_signal(signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is before
    assert signal.SIGHUP not in signal.sigpending()


def test_root_goes_on_as_the_user_of_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root would own the files of the outbox and of the slots, and run what that user wrote."""
    asked: list[Path] = []
    monkeypatch.setattr(common, "become_the_user", asked.append)
    done = CliRunner().invoke(command, ["--config", str(tmp_path / "none.toml")])
    assert done.exit_code
    assert asked == [tmp_path / "none.toml"]
