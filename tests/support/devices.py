"""A simulated device that plays stored samples over any wire, for tests of the gateway."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import secrets
import socket
import threading
import tty
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np

from support.brokers import quick
from tocsin_agent.errors import DeliveryError
from tocsin_agent.mqtt.connection import Connection
from tocsin_agent.sources.base import EndOfStream, Source
from tocsin_agent.sources.devices import polar
from tocsin_agent.sources.devices.ble import PolarSource
from tocsin_agent.sources.devices.link_source import LinkSource
from tocsin_agent.sources.devices.protocol.frames import frame
from tocsin_agent.sources.devices.protocol.packets import Hello, Lead
from tocsin_agent.sources.devices.protocol.samples import MISSING, SamplePacket, encode_samples
from tocsin_dsp.signal import FloatArray, SampleBlock

STEP_PV = 5_000_000  # 200 counts in a millivolt


def hello_for(
    leads: tuple[str, ...] = ("II", "V1"), *, rate_hz: float = 250, session: int = 1, flags: int = 0
) -> Hello:
    """Return the hello of the simulated device; its stream has one name in every session."""
    return Hello(
        session,
        "player",
        tuple(Lead(name, STEP_PV) for name in leads),
        round(rate_hz * 1000),
        flags=flags,
        stream="played",
    )


def frames_of(
    hello: Hello, samples_mv: FloatArray, *, block: int = 20, pulses: Collection[int] = ()
) -> list[bytes]:
    """Return a hello and all samples as frames; leave frames out to make a gap."""
    counts = np.where(np.isnan(samples_mv), MISSING, np.rint(samples_mv * 1e9 / STEP_PV))
    values = counts.astype(np.int32)
    period_us = 1e9 / hello.rate_mhz
    out = [b"\0" + frame(hello.encode())]
    for number, at in enumerate(range(0, len(values), block)):
        time_us = round(at * period_us) & 0xFFFFFFFF
        rows = values[at : at + block]
        marks = tuple(row for row in range(len(rows)) if at + row in pulses)
        packet = SamplePacket(hello.session, number, at, time_us, rows, paced=marks)
        out.append(frame(encode_samples(packet)))
    return out


class DeviceEnd(ABC):
    """The end of a wire on the device."""

    @abstractmethod
    def send(self, data: bytes) -> None: ...

    @abstractmethod
    def close(self) -> None: ...


class PtyEnd(DeviceEnd):
    """The far end of a pseudo-terminal, under a fixed name."""

    def __init__(self, connection: Path) -> None:
        self.master, slave = pty.openpty()
        tty.setraw(slave)
        connection.unlink(missing_ok=True)
        connection.symlink_to(os.ttyname(slave))
        self._slave = slave  # kept open, so that no byte is lost before the gateway opens it
        self._connection = connection

    def send(self, data: bytes) -> None:
        while data:
            data = data[os.write(self.master, data) :]

    def close(self) -> None:
        self._connection.unlink(missing_ok=True)
        os.close(self._slave)
        os.close(self.master)


class TcpEnd(DeviceEnd):
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 60.0)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def close(self) -> None:
        self.socket.close()


class UdpEnd(DeviceEnd):
    def __init__(self, port: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._to = ("127.0.0.1", port)

    def send(self, data: bytes) -> None:
        self.socket.sendto(data, self._to)

    def close(self) -> None:
        self.socket.close()


class MqttEnd(DeviceEnd):
    """Publishes each frame as a message."""

    def __init__(self, port: int, topic: str) -> None:
        self.topic = topic
        self.connection = Connection(quick(port), f"device-{secrets.token_hex(4)}")
        self.connection.open()

    def send(self, data: bytes) -> None:
        self.connection.publish(self.topic, data, qos=1)
        self.connection.step(0.0)

    def close(self) -> None:
        try:
            while self.connection.step(0.1).acks:
                pass
        finally:
            self.connection.close()


class Played(Source):
    """A live source with the device that feeds it; it ends with the last sample of the device.

    Each `open` is a new session of the device, which plays from its first sample.
    """

    finite = True

    def __init__(self, source: LinkSource, samples_mv: FloatArray) -> None:
        self.source, self._samples = source, samples_mv
        self._session = 0
        self._came = 0
        self._first: SampleBlock | None = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    @abstractmethod
    def end(self) -> DeviceEnd:
        """Return the end of the wire on the device."""

    def open(self) -> None:
        self.close()
        self._session += 1
        self._came = 0
        self._stop.clear()
        before = self.end() if self.before else None
        self.source.open()
        self._thread = threading.Thread(target=self._play, args=(before or self.end(),))
        self._thread.start()
        while not hasattr(self.source, "spec"):
            self._first = self.source.read(0.01)
        self.spec = self.source.spec

    before = False  # True if the device must be there before the gateway opens

    def read(self, timeout_s: float) -> SampleBlock | None:
        if self._came == len(self._samples):
            raise EndOfStream
        block, self._first = self._first or self.source.read(timeout_s), None
        if block is not None:
            self._came = block.stop_index
        return block

    def close(self) -> None:
        self._stop.set()
        self._first = None
        self.source.close()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(30.0)

    def _play(self, end: DeviceEnd) -> None:
        try:
            for frame_ in frames_of(hello_for(session=self._session), self._samples):
                end.send(frame_)
            self._stop.wait(120.0)
        except (OSError, DeliveryError):
            pass  # the gateway has closed the connection
        finally:
            with contextlib.suppress(OSError, DeliveryError):
                end.close()


class PlayedTcp(Played):
    def end(self) -> DeviceEnd:
        return TcpEnd(self.source.wire.port)  # type: ignore[attr-defined]


class PlayedUdp(Played):
    def end(self) -> DeviceEnd:
        return UdpEnd(self.source.wire.port)  # type: ignore[attr-defined]


class PlayedMqtt(Played):
    def __init__(self, source: LinkSource, samples_mv: FloatArray, port: int, topic: str) -> None:
        super().__init__(source, samples_mv)
        self._port, self._topic = port, topic

    def end(self) -> DeviceEnd:
        return MqttEnd(self._port, self._topic)


class FakeH10:
    """A strap that answers as the real one does and plays its frames."""

    def __init__(self, frames: list[bytes], on_disconnect: Callable[[Any], None]) -> None:
        self.frames, self.on_disconnect = frames, on_disconnect
        self.notified: dict[str, Callable[[object, bytearray], None]] = {}
        self.written: list[bytes] = []
        self.every_s, self.answer, self.leave_after = 0.0, bytes((0xF0, 2, 0, 0, 0)), 1 << 30
        self._task: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        await asyncio.sleep(0)

    async def start_notify(self, uuid: str, callback: Callable[[object, bytearray], None]) -> None:
        self.notified[uuid] = callback

    async def write_gatt_char(self, uuid: str, data: bytes, *, response: bool) -> None:
        assert (uuid, response) == (polar.CONTROL, True)
        self.written.append(data)
        if data == polar.START:
            self.notified[polar.CONTROL](None, bytearray(self.answer))
            self._task = asyncio.ensure_future(self._play())

    async def disconnect(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _play(self) -> None:
        for number, data in enumerate(self.frames):
            if number == self.leave_after:
                self.on_disconnect(self)
                return
            self.notified[polar.DATA](None, bytearray(data))
            await asyncio.sleep(self.every_s)


def h10_frames(samples_mv: FloatArray, *, first_ns: int = 10**18, block: int = 73) -> list[bytes]:
    """Return one lead as the strap sends it, in whole µV."""
    out = []
    for at in range(0, len(samples_mv), block):
        part = np.rint(samples_mv[at : at + block] * 1000.0).astype("<i4")
        last_ns = first_ns + round((at + len(part) - 1) * 1e9 / polar.RATE_HZ)
        raw = part.view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
        out.append(b"\0" + last_ns.to_bytes(8, "little") + b"\0" + raw)
    return out


class PlayedH10(Played):
    """Needs no thread: the fake strap plays in the thread of the source."""

    def __init__(self, samples_mv: FloatArray, block_s: float) -> None:
        def make(_: str, on_disconnect: Callable[[Any], None]) -> FakeH10:
            return FakeH10(h10_frames(samples_mv), on_disconnect)

        source = PolarSource("A0:9E:1A:00:11:22", block_s=block_s, make_client=make)
        super().__init__(source, samples_mv)  # type: ignore[arg-type]

    def end(self) -> DeviceEnd:
        return NoEnd()

    def _play(self, end: DeviceEnd) -> None:
        end.close()


class NoEnd(DeviceEnd):
    def send(self, data: bytes) -> None:
        pass

    def close(self) -> None:
        pass


class PlayedSerial(Played):
    before = True

    def __init__(self, source: LinkSource, samples_mv: FloatArray, connection: Path) -> None:
        super().__init__(source, samples_mv)
        self._connection = connection

    def end(self) -> DeviceEnd:
        return PtyEnd(self._connection)


class Sending:
    """A device that sends in a thread of its own, frame by frame, until it is stopped."""

    def __init__(self, end: DeviceEnd, frames: Iterator[bytes], every_s: float) -> None:
        self._end, self._frames, self._every_s = end, frames, every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30.0)
        self._end.close()

    def _run(self) -> None:
        for data in self._frames:
            try:
                self._end.send(data)
            except OSError:
                return
            if self._stop.wait(self._every_s):
                return
