"""Cohen's kappa against published values."""

from __future__ import annotations

import pytest

from tocsin_agent.lab.review.agreement import cohens_kappa


def test_kappa_of_a_table_with_a_known_answer() -> None:
    # 20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no: po 0.7, pe 0.5, kappa 0.4.
    pairs = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    found = cohens_kappa(*zip(*pairs, strict=True))
    assert found.value == pytest.approx(0.4)
    assert found.observed == pytest.approx(0.7)
    # Standard error of Fleiss, Cohen & Everitt by hand: sqrt(0.0161) = 0.1270.
    assert found.low is not None
    assert found.high is not None
    assert (found.high - found.low) / 2 / 1.96 == pytest.approx(0.127, abs=0.002)


def test_readers_who_agree_and_readers_by_chance() -> None:
    full = cohens_kappa("abab", "abab")
    assert (full.value, full.low, full.high) == (1.0, 1.0, 1.0)
    by_chance = cohens_kappa("aabb" * 50, "abab" * 50)
    assert by_chance.value == pytest.approx(0.0)
    assert by_chance.low is not None
    assert by_chance.low < 0


def test_kappa_is_not_defined_without_a_choice() -> None:
    assert cohens_kappa("aaa", "aaa").value is None
    assert cohens_kappa("", "").cases == 0
    with pytest.raises(ValueError, match="2 answers"):
        cohens_kappa("ab", "a")
