"""Run the campaign: draw faults until the time is over, heal, settle, compare."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from chaos.faults import FAULTS, Check, Fault
from chaos.ledger import Verdict, compare
from chaos.ward import Ward
from tocsin_agent.messages.alert import Key

SEEN_WITHIN_S = 30.0
SETTLED_WITHIN_S = 180.0


@dataclass
class Tally:
    """How often a fault was injected, owed a sign, and was seen."""

    injected: int = 0
    owed: int = 0
    seen: int = 0


@dataclass(frozen=True)
class Outcome:
    """What a campaign found."""

    verdict: Verdict
    tallies: dict[str, Tally]
    settled: bool
    not_run: tuple[str, ...]

    @property
    def held(self) -> bool:
        """True if delivery held, everything settled, and every kind of fault was seen.

        A single fault may go unseen where the next one hides it, as a broker that is killed before
        it has published a will; the table shows how many.
        """
        unseen = any(tally.owed and not tally.seen for tally in self.tallies.values())
        return self.verdict.held and self.settled and not unseen


def run(
    folder: Path,
    *,
    seconds: float,
    seed: int,
    beds: int,
    kills: int,
    small_disk: Path | None,
    progress: Callable[[str], None],
) -> Outcome:
    """Run a campaign.

    Parameters
    ----------
    folder : Path
        Empty, for all files.
    seconds : float
        How long faults are injected; settling comes on top.
    seed : int
        The order of the faults.
    beds : int
    kills : int
        Go on until agents, broker and receiver were killed this often each.
    small_disk : Path or None
        A small file system for the outbox of the first bed; None leaves out the full disk.
    progress : callable
        Receives a line of text now and then.
    """
    chance = random.Random(seed)
    faults = [fault for fault in FAULTS if small_disk is not None or fault.name != "full disk"]
    tallies = {fault.name: Tally() for fault in faults}
    damaged: frozenset[Key] = frozenset()
    with Ward(folder, beds, seed, small_disk) as ward, Lookout(tallies) as lookout:
        end_s = time.monotonic() + seconds
        due = _first_of_each(faults, chance)
        while True:
            left_s = end_s - time.monotonic()
            wanted = [f for f in faults if left_s > 0 or _lacks(f, tallies, kills)]
            if not wanted:
                break
            fault = due.pop() if due and left_s > 0 else _draw(wanted, chance)
            progress(f"{max(0.0, left_s):5.0f} s left  {fault.name}")
            injected = fault.inject(ward, chance)
            tallies[fault.name].injected += 1
            damaged |= injected.damaged
            if injected.seen is not None:
                lookout.expect(fault.name, injected.seen)
            time.sleep(chance.uniform(0.2, 2.0))
        ward.heal()
        lookout.finish()
        progress("waiting until every episode has ended and every alert is shown")
        timer = threading.Event()
        deadline = threading.Timer(SETTLED_WITHIN_S, timer.set)
        deadline.start()
        settled = ward.settled(damaged, timer)
        deadline.cancel()
        committed = [key for bed in ward.beds for key in bed.committed()]
        unconfirmed = frozenset(key for bed in ward.beds for key in bed.unconfirmed())
        verdict = compare(committed, ward.receiver.shown(), damaged, unconfirmed)
    not_run = tuple(fault.name for fault in FAULTS if fault.name not in tallies)
    return Outcome(verdict, tallies, settled, not_run)


def _first_of_each(faults: list[Fault], chance: random.Random) -> list[Fault]:
    """Return every fault once, in a random order, so that a short campaign has all of them."""
    return chance.sample(faults, len(faults))


def _lacks(fault: Fault, tallies: dict[str, Tally], kills: int) -> bool:
    return fault.name.endswith("killed") and tallies[fault.name].injected < kills


def _draw(faults: list[Fault], chance: random.Random) -> Fault:
    return chance.choices(faults, [fault.weight for fault in faults])[0]


class Lookout:
    """Looks in a thread of its own whether each fault is seen in time."""

    def __init__(self, tallies: dict[str, Tally]) -> None:
        self._tallies = tallies
        self._open: list[tuple[float, str, Check]] = []
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60.0)

    def expect(self, name: str, seen: Check) -> None:
        """Owe a sign of a fault from now on."""
        with self._lock:
            self._tallies[name].owed += 1
            self._open.append((time.monotonic() + SEEN_WITHIN_S, name, seen))

    def finish(self) -> None:
        """Wait until each fault was seen, or its time is over."""
        while True:
            with self._lock:
                if not self._open:
                    return
            time.sleep(0.2)

    def _run(self) -> None:
        while not self._stop.wait(0.5):
            with self._lock:
                open_ = list(self._open)
            for check in open_:
                deadline_s, name, seen = check
                true = seen()
                if true or time.monotonic() > deadline_s:
                    with self._lock:
                        self._open.remove(check)
                        self._tallies[name].seen += true
