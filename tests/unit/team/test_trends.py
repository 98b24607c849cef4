"""Trends as text."""

from __future__ import annotations

import msgspec

from support.factories import make_trend
from tocsin_agent.messages.topics import Topics
from tocsin_agent.messages.trend import HeartRate, LongestRun, encode_trend
from tocsin_agent.team.feed import Feed, Malformed, TrendSeen
from tocsin_agent.team.trends import draw, line


def test_each_measure_is_a_row_with_its_range_and_last_value() -> None:
    trends = [
        msgspec.structs.replace(make_trend(n), heart_rate_bpm=HeartRate(60.0 + n, 55.0, 90.0))
        for n in range(20)
    ]
    rows = draw(trends, 100).split("\n")
    assert rows[0].startswith("ward3/bed7, patient p-0042")
    (rate,) = [row for row in rows if row.startswith("heart rate")]
    assert rate.endswith("60 to 79, last 79")
    assert "▁" in rate
    assert "█" in rate
    assert all(len(row) <= 100 for row in rows)


def test_a_missing_minute_is_blank_and_many_minutes_share_a_column() -> None:
    (rate,) = [r for r in draw([make_trend(0), make_trend(2)]).split("\n") if r[:5] == "heart"]
    assert "▁ ▁" in rate
    text = draw([make_trend(n) for n in range(0, 60 * 24, 5)], 80)
    assert "a column" in text
    assert all(len(row) <= 80 for row in text.split("\n"))


def test_streams_are_drawn_apart() -> None:
    other = msgspec.structs.replace(make_trend(0), device="bed8")
    assert draw([make_trend(0), other]).count("heart rate") == 2


def test_a_line_states_what_is_unusual() -> None:
    trend = msgspec.structs.replace(make_trend(0), pauses=2, longest_run=LongestRun(4, 150.0))
    assert "2 pauses" in line(trend)
    assert "run of 4 at 150/min" in line(trend)
    assert "pauses" not in line(make_trend(0))


def test_the_feed_gives_each_minute_once() -> None:
    feed, topic = Feed(), Topics("ward3", "bed7").trend
    first = feed.take(topic, encode_trend(make_trend(0)), retained=True)
    assert first == TrendSeen(make_trend(0), topic)
    assert feed.take(topic, encode_trend(make_trend(0))) is None
    assert feed.take(topic, encode_trend(make_trend(1))) == TrendSeen(make_trend(1), topic)
    assert isinstance(feed.take(topic, b"{}"), Malformed)
