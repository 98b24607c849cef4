"""Lends the samples of a running agent to a program on the same machine: a socket by the outbox.

Two processes cannot read one serial port or one Bluetooth device. So the agent passes on what it
has read: each block after its alerts are committed, to one reader at a time. A reader that is slow
is dropped; monitoring never waits for it. The socket is only for the owner of the outbox.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import socket
import time
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from tocsin_agent.errors import DeliveryError, DeliveryFault
from tocsin_agent.runtime.local_server import WAIT_S, LocalServer, short_address
from tocsin_dsp.signal import FloatArray, SampleBlock

log = logging.getLogger(__name__)

_MAX_BLOCKS = 256  # that wait for the reader
_MAX_LINE = 64 * 1024
_MAX_VALUES = 1 << 24  # of a reading: 128 MB


class _Head(msgspec.Struct, frozen=True):
    stream: str
    rate_hz: float
    leads: tuple[str, ...]
    start_index: int
    rows: int


class Reading(NamedTuple):
    """What a reader has collected of one stream.

    Attributes
    ----------
    rate_hz : float
        Samples per second.
    leads : tuple of str
        Columns of the samples.
    samples_mv : ndarray, shape (n, leads)
        Gaps are NaN.
    """

    rate_hz: float
    leads: tuple[str, ...]
    samples_mv: FloatArray


def tap_of(outbox: Path) -> Path:
    """Return where the samples of the agent with this outbox can be read."""
    return outbox.with_name(f"{outbox.name}.samples")


class Tap(LocalServer):
    """Passes blocks on to who is connected.

    Parameters
    ----------
    outbox : Path
        The outbox of the patient; the socket is beside it.
    """

    def __init__(self, outbox: Path) -> None:
        super().__init__(
            tap_of(outbox),
            name="tocsin-tap",
            backlog=1,
            without="no update can be compared here",
        )
        self._blocks: queue.Queue[SampleBlock | None] | None = None

    def __exit__(self, *_: object) -> None:
        blocks, self._blocks = self._blocks, None
        if blocks is not None:
            with contextlib.suppress(queue.Full):
                blocks.put_nowait(None)
        super().__exit__()

    def take(self, block: SampleBlock) -> None:
        """Pass a block on, if somebody reads; never waits."""
        if (blocks := self._blocks) is not None:
            try:
                blocks.put_nowait(block)
            except queue.Full:
                self._blocks = None
                log.warning("%s: the reader is too slow, and was dropped", self._path)

    def _serve(self, connection: socket.socket) -> None:
        blocks = queue.Queue[SampleBlock | None](_MAX_BLOCKS)
        self._blocks = blocks
        try:
            self._lend(connection, blocks)
        finally:
            self._blocks = None

    def _lend(self, reader: socket.socket, blocks: queue.Queue[SampleBlock | None]) -> None:
        while self._blocks is blocks:
            try:
                block = blocks.get(timeout=WAIT_S)
            except queue.Empty:
                reader.sendall(b"\n")  # raises if nobody reads any more
                continue
            if block is None:
                return
            spec = block.spec
            if not len(block) or spec.marks_only:
                continue
            head = _Head(spec.stream_id, spec.rate_hz, spec.leads, block.start_index, len(block))
            values = np.ascontiguousarray(block.samples_mv, dtype="<f8")
            reader.sendall(msgspec.json.encode(head) + b"\n" + values.tobytes())


def read_tap(outbox: Path, seconds: float, wait_s: float) -> Reading | None:
    """Collect samples of a running agent.

    Parameters
    ----------
    outbox : Path
        Of the patient.
    seconds : float
        How much ECG; less is returned if the stream changes or `wait_s` is over.
    wait_s : float
        The longest wait.

    Returns
    -------
    Reading or None
        None where no ECG arrived.

    Raises
    ------
    DeliveryError
        AGENT_UNREACHABLE if no agent lends its samples there.
    """
    until_s = time.monotonic() + wait_s
    first: _Head | None = None
    parts: list[FloatArray] = []
    rows = 0
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.settimeout(WAIT_S * 2)
            with short_address(tap_of(outbox)) as address:
                asking.connect(address)
            with asking.makefile("rb") as stream:
                while time.monotonic() < until_s and (line := stream.readline(_MAX_LINE)):
                    if line == b"\n":
                        continue
                    head = msgspec.json.decode(line, type=_Head)
                    columns = len(head.leads)
                    content = stream.read(head.rows * columns * 8)
                    first = first or head
                    gap = head.start_index - first.start_index - rows
                    same = (head.stream, head.leads) == (first.stream, first.leads)
                    total = rows + gap + head.rows
                    if not same or gap < 0 or total * columns > _MAX_VALUES:
                        break  # another stream; the one before is enough
                    if gap:
                        parts.append(np.full((gap, columns), np.nan))
                    parts.append(np.frombuffer(content, dtype="<f8").reshape(-1, columns))
                    rows = total
                    if rows >= seconds * first.rate_hz:
                        break
    except (OSError, msgspec.DecodeError, ValueError) as error:
        if not parts:
            why = f"no agent lends its samples at {tap_of(outbox)}: {error}"
            raise DeliveryError(DeliveryFault.AGENT_UNREACHABLE, why) from error
    if first is None or not parts:
        return None
    return Reading(first.rate_hz, first.leads, np.concatenate(parts))
