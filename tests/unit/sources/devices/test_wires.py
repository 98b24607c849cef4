"""Wires with devices that come late, are unplugged, are replaced, or share a port."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from support.brokers import authority, free_port, until
from support.devices import PtyEnd, Sending, TcpEnd, UdpEnd, frames_of, hello_for
from tocsin_agent.errors import MissingExtraError, SourceError, SourceFault
from tocsin_agent.retry import Backoff
from tocsin_agent.sources.base import Source
from tocsin_agent.sources.devices.link_source import LinkSource
from tocsin_agent.sources.devices.opening import mqtt_wire, network_wire, serial_wire
from tocsin_agent.sources.devices.protocol.frames import FrameReader
from tocsin_agent.sources.devices.protocol.packets import Type
from tocsin_agent.sources.devices.wires import serial, tcp, udp
from tocsin_agent.sources.devices.wires.mqtt import MqttWire
from tocsin_agent.sources.devices.wires.serial import SerialWire
from tocsin_agent.sources.devices.wires.tcp import TcpWire
from tocsin_agent.sources.devices.wires.udp import UdpWire
from tocsin_agent.sources.opening import open_source
from tocsin_agent.sources.queued import QueuedSource
from tocsin_dsp.signal import SampleBlock

ECG = np.arange(2000, dtype=np.float64).reshape(1000, 2) / 200.0


def next_blocks(source: Source, samples: int = 1) -> list[SampleBlock]:
    """Read until so many samples have arrived."""
    found: list[SampleBlock] = []

    def arrived() -> bool:
        block = source.read(0.1)
        if block is not None:
            found.append(block)
        return sum(map(len, found)) >= samples

    until(arrived, 60.0, f"{samples} samples arrive")
    return found


def next_block(source: Source) -> SampleBlock:
    return next_blocks(source)[0]


def endless(session: int = 1, device: str | None = None) -> Iterator[bytes]:
    """Yield the frames of a device that cannot receive, and so repeats its hello."""
    first = hello_for(session=session)
    first = replace(first, device=device or first.device)
    hello, *packets = frames_of(first, np.zeros((65_000, 2)))
    for number, packet in enumerate(packets):
        if number % 20 == 0:
            yield hello
        yield packet


def test_a_port_that_appears_late_and_is_unplugged_is_found_again(tmp_path: Path) -> None:
    port = tmp_path / "usb-ACME_Holter-if00"
    wire = SerialWire(str(tmp_path / "usb-*"))
    with QueuedSource(LinkSource(wire), backoff=Backoff(0.05, 0.1)) as source:
        assert source.read(0.3) is None
        for session in (1, 2):
            with Sending(PtyEnd(port), endless(session), 0.01):
                assert next_block(source).spec.leads == ("II", "V1")
            while source.read(0.3) is not None:
                pass
        assert source.health.reconnections >= 1
        assert "is gone" in str(source.health.last_error)


@pytest.mark.parametrize("path", ["ttyACM0", "usb-ACME_*-if00"])
def test_a_port_that_is_not_there_is_waited_for_and_named(tmp_path: Path, path: str) -> None:
    (tmp_path / "tty9").touch()
    wire = SerialWire(str(tmp_path / path))
    wire.open()
    assert wire.read(0.01) == b""
    assert wire.why_silent() == f"{tmp_path / path} is not there"


@pytest.mark.parametrize(("pattern", "names"), [("tty*", "ab"), ("tty[xyz]", "axyz")])
def test_a_pattern_that_matches_several_ports_is_refused(
    tmp_path: Path, pattern: str, names: str
) -> None:
    for name in names:
        (tmp_path / f"tty{name}").touch()
    with pytest.raises(SourceError, match="name one of them") as caught:
        SerialWire(str(tmp_path / pattern)).open()
    assert caught.value.reason is SourceFault.AMBIGUOUS
    assert all(f"tty{name}" in str(caught.value) for name in names[-2:])
    assert ("ttya" in str(caught.value)) == ("a" in names[-2:])


def test_after_a_loss_the_same_device_is_taken_and_not_the_next_port(tmp_path: Path) -> None:
    wire = SerialWire(str(tmp_path / "tty*"))
    with QueuedSource(LinkSource(wire), backoff=Backoff(0.02, 0.05)) as source:
        with Sending(PtyEnd(tmp_path / "tty0"), endless(1), 0.01):
            next_block(source)
        with Sending(PtyEnd(tmp_path / "tty7"), endless(9, device="another"), 0.01):
            until(lambda: "another device" in str(source.health.last_error), 60.0, "refused")
            while source.read(0.1) is not None:
                pass
            with Sending(PtyEnd(tmp_path / "tty0"), endless(2), 0.01):
                blocks = next_blocks(source, 100)
    assert len(blocks) > 1


@pytest.mark.parametrize("other", ["tty1", "tty7"])
def test_while_another_port_is_tried_the_one_that_is_lost_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    monkeypatch.setattr(serial, "_SETTLES_S", 0.0)
    wire = SerialWire(str(tmp_path / "tty*"))
    device = PtyEnd(tmp_path / "tty0")
    wire.open()
    assert wire.accepts("holter")
    device.close()
    stranger = PtyEnd(tmp_path / other)
    wire.open()
    said = f"{tmp_path / 'tty0'} is not there; {tmp_path / other} is tried instead"
    assert wire.why_silent() == said
    wire.close()
    stranger.close()


def test_a_device_that_comes_back_at_another_port_is_known_by_its_name(tmp_path: Path) -> None:
    wire = SerialWire(str(tmp_path / "tty*"))
    with QueuedSource(LinkSource(wire), backoff=Backoff(0.02, 0.05)) as source:
        for number, name in enumerate(("tty0", "tty1"), 1):
            with Sending(PtyEnd(tmp_path / name), endless(number), 0.01):
                next_blocks(source, 100)
            while source.read(0.3) is not None:
                pass


def test_the_port_with_the_usb_number_of_the_device_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = {"tty0": "1", "tty7": "2", "tty9": "1"}
    monkeypatch.setattr(serial, "usb_number", lambda path: numbers[Path(path).name])
    wire = SerialWire(str(tmp_path / "tty*"))
    with QueuedSource(LinkSource(wire), backoff=Backoff(0.02, 0.05)) as source:
        with Sending(PtyEnd(tmp_path / "tty0"), endless(1), 0.01):
            next_blocks(source, 100)
        while source.read(0.3) is not None:
            pass
        with Sending(PtyEnd(tmp_path / "tty7"), endless(2), 0.01):
            assert source.read(1.0) is None
            until(lambda: "number 1 is not there" in str(source.why_silent()), 60.0, "it says so")
            with Sending(PtyEnd(tmp_path / "tty9"), endless(3), 0.01):
                next_block(source)


def test_a_port_that_another_program_holds_names_it(tmp_path: Path) -> None:
    end = PtyEnd(tmp_path / "tty")
    with (tmp_path / "tty").open("rb", buffering=0) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(SourceError, match="in use by") as caught:
            SerialWire(str(tmp_path / "tty")).open()
    assert caught.value.reason is SourceFault.BUSY
    assert f"process {os.getpid()}" not in str(caught.value)
    end.close()


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EAGAIN])
def test_a_port_that_an_unknown_program_holds_names_the_usual_ones(
    tmp_path: Path, number: int
) -> None:
    (tmp_path / "tty").touch()
    fault = serial.why_not_opened(str(tmp_path / "tty"), OSError(number, "busy"))
    assert fault.reason is SourceFault.BUSY
    assert "ModemManager" in str(fault)


@pytest.mark.parametrize(
    ("number", "owner", "mode", "words"),
    [
        (errno.EACCES, ("dialout", 20), 0o660, "usermod -aG dialout USER"),
        (errno.EPERM, ("uucp", 14), 0o660, "SupplementaryGroups=uucp"),
        (errno.EACCES, ("dialout", 20), 0o600, "a udev rule is missing"),
        (errno.EACCES, ("root", 0), 0o660, "udev gives a new port its group after a moment"),
    ],
)
def test_a_port_without_permission_names_the_group(
    monkeypatch: pytest.MonkeyPatch, number: int, owner: tuple[str, int], mode: int, words: str
) -> None:
    group, gid = owner
    port = SimpleNamespace(
        stat=lambda: SimpleNamespace(st_mode=mode, st_gid=gid), group=lambda: group
    )
    monkeypatch.setattr(serial, "Path", lambda _path: port)
    fault = serial.why_not_opened("/dev/ttyACM0", OSError(number, "denied"))
    assert fault.reason is SourceFault.NO_PERMISSION
    assert f"the group {group}" in str(fault)
    assert words in str(fault)


@pytest.mark.parametrize("noise", [b"\x80\xf8\x78\x00" * 300, b"\xff" * 1200])
def test_bytes_that_are_no_packets_are_named_once(
    noise: bytes, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    end = PtyEnd(tmp_path / "tty")
    with LinkSource(SerialWire(str(tmp_path / "tty"), 9600)) as source:
        for _ in range(3):
            end.send(noise)
            source.read(0.2)
        until(lambda: "no packets" in str(source.why_silent()), 60.0, "it is named")
        assert "set to 9600" in str(source.why_silent())
    assert sum("no packets" in record.message for record in caplog.records) == 1
    end.close()


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", b"\0\x01\x02\0" * 2])
def test_a_stranger_that_connects_first_does_not_keep_the_device_out(said: bytes) -> None:
    wire = TcpWire("127.0.0.1", 0)
    with LinkSource(wire) as source:
        strangers = [TcpEnd(wire.port) for _ in range(2)]
        for stranger in strangers:
            stranger.send(said)
            source.read(0.2)
        assert "has sent no packet" in str(source.why_silent())
        with Sending(TcpEnd(wire.port), endless(1), 0.01):
            next_block(source)
        for stranger in strangers:
            stranger.close()


@pytest.mark.parametrize("said", [b"hello?", b"\0\x01\x02\0"])
def test_datagrams_that_are_no_packets_do_not_keep_the_device_out(said: bytes) -> None:
    wire = UdpWire("127.0.0.1", 0)
    with LinkSource(wire) as source:
        stranger, device = UdpEnd(wire.port), UdpEnd(wire.port)
        for data in frames_of(hello_for(), ECG):
            stranger.send(said)
            device.send(data)
        assert sum(map(len, next_blocks(source, 900))) >= 900
        stranger.close()
        device.close()


@pytest.mark.parametrize(
    ("uri", "topic", "user"),
    [
        ("mqtt://bed%203@broker/ward%2F3/raw", "ward/3/raw", "bed 3"),
        ("mqtt://broker/%24share/g/raw", "$share/g/raw", None),
    ],
)
def test_percent_signs_in_the_name_are_decoded(uri: str, topic: str, user: str | None) -> None:
    wire = mqtt_wire(uri)
    assert isinstance(wire, MqttWire)
    assert (wire.topic, wire.settings.username) == (topic, user)


def test_percent_signs_in_a_path_are_decoded() -> None:
    wire = serial_wire("serial:/dev/serial/by-id/usb-A%20B?baud=9600")
    assert isinstance(wire, SerialWire)
    assert (wire.path, wire.baud) == ("/dev/serial/by-id/usb-A B", 9600)


def test_a_file_that_is_not_a_port_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SourceError, match="cannot be opened"):
        SerialWire(str(tmp_path / "file")).open()


def test_a_device_may_disconnect_and_connect_again() -> None:
    wire = TcpWire("127.0.0.1", 0)
    with LinkSource(wire) as source:
        for session in (1, 2):
            with Sending(TcpEnd(wire.port), endless(session), 0.01):
                assert next_block(source).start_index == 0
            until(lambda: source.read(0.8) is None, 60.0, "the device is silent")


def test_a_second_device_is_refused_while_the_first_sends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tcp, "_SILENT_S", 600.0)
    wire = TcpWire("127.0.0.1", 0)
    with LinkSource(wire) as source, Sending(TcpEnd(wire.port), endless(1), 0.01):
        next_block(source)
        stranger = TcpEnd(wire.port)
        stranger.send(frames_of(hello_for(("X",), session=9), np.zeros((100, 1)))[0])
        stranger.socket.setblocking(False)

        def closed() -> bool:
            assert next_block(source).spec.leads == ("II", "V1")
            with contextlib.suppress(BlockingIOError):
                try:
                    return stranger.socket.recv(10) == b""
                except ConnectionResetError:
                    return True
            return False

        until(closed, 60.0, "the second connection is closed")
        stranger.close()


def test_a_connection_for_which_no_file_is_left_is_not_asked_for_without_a_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would take a whole core, from the monitors of all patients."""
    wire, pauses = TcpWire("127.0.0.1", 0), list[float]()
    wire.open()

    class Full:
        def accept(self) -> tuple[socket.socket, tuple[str, int]]:
            raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr("tocsin_agent.sources.devices.wires.tcp.time.sleep", pauses.append)
        wire._accept(Full())  # type: ignore[arg-type]
    assert len(pauses) == 1
    assert 0.01 <= pauses[0] <= 0.1, "and the device that is connected does not wait for long"
    wire.close()


def test_the_health_of_the_queue_has_the_counts_of_the_link() -> None:
    wire = TcpWire("127.0.0.1", 0)
    with QueuedSource(LinkSource(wire)) as source:
        end = TcpEnd(wire.port)
        end.send(b"noise\0" + b"".join(frames_of(hello_for(), ECG)))
        next_block(source)
        counts = msgspec.to_builtins(source.health)["statistics"]
        assert (counts["corrupt"], counts["gaps"]) == (1, 0)
        end.close()


def test_the_gateway_asks_the_device() -> None:
    wire = TcpWire("127.0.0.1", 0)
    with LinkSource(wire) as source:
        end = TcpEnd(wire.port)
        end.socket.settimeout(0.05)
        received = bytearray()

        def asked() -> bool:
            source.read(0.05)
            with contextlib.suppress(TimeoutError):
                received.extend(end.socket.recv(100))
            return bool(received)

        until(asked, 60.0, "a question arrives")
        (question,) = FrameReader().feed(bytes(received))
        assert question[0] == Type.ASK_HELLO
        end.close()


def test_tls_with_a_certificate_and_without(tmp_path: Path) -> None:
    certificate = authority(tmp_path, "gateway")
    port = free_port()
    uri = f"tls://127.0.0.1:{port}?cert={certificate}&key={certificate.with_suffix('.key')}"
    with QueuedSource(open_source(uri)) as source:  # its own thread: the handshake has two sides
        plain = TcpEnd(port)
        plain.send(b"\0" * 50)
        context = ssl.create_default_context(cafile=str(certificate))
        with (
            socket.create_connection(("127.0.0.1", port), 60.0) as raw,
            context.wrap_socket(raw, server_hostname="127.0.0.1") as device,
        ):
            for data in frames_of(hello_for(), ECG):
                device.sendall(data)
            assert next_block(source).start_index == 0
        plain.close()


def test_missing_tls_files_are_reported(tmp_path: Path) -> None:
    wire = network_wire(f"tls://127.0.0.1:0?cert={tmp_path / 'none.pem'}")
    with pytest.raises(SourceError, match="TLS files"):
        wire.open()


def test_datagrams_of_another_sender_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp, "_SILENT_S", 600.0)
    wire = UdpWire("127.0.0.1", 0)
    with LinkSource(wire) as source:
        device, stranger = UdpEnd(wire.port), UdpEnd(wire.port)
        for data in frames_of(hello_for(), ECG)[:10]:
            device.send(data)
        stranger.send(frames_of(hello_for(("X",), session=9), np.zeros((100, 1)))[0])
        leads = {block.spec.leads for block in next_blocks(source, 180)}
        device.send(frames_of(hello_for(), ECG)[10])
        assert leads | {next_block(source).spec.leads} == {("II", "V1")}
        device.close()
        stranger.close()


def test_a_port_in_use_is_reported() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(SourceError, match="cannot listen") as caught:
            TcpWire("127.0.0.1", other.getsockname()[1]).open()
    assert caught.value.reason is SourceFault.BUSY


def test_leads_are_chosen_and_never_ignored() -> None:
    wire = TcpWire("127.0.0.1", 0)
    for wanted in (("V1",), ("aVR",)):
        with LinkSource(wire, leads=wanted) as source:
            end = TcpEnd(wire.port)
            end.send(b"".join(frames_of(hello_for(session=len(wanted[0])), ECG)))
            if wanted == ("V1",):
                np.testing.assert_array_equal(next_block(source).samples_mv[:, 0], ECG[:62, 1])
            else:
                with pytest.raises(SourceError, match="no lead 'aVR'"):
                    next_block(source)
            end.close()


def test_blocks_have_the_time_at_which_they_were_sampled() -> None:
    wire = TcpWire("127.0.0.1", 0)
    began = datetime.now(UTC)
    with LinkSource(wire) as source, Sending(TcpEnd(wire.port), endless(), 0.08):
        for _ in range(3):
            next_block(source)
            assert source.stop_utc is not None
            assert began <= source.stop_utc <= datetime.now(UTC) + timedelta(seconds=0.1)


@pytest.mark.parametrize(
    ("uri", "message"),
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
def test_the_error_for_a_wrong_name_says_what_is_right(uri: str, message: str) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        open_source(uri)
    assert caught.value.reason is SourceFault.MALFORMED


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "serial", None)
    with pytest.raises(MissingExtraError, match=r"tocsin\[serial\]") as caught:
        SerialWire("/dev/null").open()
    assert caught.value.extra == "serial"
    assert os.path.exists("/dev/null")  # noqa: PTH110 - nothing was opened, nothing removed
