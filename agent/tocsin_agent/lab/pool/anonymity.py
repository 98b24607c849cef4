"""k-anonymity of the quasi-identifiers: Sweeney, Int. J. Uncertain. Fuzziness 10:557, 2002.

A class is the people of a release with one site, age band and sex. Nothing is coarsened by itself:
bands are chosen for the whole release, so that what is written about one person never depends on
who else is in it. A class that is too small is refused, or its people are withheld.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tocsin_agent.lab.pool.items import PersonFile

Class = tuple[str, str, str]


def class_of(person: PersonFile) -> Class:
    """Return site, age band and sex."""
    return person.site, person.age_band, person.sex


def small_classes(people: Iterable[PersonFile], k: int) -> dict[Class, int]:
    """Return the classes with fewer than `k` people, and how many each has."""
    sizes = Counter(map(class_of, people))
    return {found: size for found, size in sorted(sizes.items()) if size < k}
