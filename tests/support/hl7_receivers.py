"""A receiver of HL7 v2 over MLLP on the loopback, by the server of python-hl7."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import hl7
from hl7.mllp import start_hl7_server


class Hl7Receiver:
    """Keeps what arrives, and answers each message as `answers` says, then `AA`.

    An answer is an acknowledgement code, `silence`, `close`, `nonsense` or `other` (the control id
    of another message).
    """

    def __init__(self, *, port: int = 0, cert: Path | None = None) -> None:
        self.received: list[str] = []
        self.answers: list[str] = []
        self.refuses: Callable[[str], bool] = lambda _: False
        self.connections = 0
        self._wanted, self._cert = port, cert
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    @property
    def url(self) -> str:
        return f"{'mllps' if self._cert else 'mllp'}://127.0.0.1:{self.port}"

    def taken(self) -> list[Any]:
        """Return each message once, parsed."""
        return [hl7.parse(text) for text in dict.fromkeys(self.received)]

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._run())
        finally:
            self._loop.close()

    async def _run(self) -> None:
        self._stop = asyncio.Event()
        context = None
        if self._cert is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self._cert, self._cert.with_suffix(".key"))
        tasks = set[asyncio.Task[None]]()

        def connected(reader: Any, writer: Any) -> None:  # noqa: ANN401
            self.connections += 1
            task = self._loop.create_task(self._talk(reader, writer))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        server = await start_hl7_server(
            connected, "127.0.0.1", self._wanted, encoding="utf-8", ssl=context
        )
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _talk(self, reader: Any, writer: Any) -> None:  # noqa: ANN401
        try:
            while True:
                message = await reader.readmessage()
                self.received.append(str(message))
                refused = self.refuses(str(message))
                how = "AE" if refused else self.answers.pop(0) if self.answers else "AA"
                if how == "silence":
                    continue
                if how == "close":
                    return
                if how == "nonsense":
                    writer.writeblock(b"HTTP/1.1 400 Bad Request")
                else:
                    ack = message.create_ack("AA" if how == "other" else how)
                    if how == "other":
                        ack.segment("MSA").assign_field("another", 2)
                    writer.writemessage(ack)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.close()
