"""The strip of an alert on paper: at true scale, with beats, onset and what is not there."""

from __future__ import annotations

from datetime import timedelta, timezone

import msgspec
import numpy as np
import pytest

from support.factories import make_alert, make_episode, make_strip
from tocsin_agent.drawing.shapes import Box, Lines, Sheet, Text
from tocsin_agent.messages.alert import Alert, Strip, StripBeat
from tocsin_agent.team.language import load_language
from tocsin_agent.team.strip import A4_MM, strip_sheet

CET = timezone(timedelta(hours=1), "CET")
ENGLISH = load_language("en")


def ten_seconds(**more: object) -> Strip:
    samples = np.zeros((2500, 2))
    samples[::250] = 1.0
    return Strip.encode(("II", "V1"), 250.0, 0, samples, **more)  # type: ignore[arg-type]


def drawn(alert: Alert, *, whole_page: bool = False) -> Sheet:
    return strip_sheet(alert, ENGLISH, zone=CET, whole_page=whole_page)


def texts(sheet: Sheet, *roles: str) -> list[str]:
    return [s.text for s in sheet.shapes if isinstance(s, Text) and (not roles or s.role in roles)]


def test_ten_seconds_take_250_mm_of_paper_and_fit_a4() -> None:
    sheet = drawn(make_alert(strip=ten_seconds()), whole_page=True)
    (paper,) = [s for s in sheet.shapes if isinstance(s, Box) and s.role == "sheet"]
    assert paper.width == 250.0
    assert (sheet.width, sheet.height) == A4_MM


def test_it_says_where_what_and_when() -> None:
    sheet = drawn(make_alert(strip=ten_seconds()))
    assert texts(sheet, "headline") == ["Ward 3, bed 7: VENTRICULAR TACHYCARDIA 162/min"]
    assert sheet.title == texts(sheet, "headline")[0]
    assert texts(sheet, "lead") == ["II", "V1"]
    said = "\n".join(texts(sheet))
    for words in ("SYNTHETIC", "13:00:00 CET", "patient p-0042", "25 mm/s, 10 mm/mV", "1 mV"):
        assert words in said


def test_beats_and_onset_stand_at_their_rows() -> None:
    beats = (StripBeat(250, "N"), StripBeat(500, "V"), StripBeat(9999, "V"))
    sheet = drawn(make_alert(strip=ten_seconds(beats=beats, onset_row=500)))
    left = next(s.x for s in sheet.shapes if isinstance(s, Box) and s.role == "sheet")
    at = {s.text: (s.x - left, s.role) for s in sheet.shapes if isinstance(s, Text)}
    assert at["N"] == (25.0, "beat")
    assert at["V"] == (50.0, "beat near")
    (line,) = [s for s in sheet.shapes if isinstance(s, Lines) and s.role == "onset"]
    assert [x - left for x, _ in line.lines[0]] == [50.0, 50.0]


def test_the_onset_follows_from_times_where_an_older_agent_sends_no_row() -> None:
    alert = make_alert(900, strip=ten_seconds())  # 360 Hz: 2.5 s after the start of the strip
    (line,) = [s for s in drawn(alert).shapes if isinstance(s, Lines) and s.role == "onset"]
    assert line.lines[0][0][0] == pytest.approx(14 + 19 + 62.5)


def test_an_onset_before_the_strip_is_stated() -> None:
    alert = make_alert(strip=ten_seconds(beats=(StripBeat(250, "V"),)))
    alert = msgspec.structs.replace(alert, detected_at=alert.onset_at + timedelta(seconds=75))
    assert "◀ onset 1 min 5 s before this strip" in texts(drawn(alert))


def test_a_lead_without_signal_and_one_that_is_cut_say_so() -> None:
    samples = np.zeros((2500, 2))
    samples[:, 0] = np.nan
    samples[1000, 1] = 8.0
    alert = make_alert(strip=Strip.encode(("II", "V1"), 250.0, 0, samples))
    assert {"no signal", "cut at the edge of the paper"} <= set(texts(drawn(alert)))


def test_an_end_is_worded_in_the_language_of_the_reader() -> None:
    (*_, end) = make_episode()
    end = msgspec.structs.replace(end, strip=ten_seconds())
    sheet = strip_sheet(end, load_language("de"), zone=CET)
    assert "VENTRIKULÄRE TACHYKARDIE beendet nach 2.0 s" in texts(sheet)
    assert not any("erkannt nach" in text for text in texts(sheet))


def test_an_alert_without_a_readable_strip_is_refused() -> None:
    with pytest.raises(ValueError, match="has no strip: onsets carry one"):
        drawn(make_alert())
    with pytest.raises(ValueError, match="empty"):
        drawn(make_alert(strip=Strip.encode(("II",), 250.0, 0, np.zeros((0, 1)))))
    broken = msgspec.structs.replace(make_strip(), data="AAAA=A")
    with pytest.raises(ValueError, match=r"."):
        drawn(make_alert(strip=broken))


def test_no_payload_reaches_the_drawing_unprintable() -> None:
    alert = msgspec.structs.replace(make_alert(strip=ten_seconds()), location="\x1b[2J\u202e")
    assert all(text.isprintable() for text in texts(drawn(alert)))
