"""Names of readers: each user of a console is one reader, whose name is the name of a file."""

from __future__ import annotations

import pytest

from tocsin_agent.messages.reading import is_reader, reader_of


@pytest.mark.parametrize("user", ["anna", "dr-k", "A_1"])
def test_a_name_that_a_reader_may_have_stays(user: str) -> None:
    assert reader_of(user) == user


def test_other_names_become_names_of_files_and_stay_apart() -> None:
    users = ["../../etc/passwd", "anna@x.org", "anna_x.org", "anna x", "", "é" * 128, "\ud800",
             "a" * 33, "a" * 34, "anna\n", "a\0b"]  # fmt: skip
    names = [reader_of(user) for user in users]
    assert all(map(is_reader, names))
    assert len(set(names)) == len(users)
