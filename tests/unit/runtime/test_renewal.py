"""The thread that looks after the certificate of a gateway."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from support.programs import PATIENCE_S
from tocsin_agent.identity.certificates import Certificate
from tocsin_agent.identity.store import IdentityStore
from tocsin_agent.runtime import renewal
from tocsin_agent.runtime.renewal import Renewal


class Store(IdentityStore):
    """Has no certificate, and states that it was looked at."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.looked = threading.Event()

    def current(self) -> Certificate | None:
        self.looked.set()
        return None


def test_answers_that_nobody_asked_for_do_not_delay_the_look_at_the_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "_FIRST_LOOK_S", 0.2)
    store, ending = Store(tmp_path), threading.Event()
    watched = Renewal(
        store, lambda _: None, raise_fault=lambda _: None, clear_fault=lambda *_: None
    )

    def flood() -> None:
        while not ending.wait(0.01):
            watched.take(b"{}")

    watched.take(b"{}")
    flooding = threading.Thread(target=flood)
    flooding.start()
    try:
        with watched:
            assert store.looked.wait(PATIENCE_S)
    finally:
        ending.set()
        flooding.join()
