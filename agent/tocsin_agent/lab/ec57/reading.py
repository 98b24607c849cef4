"""An annotation file read forward: what the comparisons of EC57 have in common.

The reference programs read each file once, from front to back. What a search has passed is gone for
the next one, so the order in which a comparison reads is part of its definition.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tocsin_agent.lab.ec57.annotations import (
    AAMI_CLASS,
    NOISE,
    Annotations,
    BeatClass,
    is_shutdown,
)


class Mark(NamedTuple):
    """One annotation.

    Parameters
    ----------
    sample : int
        Where it stands.
    symbol : str
        Its mnemonic.
    subtype : int
    aux : str
        Its text.
    """

    sample: int
    symbol: str
    subtype: int
    aux: str

    @property
    def beat(self) -> BeatClass | None:
        """The class of the beat, None for any other annotation."""
        return AAMI_CLASS.get(self.symbol)

    @property
    def begins_shutdown(self) -> bool:
        """Whether a shutdown begins here: no lead can be read."""
        return self.symbol == NOISE and is_shutdown(self.subtype)


class ForwardReader:
    """An annotation file, read once from front to back.

    A comparison may look one annotation ahead: `hold` leaves the annotation just taken to the next
    `take`. There is no other way back.

    Parameters
    ----------
    annotations : Annotations
    end : int, optional
        Annotations at this sample and behind it are not read.
    """

    def __init__(self, annotations: Annotations, end: int | None = None) -> None:
        columns = (annotations.sample.tolist(), annotations.symbol)
        more = (annotations.subtype.tolist(), annotations.aux)
        self._marks = map(Mark, *columns, *more)
        self._end = end
        self._held: Mark | None = None

    def take(self) -> Mark | None:
        """Return the next annotation, None at the end."""
        mark = next(self._marks, None) if self._held is None else self._held
        self._held = None
        beyond = mark is not None and self._end is not None and mark.sample >= self._end
        return None if beyond else mark

    def hold(self, mark: Mark) -> None:
        """Leave the annotation just taken to the next `take`."""
        self._held = mark

    def __iter__(self) -> Iterator[Mark]:
        while (mark := self.take()) is not None:
            yield mark
