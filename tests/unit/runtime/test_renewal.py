"""The thread that looks after the certificate of a gateway."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from support.brokers import authority
from support.programs import PATIENCE_S
from tocsin_agent.delivery.faults import Fault
from tocsin_agent.identity import certificates
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
        store, "bed7", lambda _: None, raise_fault=lambda _: None, clear_fault=lambda *_: None
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


class Bed:
    """A patient of a process, and what its renewal sends and raises."""

    def __init__(self, folder: Path, device: str) -> None:
        self.now = datetime.now(UTC)
        self.sent: list[bytes] = []
        self.raised: list[Fault] = []
        self.renewal = Renewal(
            IdentityStore(folder),
            device,
            self.sent.append,
            raise_fault=self.raised.append,
            clear_fault=lambda *_: None,
            utc=lambda: self.now,
        )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of an identity whose certificate lasts a day."""
    ca, store = authority(tmp_path, "site"), IdentityStore(tmp_path / "identity")
    now = datetime.now(UTC)
    signed = certificates.sign(
        store.enrol("bed7", ca.read_bytes()),
        ca.read_bytes(),
        ca.with_suffix(".key").read_bytes(),
        "bed7",
        days=1,
        now=now,
    )
    store.install(signed, now)
    return store.folder


def test_of_beds_with_one_certificate_the_one_that_it_names_asks(folder: Path) -> None:
    beds = [Bed(folder, device) for device in ("bed6", "bed7", "bed8")]
    for bed in beds:
        bed.now += timedelta(hours=23)
        bed.renewal.look()
    assert [len(bed.sent) for bed in beds] == [0, 1, 0]
    assert "the site has not answered" in beds[1].renewal.notices()[0]
    assert "bed7 asks for it" in beds[0].renewal.notices()[0]
    assert [bed.raised[0].code for bed in beds] == ["certificate_ends"] * 3


def test_a_certificate_that_ended_while_nothing_was_reached_says_what_to_do(folder: Path) -> None:
    bed = Bed(folder, "bed7")
    bed.now += timedelta(weeks=5)
    bed.renewal.look()
    assert not bed.sent, "it would be refused"
    (notice,) = bed.renewal.notices()
    assert "it ended on" in notice
    assert "enrol with a new token" in notice
    bed.now -= timedelta(weeks=5)  # the clock was wrong
    bed.renewal.look()
    assert not bed.renewal.notices()
