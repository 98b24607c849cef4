"""What `tocsin setup` tries before an agent runs: samples of its source, and an alert of its own.

The test alert is a scripted asystole: an agent, its monitor and its delivery make it, with the
names, the broker and the chain of the configuration. Receivers show it as synthetic and as a test.
"""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

import msgspec

from tocsin_agent.config.config import Config
from tocsin_agent.delivery.memory import MemoryStore
from tocsin_agent.delivery.settings import ReceiptSettings
from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.messages.alert import Key
from tocsin_agent.runtime.assembly import Assembly
from tocsin_agent.runtime.source import build_source
from tocsin_agent.sources.base import EndOfStream
from tocsin_agent.sources.settings import SourceSettings
from tocsin_agent.updates.field import FieldModels
from tocsin_agent.updates.settings import ModelSettings

_SCRIPT = """
name = "test_alert_{stamp}"
rate_hz = 250
leads = ["II"]

[[segments]]
seconds = 12

[[segments]]
rhythm = "asystole"
seconds = 10
"""
_LOOK_S = 0.2


class Seen(NamedTuple):
    """What became of the test alert."""

    published: bool
    """The broker has acknowledged it."""
    shown: bool
    """A receiver that sends receipts has shown it."""
    accepted_by: str | None
    """Who accepted it; None if nobody did in time."""


def samples_of(settings: SourceSettings, wait_s: float) -> str:
    """Open the source, wait for its first samples, and return what they are, in words.

    Raises
    ------
    SourceError
        If it cannot be opened, or sends nothing within `wait_s`.
    """
    until_s = time.monotonic() + wait_s
    with build_source(settings) as source:
        while time.monotonic() < until_s:
            try:
                block = source.read(_LOOK_S)
            except EndOfStream:
                break
            if block is not None:
                spec = block.spec
                leads = ", ".join(spec.leads) or "no ECG"
                return f"{spec.stream_id}: {leads} at {spec.rate_hz:g} Hz"
        why = source.why_silent() or "it is open, and sends nothing"
    raise SourceError(SourceFault.LOST, f"no samples within {wait_s:g} s: {why}")


def send_test_alert(config: Config, wait_s: float) -> Seen:
    """Send a test alert as the agent would, and wait until somebody has accepted it.

    Parameters
    ----------
    config : Config
        Of the agent, which must not run: both would have one client id.
    wait_s : float
        The longest wait.
    """
    published = threading.Event()
    until_s = time.monotonic() + wait_s
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "test.toml"
        script.write_text(_SCRIPT.format(stamp=f"{time.time_ns():x}"), encoding="utf-8")
        test = msgspec.structs.replace(
            config,
            source=SourceSettings(uri=str(script), speed="max"),
            receipts=ReceiptSettings(expected=True),
            model=ModelSettings(),
            location=f"TEST {config.who.location or ''}".strip(),
            patient=msgspec.structs.replace(config.who, location=None),
        )
        store = MemoryStore()

        def on_delivered(_: Key) -> None:
            published.set()

        models = FieldModels.from_settings(test.model, Path(folder) / "none.db")
        assembly = Assembly(test, models, store, publish=True, on_delivered=on_delivered)
        with assembly:
            assembly.agent().run(threading.Event())
            accepted_by = None
            while accepted_by is None and time.monotonic() < until_s:
                time.sleep(_LOOK_S)
                kept = store.answers.load()
                accepted_by = next((k.alert.holder for k in kept if k.alert.holder), None)
            publisher = assembly.publisher
            unconfirmed = publisher is None or publisher.health().unconfirmed > 0
    sent = published.is_set()
    return Seen(sent, sent and not unconfirmed, accepted_by)
