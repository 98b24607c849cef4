"""The faults of the campaign. Each is injected, healed, and says how somebody can see it."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

import msgspec

from chaos.ward import SITE, Bed, Ward
from support.brokers import quick
from tocsin_agent.errors import DeliveryError
from tocsin_agent.messages.alert import Key, decode_alert
from tocsin_agent.messages.lease import Lease, LeaseState, encode_lease
from tocsin_agent.messages.topics import Branch
from tocsin_agent.mqtt.connection import Connection

Check: TypeAlias = Callable[[], bool]


@dataclass(frozen=True)
class Injected:
    """What a fault left behind.

    Parameters
    ----------
    seen : callable or None
        True as soon as somebody can see that the fault happened; None where nothing is owed.
    damaged : frozenset of Key
        Alerts whose row was destroyed.
    """

    seen: Check | None = None
    damaged: frozenset[Key] = frozenset()


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Parameters
    ----------
    name : str
    weight : float
        How often it is drawn, against the others.
    seen_as : str
        Where it must be seen.
    inject : callable
        Does it and heals it.
    """

    name: str
    weight: float
    seen_as: str
    inject: Callable[[Ward, random.Random], Injected]


def kill_agent(ward: Ward, chance: random.Random) -> Injected:
    """SIGKILL one agent; start it again after up to a second."""
    bed = chance.choice(ward.beds)
    before = _offline(ward, bed)
    connected = ward.online(bed)
    bed.kill()
    time.sleep(chance.uniform(0.0, 1.0))
    bed.start()
    return Injected((lambda: _offline(ward, bed) > before) if connected else None)


def kill_broker(ward: Ward, chance: random.Random) -> Injected:
    """SIGKILL the broker; start it again after up to two seconds."""
    ward.restart_broker(chance.uniform(0.0, 2.0))
    return Injected(_reconnected(ward))


def kill_receiver(ward: Ward, chance: random.Random) -> Injected:
    """SIGKILL the receiver; start it again after up to two seconds."""
    ward.receiver.kill()
    time.sleep(chance.uniform(0.0, 2.0))
    ward.receiver.start()
    return Injected()


def black_hole(ward: Ward, chance: random.Random) -> Injected:
    """Let nothing pass between the agents and the broker, without an end of the connection."""
    ward.plain.black_hole = ward.tls.black_hole = True
    time.sleep(chance.uniform(9.0, 11.0))
    ward.heal()
    return Injected(_reconnected(ward))


def slow_and_lossy(ward: Ward, chance: random.Random) -> Injected:
    """Delay every piece, and break one connection in twenty pieces."""
    for proxy in (ward.plain, ward.tls):
        proxy.delay_s, proxy.loss = chance.uniform(0.05, 0.3), 0.05
    time.sleep(chance.uniform(6.0, 9.0))
    ward.heal()
    return Injected()


def full_disk(ward: Ward, _: random.Random) -> Injected:
    """Fill the small disk until the first bed has something to commit."""
    bed = ward.beds[0]
    assert ward.small_disk is not None
    filler = ward.small_disk / "filler"
    before = _technical(ward, bed, "outbox_failed")
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    seen = _wait(lambda: _technical(ward, bed, "outbox_failed") > before, 45.0)
    filler.unlink()
    _wait(lambda: _health(ward, bed, "held_in_memory") == 0, 30.0)
    return Injected(lambda: seen)


def flip_bit(ward: Ward, chance: random.Random) -> Injected:
    """Change one bit of a waiting alert in the outbox of an agent that is not running."""
    bed = ward.beds[1 % len(ward.beds)]
    ward.plain.black_hole = ward.tls.black_hole = True
    _wait(lambda: bed.pending() > 0, 60.0)
    bed.kill()
    damaged = _flip(bed, chance)
    before = _technical(ward, bed, "outbox_failed")
    bed.start()
    ward.heal()
    if damaged is None:
        return Injected()
    return Injected(lambda: _technical(ward, bed, "outbox_failed") > before, frozenset([damaged]))


def step_clock(ward: Ward, chance: random.Random) -> Injected:
    """Set the clock of the last bed forward or back by minutes, then right again."""
    bed = ward.beds[-1]
    before = _technical(ward, bed, "clock")
    ward.faketime.write_text(f"{chance.choice('+-')}{chance.randint(60, 900)}s\n", "ascii")
    time.sleep(chance.uniform(5.0, 8.0))
    ward.faketime.write_text("+0s\n", encoding="ascii")
    return Injected(lambda: _technical(ward, bed, "clock") > before)


def expired_certificate(ward: Ward, chance: random.Random) -> Injected:
    """Start the broker again with a certificate that has expired, then with a new one."""
    bed = ward.beds[-1]
    before = bed.log.read_text("utf-8").count("certificate")
    ward.certify("9 days ago", 3)
    ward.restart_broker()
    seen = _wait(lambda: bed.log.read_text("utf-8").count("certificate") > before, 30.0)
    time.sleep(chance.uniform(0.0, 2.0))
    ward.certify("1 hour ago", 2)
    ward.restart_broker()
    return Injected(lambda: seen)


def take_over(ward: Ward, chance: random.Random) -> Injected:
    """Connect with the client id of an agent, several times."""
    bed = chance.choice(ward.beds)
    seen = _reconnected(ward, [bed])
    for _ in range(3):
        stranger = Connection(quick(ward.broker.port), f"tocsin-{SITE}-{bed.name}")
        with contextlib.suppress(DeliveryError):
            stranger.open()
            deadline_s = time.monotonic() + 2.0
            while time.monotonic() < deadline_s:
                stranger.step(0.1)
        stranger.abort()
    return Injected(seen)


def flood(ward: Ward, _: random.Random) -> Injected:
    """Publish leases as fast as one client can, for three seconds."""
    now = datetime.now(UTC)
    lease = Lease(
        role="cardiologist",
        id="flood",
        state=LeaseState.RELEASED,
        issued_at=now,
        expires_at=now + timedelta(seconds=1),
    )
    client = Connection(quick(ward.broker.port), "chaos-flood")
    deadline_s = time.monotonic() + 3.0
    with contextlib.suppress(DeliveryError):
        client.open()
        while time.monotonic() < deadline_s:
            for _number in range(500):
                client.publish(
                    f"tocsin/v1/{SITE}/presence/cardiologist", encode_lease(lease), qos=0
                )
            client.step(0.0)
        client.close()
    client.abort()
    return Injected()


FAULTS = (
    Fault("agent killed", 30, "status offline", kill_agent),
    Fault("broker killed", 30, "health.reconnects", kill_broker),
    Fault("receiver killed", 30, "-", kill_receiver),
    Fault("black hole", 2, "health.reconnects", black_hole),
    Fault("delay and loss", 3, "-", slow_and_lossy),
    Fault("full disk", 1, "outbox_failed", full_disk),
    Fault("bit flipped", 2, "outbox_failed", flip_bit),
    Fault("clock stepped", 3, "clock alarm", step_clock),
    Fault("certificate expired", 2, "log", expired_certificate),
    Fault("client id taken", 2, "health.reconnects", take_over),
    Fault("flood of leases", 2, "-", flood),
)


def _offline(ward: Ward, bed: Bed) -> int:
    return sum(b'"offline"' in payload for payload in ward.messages(bed, Branch.STATUS))


def _technical(ward: Ward, bed: Bed, code: str) -> int:
    """Count the documents of technical alerts whose code begins so."""
    return sum(
        decode_alert(payload).code.startswith(code)
        for payload in ward.messages(bed, Branch.TECHNICAL)
    )


def _health(ward: Ward, bed: Bed, field: str) -> object:
    messages = ward.messages(bed, Branch.HEALTH)
    return msgspec.json.decode(messages[-1]).get(field) if messages else None


def _reconnected(ward: Ward, beds: list[Bed] | None = None) -> Check:
    """Return a check that one of the beds has reported a connection made after this moment."""
    beds = beds or ward.beds
    before = {bed.name: len(ward.messages(bed, Branch.HEALTH)) for bed in beds}

    def seen() -> bool:
        return any(
            msgspec.json.decode(payload)["reconnects"] > 0
            for bed in beds
            for payload in ward.messages(bed, Branch.HEALTH)[before[bed.name] :]
        )

    return seen


def _flip(bed: Bed, chance: random.Random) -> Key | None:
    with contextlib.closing(sqlite3.connect(bed.outbox)) as db, db:
        row = db.execute(
            "SELECT created, alert_id, sequence, document FROM alert WHERE pending = 1 "
            "ORDER BY created DESC LIMIT 1"
        ).fetchone()
        if row is None:
            return None
        document = bytearray(row[3])
        at = chance.randrange(len(document) * 8)
        document[at // 8] ^= 1 << at % 8
        db.execute("UPDATE alert SET document = ? WHERE created = ?", (bytes(document), row[0]))
        return (str(row[1]), int(row[2]))


def _wait(condition: Check, timeout_s: float) -> bool:
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        if condition():
            return True
        time.sleep(0.1)
    return False
