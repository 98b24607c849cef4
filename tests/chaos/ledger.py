"""What was committed against what a receiver showed. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from tocsin_agent.messages.alert import Key


@dataclass(frozen=True)
class Verdict:
    """The differences; all of them empty if delivery held.

    Parameters
    ----------
    committed, shown : int
        Number of keys that the agents committed and that the receiver showed.
    lost : tuple of Key
        Committed and never shown.
    dropped : tuple of Key
        Of lower than high priority, acknowledged by the broker and never shown: a broker that is
        killed within milliseconds of its acknowledgement loses them
        (`docs/decisions/0042-what-counts-as-delivered.md`).
    twice : tuple of Key
        Shown more than once as new.
    disordered : tuple of Key
        Shown after a later document of the same alert.
    invented : tuple of Key
        Shown and never committed.
    """

    committed: int
    shown: int
    lost: tuple[Key, ...] = ()
    twice: tuple[Key, ...] = ()
    disordered: tuple[Key, ...] = ()
    invented: tuple[Key, ...] = ()
    dropped: tuple[Key, ...] = ()
    destroyed: tuple[Key, ...] = ()

    @property
    def held(self) -> bool:
        """True if nothing was lost, shown twice, out of order, or invented.

        What the broker dropped is reported, and is no fault of delivery.
        """
        return not (self.lost or self.twice or self.disordered or self.invented)


def compare(
    committed: Iterable[Key],
    shown: Sequence[Key],
    damaged: AbstractSet[Key] = frozenset(),
    unconfirmed: AbstractSet[Key] = frozenset(),
) -> Verdict:
    """Compare both lists of keys.

    Parameters
    ----------
    committed : iterable of Key
        Each key that an agent committed, in any order.
    shown : sequence of Key
        Each key that the receiver showed as new, in that order.
    damaged : set of Key
        Keys whose row was destroyed on purpose: they need not be shown.
    unconfirmed : set of Key
        Keys below high priority that the broker has acknowledged, which no receiver confirms.
    """
    due, seen = set(committed), set(shown)
    missing = due - seen - damaged
    return Verdict(
        committed=len(due),
        shown=len(seen),
        lost=tuple(sorted(missing - unconfirmed)),
        twice=tuple(sorted(key for key, count in Counter(shown).items() if count > 1)),
        disordered=tuple(_disordered(shown)),
        invented=tuple(sorted(seen - due - damaged)),
        dropped=tuple(sorted(missing & unconfirmed)),
        destroyed=tuple(sorted(damaged - seen)),
    )


def _disordered(shown: Sequence[Key]) -> Iterable[Key]:
    latest: dict[str, int] = {}
    for alert_id, sequence in shown:
        if sequence < latest.get(alert_id, 0):
            yield (alert_id, sequence)
        latest[alert_id] = max(sequence, latest.get(alert_id, 0))


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Write rows with the same keys as a table of plain text."""
    heads = list(rows[0])
    cells = [heads, *([str(row[head]) for head in heads] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(heads))]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])
