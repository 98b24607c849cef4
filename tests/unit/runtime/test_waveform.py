"""The live ECG as messages: no sample lost, none twice, gaps as gaps, each beat once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from support.factories import NOON
from tocsin_agent.delivery.settings import WaveformSettings
from tocsin_agent.messages.topics import Topics
from tocsin_agent.messages.waveform import GAIN_UV, Waveform, decode_waveform
from tocsin_agent.runtime.clock import StreamClock
from tocsin_agent.runtime.waveform import Waveforms
from tocsin_dsp.signal import SampleBlock, StreamSpec

SPEC = StreamSpec("s", 250.0, ("II", "V1"))
CLOCK = StreamClock(250.0, NOON)


class Beat(NamedTuple):
    r_index: int
    label: str


def taken(settings: WaveformSettings, blocks: list[SampleBlock]) -> list[tuple[str, Waveform]]:
    sent = list[tuple[str, Waveform]]()
    waves = Waveforms(
        settings, Topics("ward3", "bed7"), lambda t, p: sent.append((t, decode_waveform(p)))
    )
    for block in blocks:
        waves.take(block, CLOCK, [Beat(block.start_index, "N")])
    return sent


def block(start: int, rows: int) -> SampleBlock:
    index = np.arange(start, start + rows, dtype=np.float64)
    return SampleBlock(SPEC, start, np.column_stack([index / 1000.0, -index / 1000.0]))


@pytest.mark.parametrize("rows", [1, 7, 63, 250, 900])
def test_any_cutting_gives_every_sample_once(rows: int) -> None:
    starts = range(0, 1800, rows)
    sent = taken(WaveformSettings(leads=("*",), piece_s=0.5), [block(s, rows) for s in starts])
    for lead, sign in (("II", 1.0), ("V1", -1.0)):
        pieces = [wave for _, wave in sent if wave.lead == lead]
        expected = 0
        for piece in pieces:
            assert piece.start_index == expected
            assert piece.at == CLOCK.utc(expected)
            samples = piece.decode()
            assert 125 <= len(samples) <= 250 + rows
            index = np.arange(expected, expected + len(samples))
            assert np.allclose(samples, sign * index / 1000.0, atol=GAIN_UV / 2000.0 + 1e-9)
            expected += len(samples)
        assert expected > 1800 - max(rows, 125)
        beats = [beat.index for piece in pieces for beat in piece.beats]
        assert beats == sorted(set(beats))


def test_a_gap_begins_a_new_piece_and_missing_stays_missing() -> None:
    first, second = block(0, 50), block(500, 125)
    second.samples_mv[3, 0] = np.nan
    sent = taken(WaveformSettings(leads=("II",)), [first, second])
    assert [topic for topic, _ in sent] == ["tocsin/v1/ward3/bed7/waveform/II"] * 2
    assert [(w.start_index, len(w.decode())) for _, w in sent] == [(0, 50), (500, 125)]
    assert np.flatnonzero(np.isnan(sent[1][1].decode())).tolist() == [3]


def test_nothing_is_published_unless_it_is_asked_for() -> None:
    assert taken(WaveformSettings(), [block(0, 1000)]) == []
