"""A device behind a broker: it receives the answers of the gateway, and a second may take over."""

from __future__ import annotations

import numpy as np
import pytest

from support.brokers import Mosquitto, Recorder, quick, until
from support.devices import MqttEnd, frames_of, hello_for
from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.retry import Backoff
from tocsin_agent.sources.opening import open_source
from tocsin_agent.sources.queued import QueuedSource
from tocsin_dsp.signal import SampleBlock

pytestmark = pytest.mark.broker
ECG = np.arange(1000, dtype=np.float64).reshape(500, 2) / 200.0


@pytest.mark.parametrize("share", ["", "$share/ward3/"])
def test_it_answers_on_the_topic_beside(mosquitto: Mosquitto, share: str, version: str) -> None:
    uri = f"mqtt://127.0.0.1:{mosquitto.port}/{share}raw/bed7?version={version}"
    with Recorder(quick(mosquitto.port), "raw/#") as recorder, open_source(uri) as source:
        assert source.read(0.1) is None
        end = MqttEnd(mosquitto.port, "raw/bed7")
        got: list[SampleBlock] = []
        for data in frames_of(hello_for(), ECG):
            end.send(data)

        def read() -> bool:
            block = source.read(0.1)
            if block is not None:
                got.append(block)
            return bool(got) and got[-1].stop_index == len(ECG)

        until(read, 60.0, "all samples arrive")
        until(
            lambda: any(m.topic == "raw/bed7/down" for m in recorder.messages),
            60.0,
            "the gateway asks",
        )
        np.testing.assert_array_equal(np.concatenate([b.samples_mv for b in got]), ECG)
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
