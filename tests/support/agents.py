"""The program `tocsin run` as its own process, and the alerts that it must raise."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from support.brokers import until
from support.programs import PATIENCE_S
from tocsin_agent.config.config import Config
from tocsin_agent.delivery.memory import MemoryStore
from tocsin_agent.messages.alert import Alert, Key
from tocsin_agent.runtime.assembly import Assembly, Store
from tocsin_agent.sources.settings import SourceSettings
from tocsin_agent.updates.field import FieldModels
from tocsin_models import load_models

SITE, DEVICE = "ward3", "bed7"


def replay(uri: str, store: Store, models: FieldModels | None = None) -> None:
    """Run an agent over a recording, in this process and in large blocks."""
    config = Config(
        site=SITE, device=DEVICE, source=SourceSettings(uri=uri, block_s=30.0, speed="max")
    )
    models = models or FieldModels(load_models())
    Assembly(config, models, store, publish=False).agent().run(threading.Event())


def replayed(uri: str) -> list[Alert]:
    """Return the alerts of a recording, by an agent in this process."""
    store = MemoryStore()
    replay(uri, store)
    return store.alerts


def keys(alerts: Sequence[Alert]) -> list[Key]:
    return [(alert.alert_id, alert.sequence) for alert in alerts]


class Running:
    """One process of `tocsin run`; a context manager that ends it."""

    def __init__(
        self,
        folder: Path,
        port: int,
        *,
        uri: str = "excerpt",
        speed: str = "1.0",
        version: str = "5",
        health_s: float = 0,
        more: str = "",
        repeats: bool = False,
        outbox: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.outbox = outbox or folder / "outbox.db"
        self.log = folder / "agent.log"
        config = folder / "tocsin.toml"
        config.write_text(
            f'site = "{SITE}"\ndevice = "{DEVICE}"\n'
            f'[source]\nuri = "{uri}"\nspeed = {speed}\n'
            f'[mqtt]\nhost = "127.0.0.1"\nport = {port}\nversion = "{version}"\n'
            "keepalive_s = 60\nack_timeout_s = 60\nreconnect_min_s = 0.05\nreconnect_max_s = 0.2\n"
            f"health_s = {health_s}\n"
            f'[outbox]\npath = "{self.outbox}"\n'
            # A busy machine may need longer for a test than the 30 s after which one is repeated.
            + ("" if repeats else "[escalation]\nrepeat_s = 86400.0\n")
            + more,
            encoding="utf-8",
        )
        self._command = [sys.executable, "-m", "tocsin_agent", "run", "--config", str(config)]
        self._environment = environment
        self.process = self._started()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE_S)

    def _started(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(self._command, stdout=log, stderr=log, env=self._environment)

    def start_again(self) -> None:
        """Start another process, after the one before has ended."""
        assert self.process.poll() is not None
        self.process = self._started()

    def pending(self) -> int:
        """Return how many alerts wait in its outbox, read from another process."""
        if not self.outbox.exists():
            return 0
        db = sqlite3.connect(f"file:{self.outbox}?mode=ro", uri=True)
        try:
            return int(db.execute("SELECT COUNT(*) FROM alert WHERE pending = 1").fetchone()[0])
        except sqlite3.OperationalError:  # not made yet
            return 0
        finally:
            db.close()

    def until_pending(self, least: int) -> None:
        until(lambda: self.pending() >= least, what=f"{least} alerts wait")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ended(self, timeout_s: float = PATIENCE_S) -> int:
        return self.process.wait(timeout_s)

    def log_text(self) -> str:
        return self.log.read_text(encoding="utf-8")
