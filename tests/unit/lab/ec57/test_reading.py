"""A file read forward."""

from __future__ import annotations

from tocsin_agent.lab.ec57.annotations import make_annotations
from tocsin_agent.lab.ec57.reading import ForwardReader

FILE = make_annotations([10, 20, 30, 40], "NV~+", subtype=[0, 0, -1, 0], rate_hz=360.0)


def test_each_annotation_is_given_once() -> None:
    reader = ForwardReader(FILE)
    assert [mark.sample for mark in reader] == [10, 20, 30, 40]
    assert reader.take() is None


def test_one_annotation_may_be_left_to_the_next() -> None:
    reader = ForwardReader(FILE)
    first = reader.take()
    assert first is not None
    reader.hold(first)
    assert [mark.sample for mark in reader] == [10, 20, 30, 40]


def test_what_lies_at_the_end_or_behind_it_is_not_read() -> None:
    assert [mark.sample for mark in ForwardReader(FILE, end=30)] == [10, 20]


def test_what_an_annotation_says() -> None:
    marks = list(ForwardReader(FILE))
    assert [mark.beat for mark in marks] == ["N", "V", None, None]
    assert [mark.begins_shutdown for mark in marks] == [False, False, True, False]
