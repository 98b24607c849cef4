"""A stream of the Lab Streaming Layer on the loopback."""

from __future__ import annotations

import secrets

import numpy as np
import pylsl
import pytest

from support.brokers import until
from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.sources.devices.grid import SampleGrid
from tocsin_agent.sources.devices.lsl import LslSource
from tocsin_agent.sources.opening import open_source
from tocsin_dsp.signal import SampleBlock

RATE_HZ = 250.0


def outlet(name: str, unit: str = "microvolts") -> pylsl.StreamOutlet:
    info = pylsl.StreamInfo(name, "ECG", 2, RATE_HZ, "float32", f"amp-{name}")
    channels = info.desc().append_child("channels")
    for label in ("II", "V1"):
        channel = channels.append_child("channel")
        channel.append_child_value("label", label)
        channel.append_child_value("unit", unit)
    return pylsl.StreamOutlet(info)


def test_samples_come_with_their_leads_in_millivolts() -> None:
    name = secrets.token_hex(6)
    made = outlet(name)
    ecg = np.arange(500, dtype=np.float64).reshape(250, 2)
    got: list[SampleBlock] = []
    with LslSource(name) as source:
        until(lambda: source.read(0.1) is None and made.have_consumers(), 60.0, "it is connected")
        began_s = pylsl.local_clock()
        for at in range(0, 250, 25):
            stamps = [began_s + (at + k) / RATE_HZ for k in range(25)]
            made.push_chunk(ecg[at : at + 25].tolist(), stamps)
        later = [began_s + 3.0 + k / RATE_HZ for k in range(25)]
        made.push_chunk(ecg[:25].tolist(), later)

        def came() -> bool:
            block = source.read(0.1)
            if block is not None:
                got.append(block)
            return sum(map(len, got)) == 275

        until(came, 60.0, "all samples arrive")
    assert got[0].spec.leads == ("II", "V1")
    assert got[0].spec.rate_hz == RATE_HZ
    samples = np.concatenate([block.samples_mv for block in got])
    np.testing.assert_allclose(samples[:250], ecg / 1000.0)
    assert got[-1].stop_index == 775  # the stamps stated a gap of two seconds


def test_an_unknown_unit_must_be_given() -> None:
    name = secrets.token_hex(6)
    made = outlet(name, "counts")
    with LslSource(name) as source, pytest.raises(SourceError, match="unit=uV") as caught:
        until(lambda: source.read(0.2), 60.0)
    assert caught.value.reason is SourceFault.MALFORMED
    assert made is not None


def test_a_stream_that_does_not_exist_is_waited_for() -> None:
    with LslSource(secrets.token_hex(6)) as source:
        assert source.read(0.1) is None


@pytest.mark.parametrize("uri", ["lsl:", "h10:", "lsl:x?unit=km", "h10:x?unit=mV"])
def test_a_wrong_name_is_refused(uri: str) -> None:
    with pytest.raises(SourceError) as caught:
        open_source(uri)
    assert caught.value.reason is SourceFault.MALFORMED


def test_the_grid_follows_a_drift_and_states_a_gap() -> None:
    grid = SampleGrid(100.0, 0.05)
    assert [grid.place(k * 1.001, 100) for k in range(300)] == [100 * k for k in range(300)]
    assert grid.place(300 * 1.001 + 2.0, 100) == 30_200
