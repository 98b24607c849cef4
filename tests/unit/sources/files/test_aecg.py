from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pytest

from support.recording_files import ecg, write_aecg
from support.recordings import read
from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.sources.opening import open_source

ECG = ecg(5000, 500, 3)
NAMES = ["I", "II", "AVR"]


@pytest.mark.parametrize("rate_hz", [500, 1000, 240])
@pytest.mark.parametrize("origin_uv", [0.0, -100.0])
def test_the_rhythm_is_read_and_the_average_beat_is_not(
    rate_hz: int, origin_uv: float, tmp_path: Path
) -> None:
    path = write_aecg(tmp_path / "a.xml", ECG, rate_hz, NAMES, derived=True, origin_uv=origin_uv)
    with open_source(str(path)) as source:
        assert (source.spec.leads, source.spec.rate_hz) == (("I", "II", "aVR"), rate_hz)
        assert source.start_utc == dt.datetime(2024, 5, 1, 8, tzinfo=dt.UTC)
        indices, samples = read(source)
    assert indices == list(range(5000))
    np.testing.assert_allclose(samples, ECG, atol=0.0013)


@pytest.mark.parametrize(
    "before",
    [
        '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>',
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
    ],
)
def test_entities_are_refused(before: str, tmp_path: Path) -> None:
    path = write_aecg(tmp_path / "a.xml", ECG, 500, NAMES, before=before)
    with pytest.raises(SourceError, match="declares entities") as caught:
        open_source(str(path)).open()
    assert caught.value.reason is SourceFault.MALFORMED


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("</AnnotatedECG>", "", "no complete XML file"),
        ('increment value="0.002"', 'increment value="0"', "no time between two samples"),
        ('increment value="0.002"', 'increment value="x"', "could not convert"),
        ('scale value="2.5"', 'scale value="nan"', "scale nan"),
        ('unit="uV"/><digits>', 'unit="uV"/><digits>x ', "a sample that is no number"),
        ("<digits>", "<digits>1e300 ", "no numbers of 32 bits"),
        ("digits>", "nothing>", "no series of an ECG"),
        ("<component>", 100 * "<component>", "nested 64 deep"),
    ],
)
def test_what_is_damaged_is_refused(old: str, new: str, message: str, tmp_path: Path) -> None:
    path = write_aecg(tmp_path / "a.xml", ECG[:100], 500, NAMES)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(SourceError, match=message):
        open_source(str(path)).open()


def test_a_lead_that_ends_early_is_missing_there(tmp_path: Path) -> None:
    path = write_aecg(tmp_path / "a.xml", ECG[:100], 500, NAMES)
    head, _, rest = path.read_text().partition("<digits>")
    path.write_text(head + "<digits>1 2 3" + rest[rest.index("</digits>") :])
    with open_source(str(path)) as source:
        _, samples = read(source)
    assert np.isnan(samples[3:, 0]).all()
    assert np.isfinite(samples[:, 1:]).all()
