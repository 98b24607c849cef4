from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import wfdb
from hypothesis import given
from hypothesis import strategies as st

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.lab.annotate import RhythmChange, write_annotations


class Beat(NamedTuple):
    r_index: int
    label: str


def test_what_was_written_reads_back(tmp_path: Path) -> None:
    beats = [Beat(500_000, "V"), Beat(100, "N"), Beat(300, "S"), Beat(5000, "Q"), Beat(7, "F")]
    rhythm = [RhythmChange(4000, "(VT"), RhythmChange(0, "(N")]
    path = write_annotations("208", tmp_path / "new", "toc", beats, rate_hz=360.0, rhythm=rhythm)
    assert path == tmp_path / "new" / "208.toc"
    read = wfdb.rdann(str(tmp_path / "new" / "208"), "toc")
    assert read.sample.tolist() == [0, 7, 100, 300, 4000, 5000, 500_000]
    assert read.symbol == ["+", "F", "N", "S", "+", "Q", "V"]
    assert [note.rstrip("\0") for note in read.aux_note] == ["(N", "", "", "", "(VT", "", ""]
    assert read.fs == 360
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["208.toc"]


def test_of_two_beats_at_one_sample_the_first_is_kept_and_a_rhythm_comes_before(
    tmp_path: Path,
) -> None:
    beats = [Beat(90, "S"), Beat(90, "V")]
    rhythm = [RhythmChange(90, "(VT"), RhythmChange(90, "(VT")]
    write_annotations("a", tmp_path, "toc", beats, rate_hz=250.0, rhythm=rhythm)
    read = wfdb.rdann(str(tmp_path / "a"), "toc")
    assert read.sample.tolist() == [90, 90]
    assert read.symbol == ["+", "S"]


def test_no_annotation_gives_an_empty_file_that_can_be_read(tmp_path: Path) -> None:
    write_annotations("a", tmp_path, "toc", [], rate_hz=360.0)
    assert len(wfdb.rdann(str(tmp_path / "a"), "toc").sample) == 0


def test_writing_again_replaces(tmp_path: Path) -> None:
    write_annotations("a", tmp_path, "toc", [Beat(5, "N"), Beat(90, "V")], rate_hz=360.0)
    write_annotations("a", tmp_path, "toc", [Beat(9, "V")], rate_hz=360.0)
    assert wfdb.rdann(str(tmp_path / "a"), "toc").sample.tolist() == [9]


def test_numpy_indices_and_a_fractional_rate_are_taken(tmp_path: Path) -> None:
    beats = [Beat(int(np.int64(12)), "N"), Beat(np.int64(13), "V")]  # type: ignore[arg-type]
    write_annotations("a", tmp_path, "toc", beats, rate_hz=128.5)
    read = wfdb.rdann(str(tmp_path / "a"), "toc")
    assert read.sample.tolist() == [12, 13]
    assert read.fs == 128.5


@pytest.mark.parametrize(
    ("beats", "rhythm", "name", "says"),
    [
        ([Beat(1, "X")], [], "a", "'X'"),
        ([Beat(-1, "N")], [], "a", "sample -1"),
        ([], [RhythmChange(1, "VT")], "a", "'VT'"),
        ([], [RhythmChange(-4, "(VT")], "a", "sample -4"),
        ([], [], "../a", "letters, digits"),
    ],
)
def test_annotations_that_the_format_does_not_allow_are_refused(
    beats: list[Beat], rhythm: list[RhythmChange], name: str, says: str, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match=says) as caught:
        write_annotations(name, tmp_path, "toc", beats, rate_hz=360.0, rhythm=rhythm)
    assert caught.value.reason is SourceFault.MALFORMED
    assert list(tmp_path.iterdir()) == []


@given(
    st.dictionaries(
        st.integers(min_value=0, max_value=31_000_000), st.sampled_from("NSVFQ"), min_size=1
    )
)
def test_any_set_of_beats_survives(
    tmp_path_factory: pytest.TempPathFactory, beats: dict[int, str]
) -> None:
    folder = tmp_path_factory.mktemp("ann")
    write_annotations(
        "a", folder, "toc", [Beat(index, label) for index, label in beats.items()], rate_hz=360.0
    )
    read = wfdb.rdann(str(folder / "a"), "toc")
    assert dict(zip(read.sample.tolist(), read.symbol, strict=True)) == beats
