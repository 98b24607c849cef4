"""Wires as devices meet them: plugged in late, pulled, replaced, encrypted, talked over."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from support.brokers import authority, free_port, until
from support.devices import PtyMouth, Speaking, TcpMouth, UdpMouth, frames_of, hello_for
from tocsin_agent.errors import MissingExtraError, SourceError, SourceFault
from tocsin_agent.retry import Backoff
from tocsin_agent.sources.base import Source
from tocsin_agent.sources.devices.link_source import LinkSource
from tocsin_agent.sources.devices.opening import network_wire
from tocsin_agent.sources.devices.protocol.frames import FrameReader
from tocsin_agent.sources.devices.protocol.packets import Type
from tocsin_agent.sources.devices.wires.serial import SerialWire
from tocsin_agent.sources.devices.wires.tcp import TcpWire
from tocsin_agent.sources.devices.wires.udp import UdpWire
from tocsin_agent.sources.opening import open_source
from tocsin_agent.sources.queued import QueuedSource
from tocsin_dsp.signal import SampleBlock

ECG = np.arange(2000, dtype=np.float64).reshape(1000, 2) / 200.0


def blocks(source: Source, seconds: float) -> list[SampleBlock]:
    until_s, out = time.monotonic() + seconds, []
    while (left_s := until_s - time.monotonic()) > 0:
        block = source.read(left_s)
        if block is not None:
            out.append(block)
    return out


def first_block(source: Source) -> SampleBlock:
    found: list[SampleBlock] = []

    def came() -> bool:
        block = source.read(0.1)
        if block is not None:
            found.append(block)
        return bool(found)

    until(came, 10.0, "a block comes")
    return found[0]


def endless(session: int = 1) -> Iterator[bytes]:
    """Speak as a device that cannot listen: it says hello again and again."""
    hello, *packets = frames_of(hello_for(session=session), np.zeros((65_000, 2)))
    for number, packet in enumerate(packets):
        if number % 20 == 0:
            yield hello
        yield packet


def test_a_port_that_comes_late_and_is_pulled_is_found_again(tmp_path: Path) -> None:
    port = tmp_path / "usb-ACME_Holter-if00"
    wire = SerialWire(str(tmp_path / "usb-*"))
    with QueuedSource(LinkSource(wire), backoff=Backoff(0.05, 0.1)) as source:
        assert source.read(0.3) is None
        for session in (1, 2):
            with Speaking(PtyMouth(port), endless(session), 0.01):
                assert first_block(source).spec.leads == ("II", "V1")
            while source.read(0.3) is not None:
                pass
        assert source.health.reconnections >= 1
        assert "is gone" in str(source.health.last_error)


def test_a_pattern_that_fits_two_ports_is_refused(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"tty{name}").touch()
    with pytest.raises(SourceError, match="name one of them"):
        SerialWire(str(tmp_path / "tty*")).open()


def test_what_is_no_port_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SourceError, match="cannot be opened"):
        SerialWire(str(tmp_path / "file")).open()


def test_a_device_may_hang_up_and_come_again() -> None:
    wire = TcpWire("127.0.0.1", 0)
    with LinkSource(wire) as source:
        for session in (1, 2):
            with Speaking(TcpMouth(wire.port), endless(session), 0.01):
                assert first_block(source).start_index == 0
            until(lambda: source.read(0.8) is None, 5.0, "it is silent")


def test_a_second_device_is_turned_away_while_the_first_sends() -> None:
    wire = TcpWire("127.0.0.1", 0)
    with LinkSource(wire) as source, Speaking(TcpMouth(wire.port), endless(1), 0.01):
        first_block(source)
        stranger = TcpMouth(wire.port)
        stranger.say(frames_of(hello_for(("X",), session=9), np.zeros((100, 1)))[0])
        assert {block.spec.leads for block in blocks(source, 0.5)} == {("II", "V1")}
        stranger.socket.settimeout(2.0)
        with contextlib.suppress(ConnectionResetError):
            assert stranger.socket.recv(10) == b""
        stranger.close()


def test_the_health_of_the_queue_tells_what_the_link_has_counted() -> None:
    wire = TcpWire("127.0.0.1", 0)
    with QueuedSource(LinkSource(wire)) as source:
        mouth = TcpMouth(wire.port)
        mouth.say(b"noise\0" + b"".join(frames_of(hello_for(), ECG)))
        first_block(source)
        said = msgspec.to_builtins(source.health)
        assert (said["statistics"]["corrupt"], said["statistics"]["gaps"]) == (1, 0)
        mouth.close()


def test_the_gateway_asks_and_the_device_hears_it() -> None:
    wire = TcpWire("127.0.0.1", 0)
    with LinkSource(wire) as source:
        mouth = TcpMouth(wire.port)
        mouth.socket.settimeout(0.05)
        received = bytearray()

        def hears() -> bool:
            source.read(0.05)
            with contextlib.suppress(TimeoutError):
                received.extend(mouth.socket.recv(100))
            return bool(received)

        until(hears, 5.0, "a question comes")
        (asked,) = FrameReader().feed(bytes(received))
        assert asked[0] == Type.ASK_HELLO
        mouth.close()


def test_tls_with_a_certificate_and_without(tmp_path: Path) -> None:
    certificate = authority(tmp_path, "gateway")
    port = free_port()
    uri = f"tls://127.0.0.1:{port}?cert={certificate}&key={certificate.with_suffix('.key')}"
    with QueuedSource(open_source(uri)) as source:  # its own thread: the handshake has two sides
        plain = TcpMouth(port)
        plain.say(b"\0" * 50)
        context = ssl.create_default_context(cafile=str(certificate))
        with (
            socket.create_connection(("127.0.0.1", port), 5.0) as raw,
            context.wrap_socket(raw, server_hostname="127.0.0.1") as device,
        ):
            for data in frames_of(hello_for(), ECG):
                device.sendall(data)
            assert first_block(source).start_index == 0
        plain.close()


def test_missing_tls_files_are_said(tmp_path: Path) -> None:
    wire = network_wire(f"tls://127.0.0.1:0?cert={tmp_path / 'none.pem'}")
    with pytest.raises(SourceError, match="TLS files"):
        wire.open()


def test_datagrams_of_another_sender_are_dropped() -> None:
    wire = UdpWire("127.0.0.1", 0)
    with LinkSource(wire) as source:
        device, stranger = UdpMouth(wire.port), UdpMouth(wire.port)
        for data in frames_of(hello_for(), ECG)[:10]:
            device.say(data)
        stranger.say(frames_of(hello_for(("X",), session=9), np.zeros((100, 1)))[0])
        assert {block.spec.leads for block in blocks(source, 1.0)} == {("II", "V1")}
        device.close()
        stranger.close()


def test_a_port_in_use_is_said() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(SourceError, match="cannot listen") as caught:
            TcpWire("127.0.0.1", other.getsockname()[1]).open()
    assert caught.value.reason is SourceFault.UNREACHABLE


def test_leads_are_chosen_and_never_ignored() -> None:
    wire = TcpWire("127.0.0.1", 0)
    for wanted in (("V1",), ("aVR",)):
        with LinkSource(wire, leads=wanted) as source:
            mouth = TcpMouth(wire.port)
            mouth.say(b"".join(frames_of(hello_for(session=len(wanted[0])), ECG)))
            if wanted == ("V1",):
                np.testing.assert_array_equal(first_block(source).samples_mv[:, 0], ECG[:62, 1])
            else:
                with pytest.raises(SourceError, match="no lead 'aVR'"):
                    blocks(source, 3.0)
            mouth.close()


def test_blocks_know_when_they_were_taken() -> None:
    wire = TcpWire("127.0.0.1", 0)
    with LinkSource(wire) as source, Speaking(TcpMouth(wire.port), endless(), 0.08):
        first_block(source)
        before = time.time()
        got = blocks(source, 1.0)
        assert len(got) >= 3
        assert source.stop_utc is not None
        assert abs(source.stop_utc.timestamp() - before - 1.0) < 0.5


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("serial:", "name the port"),
        ("serial:/dev/x?speed=3", "baud"),
        ("serial:/dev/x?baud=fast", "invalid literal"),
        ("tcp://0.0.0.0", "address and port"),
        ("udp://0.0.0.0:99999", "Port out of range"),
        ("tcp://0.0.0.0:7208/path", "address and port"),
        ("tls://0.0.0.0:7208", "certificate"),
        ("mqtt://broker", "topic of one device"),
        ("mqtt://broker/ward/+/raw", "without"),
        ("mqtt://user:secret@broker/raw", "environment"),
        ("mqtt://broker/$share//raw", "GROUP"),
        ("mqtt://broker/raw?version=4", "version"),
    ],
)
def test_a_name_that_is_wrong_is_answered_with_what_is_right(uri: str, said: str) -> None:
    with pytest.raises(SourceError, match=said) as caught:
        open_source(uri)
    assert caught.value.reason is SourceFault.MALFORMED


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "serial", None)
    with pytest.raises(MissingExtraError, match=r"tocsin\[serial\]") as caught:
        SerialWire("/dev/null").open()
    assert caught.value.extra == "serial"
    assert os.path.exists("/dev/null")  # noqa: PTH110 - nothing was opened, nothing removed
