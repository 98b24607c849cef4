"""A simulated device that sends a scripted patient in real time, whoever listens."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Self

import numpy as np

from support.devices import STEP_PV, TcpEnd, hello_for
from tocsin_agent.sources.base import EndOfStream, Source
from tocsin_agent.sources.devices.protocol.frames import frame
from tocsin_agent.sources.devices.protocol.samples import SamplePacket, encode_samples
from tocsin_agent.sources.opening import open_source


class LiveDevice:
    """Sends a script again and again over TCP; what nobody takes is gone.

    Parameters
    ----------
    port : int
        Where a gateway listens, now or later.
    uri : str
        The script: a source that ends.
    part_s : tuple of float, optional
        Only this part of the script, in seconds.
    quiet_s : float
        The script begins with this long a normal rhythm, which is all that is sent once
        `stopped_alarming` is set.
    """

    block = 25

    def __init__(
        self, port: int, uri: str, part_s: tuple[float, float] | None = None, quiet_s: float = 8.0
    ) -> None:
        self._port = port
        self.stopped_alarming = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        with open_source(uri, block_s=30.0) as source:
            self.rate_hz = source.spec.rate_hz
            self._rows = [row for block in _blocks(source) for row in block]
            leads = source.spec.leads
        self._hello = hello_for(leads, rate_hz=self.rate_hz)
        self._quiet_rows = self._rows[: round(quiet_s * self.rate_hz)]
        if part_s is not None:
            first, last = (round(seconds * self.rate_hz) for seconds in part_s)
            self._rows = self._rows[first:last]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10.0)

    def _run(self) -> None:
        began_s, index, number = time.monotonic(), 0, 0
        end: TcpEnd | None = None
        while not self._stop.is_set():
            time.sleep(max(0.0, began_s + index / self.rate_hz - time.monotonic()))
            rows = self._quiet_rows if self.stopped_alarming.is_set() else self._rows
            taken = [rows[(index + offset) % len(rows)] for offset in range(self.block)]
            try:
                if end is None:
                    end = TcpEnd(self._port)
                    hello = replace(self._hello, next=number, oldest=number)
                    end.send(b"\0" + frame(hello.encode()))
                end.send(frame(self._packet(number, index, taken)))
            except OSError:
                if end is not None:
                    end.close()
                end = None
            index, number = index + self.block, number + 1
        if end is not None:
            end.close()

    def _packet(self, number: int, index: int, rows: list[list[int]]) -> bytes:
        time_us = round(index * 1e6 / self.rate_hz) & 0xFFFFFFFF
        values = np.array(rows, dtype=np.int32)
        return encode_samples(SamplePacket(self._hello.session, number, index, time_us, values))


def _blocks(source: Source) -> Iterator[list[list[int]]]:
    while True:
        try:
            block = source.read(1.0)
        except EndOfStream:
            return
        if block is not None:
            yield np.rint(np.nan_to_num(block.samples_mv) * 1e9 / STEP_PV).astype(int).tolist()
