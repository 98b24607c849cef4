"""Chest straps over Bluetooth LE: the coroutines of bleak in a thread of their own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import re
import threading
import time
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from tocsin_agent.extras import import_extra
from tocsin_agent.retry import Backoff
from tocsin_agent.sources.devices.heart_rate import MEASUREMENT, MarkStream
from tocsin_agent.sources.devices.live import LiveSource, Piece
from tocsin_agent.sources.devices.polar import CONTROL, DATA, START, STOP, PolarStream, started

log = logging.getLogger(__name__)

_ANSWER_S = 5.0  # the longest wait for the answer of the control point
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0
_SCAN_S = 10.0
_ADDRESS = re.compile(
    r"([0-9A-F]{2}:){5}[0-9A-F]{2}|[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}", re.IGNORECASE
)
logging.getLogger("bleak").setLevel(logging.ERROR)  # what it warns of is said in words here
_FRAMES = 1000  # nine minutes of unread frames; then the newest are dropped

FindByName = Callable[[str], Awaitable[Any]]
MakeClient = Callable[[Any, Callable[[Any], None]], Any]


def _bleak_client(address: Any, on_disconnect: Callable[[Any], None]) -> Any:  # noqa: ANN401
    bleak = import_extra("bleak", "ble", "Bluetooth LE")
    return bleak.BleakClient(address, disconnected_callback=on_disconnect)


async def _found_by_name(name: str) -> Any:  # noqa: ANN401
    bleak = import_extra("bleak", "ble", "Bluetooth LE")
    return await bleak.BleakScanner.find_device_by_name(name, timeout=_SCAN_S)


def in_words(error: Exception) -> str:
    """Return what an error of bleak means, and what to do; each platform has its own errors."""
    name, text = type(error).__name__, str(error) or type(error).__name__
    if name == "BleakDeviceNotFoundError" or "was not found" in text:
        return "it is not found: is it worn, in reach, and not connected to a phone?"
    if isinstance(error, TimeoutError):
        return "it does not answer in time: is it in reach, and not connected to a phone?"
    if isinstance(error, PermissionError) or "AccessDenied" in text or "NotAuthorized" in text:
        return f"no permission for Bluetooth ({text}): add this user to the group bluetooth"
    if isinstance(error, FileNotFoundError | ConnectionRefusedError) or "dbus" in text.lower():
        return (
            f"no Bluetooth service ({text}): start bluetooth.service (BlueZ), and let tocsin reach "
            "the system D-Bus"
        )
    if name == "BleakBluetoothNotAvailableError" or "adapter" in text.lower():
        return f"no Bluetooth adapter that is switched on ({text}): try `bluetoothctl power on`"
    return text


class Stream(Protocol):
    """What makes samples of the notifications of a strap."""

    def feed(self, data: bytes, now_s: float) -> Piece | None:
        """Take a notification that arrived at `now_s` (monotonic)."""


class StrapSource(LiveSource):
    """One strap; it is connected to again, without end, when it is out of reach.

    Reason for its size: the steps of a connection, and what each kind of strap does in them.

    Parameters
    ----------
    address : str
        Its address as the system names it, AA:BB:CC:DD:EE:FF on Linux; or its name, such as
        `Polar H10 A0B1C2D3`.
    leads, block_s
        As in `LiveSource`.
    make_client : callable, optional
        Makes a client with the coroutines of `bleak.BleakClient`.
    find_by_name : callable, optional
        Returns the device of a name, or None.
    """

    def __init__(
        self,
        address: str,
        stream: Stream,
        *,
        leads: Sequence[str] | None = None,
        block_s: float = 0.25,
        make_client: MakeClient = _bleak_client,
        find_by_name: FindByName = _found_by_name,
    ) -> None:
        super().__init__(leads=leads, block_s=block_s)
        self.address = address
        self.stream = stream
        self._make_client, self._find_by_name = make_client, find_by_name
        self._trouble: str | None = None  # why it does not stream, in words
        self._frames: queue.Queue[tuple[bytes, float]] = queue.Queue(_FRAMES)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    def why_silent(self) -> str | None:
        """Return why the strap does not stream."""
        return None if self._trouble is None else f"{self.address}: {self._trouble}"

    def _begin(self) -> None:
        self._make_client(self.address, lambda _: None)  # raises here if bleak is not installed
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        ready.wait()

    def _receive(self, timeout_s: float) -> list[Piece]:
        try:
            frames = [self._frames.get(timeout=timeout_s)]
        except queue.Empty:
            return []
        while not self._frames.empty():
            frames.append(self._frames.get_nowait())
        pieces = [self.stream.feed(data, now_s) for data, now_s in frames]
        return [piece for piece in pieces if piece is not None]

    def _end(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None and self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            thread.join(_ANSWER_S + 1.0)
        while not self._frames.empty():
            self._frames.get_nowait()

    # -- in the thread ------------------------------------------------------------------------

    def _run(self, ready: threading.Event) -> None:
        async def main() -> None:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            ready.set()
            await self._stay_connected(self._stop)

        asyncio.run(main())

    async def _stay_connected(self, stop: asyncio.Event) -> None:
        backoff = Backoff(_FIRST_WAIT_S, _LONGEST_WAIT_S)
        while not stop.is_set():
            try:
                await self._connection(stop)
                backoff.reset()
            except Exception as error:  # noqa: BLE001 - each platform has its own; all are retried
                self._note(in_words(error))
            if not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), backoff.next_s())

    def _note(self, fault: str) -> None:
        """Log why the strap does not stream, once."""
        if fault != self._trouble:
            log.warning("%s: %s; tried again until it streams", self.address, fault)
        self._trouble = fault

    async def _target(self) -> Any:  # noqa: ANN401
        """Return what to connect to: the address, or the device of the name."""
        if _ADDRESS.fullmatch(self.address):
            return self.address
        found = await self._find_by_name(self.address)
        if found is None:
            raise TimeoutError
        return found

    async def _connection(self, stop: asyncio.Event) -> None:
        """Connect, start the stream, and stay until the strap disconnects or `stop` is set."""
        over = asyncio.Event()
        client = self._make_client(await self._target(), lambda _: over.set())
        await client.connect()
        try:
            fault = await self._start(client)
            if fault is not None:
                self._note(fault)
                return
            self._trouble = None
            log.info("%s streams", self.address)
            waiting = [asyncio.ensure_future(event.wait()) for event in (stop, over)]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in waiting:
                task.cancel()
            if not over.is_set():
                await self._finish(client)
            else:
                self._note("it is out of reach")
        finally:
            await client.disconnect()

    @abstractmethod
    async def _start(self, client: Any) -> str | None:  # noqa: ANN401
        """Let the strap stream to `_on_frame`; return why it does not."""

    async def _finish(self, client: Any) -> None:  # noqa: ANN401
        """Let the strap stop before it is disconnected."""

    def _on_frame(self, _: object, data: bytearray) -> None:
        try:
            self._frames.put_nowait((bytes(data), time.monotonic()))
        except queue.Full:
            log.warning("%s: the reader is late, a frame is dropped", self.address)


class PolarSource(StrapSource):
    """A Polar H10 and its ECG; parameters as in `StrapSource`."""

    def __init__(self, address: str, **options: Any) -> None:  # noqa: ANN401 - those of the base
        super().__init__(address, PolarStream(f"polar-h10/{_name(address)}"), **options)

    async def _start(self, client: Any) -> str | None:  # noqa: ANN401
        answers: asyncio.Queue[bytes] = asyncio.Queue()
        await client.start_notify(CONTROL, lambda _, data: answers.put_nowait(bytes(data)))
        await client.start_notify(DATA, self._on_frame)
        await client.write_gatt_char(CONTROL, START, response=True)
        fault = started(await asyncio.wait_for(answers.get(), _ANSWER_S))
        return None if fault is None else f"it refuses to stream its ECG: {fault}"

    async def _finish(self, client: Any) -> None:  # noqa: ANN401
        await client.write_gatt_char(CONTROL, STOP, response=True)


class HeartRateSource(StrapSource):
    """A strap that sends RR intervals and no ECG; parameters as in `StrapSource`."""

    def __init__(self, address: str, **options: Any) -> None:  # noqa: ANN401 - those of the base
        super().__init__(address, MarkStream(f"heart-rate/{_name(address)}"), **options)

    async def _start(self, client: Any) -> str | None:  # noqa: ANN401
        await client.start_notify(MEASUREMENT, self._on_frame)
        return None


def _name(address: str) -> str:
    """Return the part of a stream's id that names the strap."""
    return address.replace(":", "").lower()
