"""A device behind a broker: it receives the answers of the gateway, and a second may take over."""

from __future__ import annotations

import numpy as np
import pytest

from support.brokers import Mosquitto, Recorder, quick, until
from support.devices import MqttEnd, frames_of, hello_for
from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.retry import Backoff
from tocsin_agent.sources.base import Source
from tocsin_agent.sources.opening import open_source
from tocsin_agent.sources.queued import QueuedSource
from tocsin_dsp.signal import FloatArray, SampleBlock

pytestmark = pytest.mark.broker
ECG = np.arange(1000, dtype=np.float64).reshape(500, 2) / 200.0


def read_all(source: Source) -> FloatArray:
    """Read until the last sample of the device has arrived."""
    got: list[SampleBlock] = []

    def read() -> bool:
        block = source.read(0.1)
        if block is not None:
            got.append(block)
        return bool(got) and got[-1].stop_index == len(ECG)

    until(read, 60.0, "all samples arrive")
    return np.concatenate([block.samples_mv for block in got])


@pytest.mark.parametrize("share", ["", "$share/ward3/"])
def test_it_answers_on_the_topic_beside(mosquitto: Mosquitto, share: str, version: str) -> None:
    uri = f"mqtt://127.0.0.1:{mosquitto.port}/{share}raw/bed7?version={version}"
    with Recorder(quick(mosquitto.port), "raw/#") as recorder, open_source(uri) as source:
        assert source.read(0.1) is None
        end = MqttEnd(mosquitto.port, "raw/bed7")
        for data in frames_of(hello_for(), ECG):
            end.send(data)
        got = read_all(source)
        until(
            lambda: any(m.topic == "raw/bed7/down" for m in recorder.messages),
            60.0,
            "the gateway asks",
        )
        np.testing.assert_array_equal(got, ECG)
        end.close()


def test_what_the_broker_kept_is_skipped(mosquitto: Mosquitto, version: str) -> None:
    """A retained packet is old: its device may be gone."""
    end = MqttEnd(mosquitto.port, "raw/bed7")
    old = b"".join(frames_of(hello_for(session=1), ECG))
    end.connection.publish("raw/bed7", old, qos=1, retain=True)
    until(lambda: end.connection.step(0.1).acks, 60.0, "the broker keeps it")
    uri = f"mqtt://127.0.0.1:{mosquitto.port}/raw/bed7?version={version}"
    with Recorder(quick(mosquitto.port), "raw/#") as recorder, open_source(uri) as source:
        until(lambda: recorder.messages, 60.0, "the broker has it for a new subscriber")
        for _ in range(5):
            assert source.read(0.2) is None
        assert "no packet arrives" in str(source.why_silent())
        for data in frames_of(hello_for(session=2), 2.0 * ECG):
            end.send(data)
        got = read_all(source)
    np.testing.assert_array_equal(got, 2.0 * ECG)
    end.close()


@pytest.mark.parametrize("said", [b"hello?", b"\0\x01\x02\0"])
def test_a_stranger_on_the_topic_does_not_keep_the_device_out(
    mosquitto: Mosquitto, said: bytes
) -> None:
    uri = f"mqtt://127.0.0.1:{mosquitto.port}/raw/bed7"
    stranger, end = (MqttEnd(mosquitto.port, "raw/bed7") for _ in range(2))
    with open_source(uri) as source:
        assert source.read(0.1) is None
        for data in frames_of(hello_for(), ECG):
            stranger.send(said)
            end.send(data)
        np.testing.assert_array_equal(read_all(source), ECG)
    stranger.close()
    end.close()


def test_a_broker_that_restarts_is_found_again(mosquitto: Mosquitto) -> None:
    uri = f"mqtt://127.0.0.1:{mosquitto.port}/raw/bed7"
    with QueuedSource(open_source(uri), backoff=Backoff(0.05, 0.1)) as source:
        mosquitto.stop()
        until(lambda: source.health.last_error, 60.0, "the connection is lost")
        mosquitto.start()
        until(lambda: source.health.reconnections, 60.0, "the connection is restored")
        end = MqttEnd(mosquitto.port, "raw/bed7")
        for data in frames_of(hello_for(), ECG):
            end.send(data)
        until(lambda: source.read(0.1) is not None, 60.0, "samples arrive")
        end.close()


def test_a_missing_broker_is_reported(mosquitto: Mosquitto) -> None:
    mosquitto.stop()
    with pytest.raises(SourceError, match="start the broker") as caught:
        open_source(f"mqtt://127.0.0.1:{mosquitto.port}/raw").open()
    assert caught.value.reason is SourceFault.UNREACHABLE
