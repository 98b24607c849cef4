"""The report for people: no figure without the count that it rests on."""

from __future__ import annotations

from tocsin_agent.lab.ec57.report import in_words, share
from tocsin_agent.lab.ec57.statistics import Ratio, Row


def test_a_share_states_its_count() -> None:
    assert share(Ratio(0, 2)) == "  0.00 % (0 of 2)"
    assert share(Ratio(0, 0)) == "       - (0 of 0)"
    assert share(Ratio(1.25, 10.0), " s") == " 12.50 % (1.2 of 10.0 s)"


def test_a_table_in_words() -> None:
    rows = [
        Row("100", {"rr_intervals": 7}, {"veb_se": Ratio(0, 2)}, {"rr_error_ms": 12.5}),
        Row("101", {"rr_intervals": 0}, {"veb_se": Ratio(0, 0)}, {"rr_error_ms": None}),
    ]
    title, veb, error = (" ".join(line.split()) for line in in_words("beats", rows))
    assert title == "beats: 2 records"
    assert veb == "VEB Se 0.00 % (0 of 2) average 0.00 % of 1 record"
    assert error == "RR error average 12.50 ms of 1 record (7 intervals)"
