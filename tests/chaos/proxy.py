"""A TCP proxy on the loopback that loses, delays and breaks connections on request."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from typing import Self

_CHUNK = 1 << 14


class Proxy:
    """Forwards connections to a port; its thread runs an event loop of its own.

    Attributes
    ----------
    port : int
        Where it listens.
    black_hole : bool
        True: nothing passes in either direction, and no connection ends.
    delay_s : float
        How long each piece waits before it passes.
    loss : float
        The chance that a piece breaks its connection instead of passing: what the loss of
        packets does to a TCP connection in the end.
    """

    def __init__(self, target_port: int, seed: int) -> None:
        self.port = 0
        self.black_hole = False
        self.delay_s = 0.0
        self.loss = 0.0
        self._target = target_port
        self._chance = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._listening = threading.Event()
        self._stop = asyncio.Event()
        self._serving = set[asyncio.Task[None]]()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))

    def __enter__(self) -> Self:
        self._thread.start()
        self._listening.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30.0)
        self._loop.close()

    def heal(self) -> None:
        """Let everything pass again."""
        self.black_hole, self.delay_s, self.loss = False, 0.0, 0.0

    async def _run(self) -> None:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set()
        await self._stop.wait()
        server.close()
        for task in self._serving:
            task.cancel()
        # What is being accepted is not cancelled: its socket would be left open.
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            # Cancelled only by `_run` at the end; the callback of Python 3.11's streams
            # would log a task that ends as cancelled.
            with contextlib.suppress(OSError, asyncio.CancelledError):
                if not self._stop.is_set():
                    await self._join(reader, writer)
        finally:
            await self._end(writer)
            self._serving.discard(task)

    async def _end(self, writer: asyncio.StreamWriter) -> None:
        """Send what waits, and close; when the proxy ends, at once: the other side may not read."""
        writer.close()
        with contextlib.suppress(OSError):
            try:
                if self._stop.is_set():
                    writer.transport.abort()
                await writer.wait_closed()
            except asyncio.CancelledError:
                writer.transport.abort()
                await writer.wait_closed()

    async def _join(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, opening: bytes = b""
    ) -> None:
        """Forward a connection, of which `opening` was read and is sent first."""
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        far_writer.write(opening)
        ways = [
            asyncio.create_task(self._pump(reader, far_writer)),
            asyncio.create_task(self._pump(far_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            await self._end(far_writer)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                while self.black_hole:  # noqa: ASYNC110  # set by another thread
                    await asyncio.sleep(0.02)
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if self._chance.random() < self.loss:
                    return
                writer.write(data)
                await writer.drain()
