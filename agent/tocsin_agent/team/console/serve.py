"""Runs a console with uvicorn."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable

import uvicorn

from tocsin_agent.errors import ConfigError
from tocsin_agent.team.console.app import MAX_MESSAGE_BYTES, Console


class _Uvicorn(uvicorn.Server):
    """A server that says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.on_started: Callable[[], None] = lambda: None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        self.on_started()


class Server:
    """Serves a console until it is stopped.

    Parameters
    ----------
    console : Console
    """

    def __init__(self, console: Console) -> None:
        listen = console.settings.listen
        self._socket = _listen(listen.host, listen.port)
        self._scheme = "https" if listen.secure else "http"
        self._server = _Uvicorn(
            uvicorn.Config(
                console.app,
                ssl_certfile=listen.cert_file,
                ssl_keyfile=listen.key_file,
                ws="websockets-sansio",
                ws_max_size=MAX_MESSAGE_BYTES,
                ws_ping_interval=10.0,
                ws_ping_timeout=10.0,
                ws_per_message_deflate=False,  # a wave is sent to many, and packed once
                proxy_headers=False,  # people.proxy has its own rule
                server_header=False,
                access_log=False,
                log_config=None,
                timeout_graceful_shutdown=3,
                limit_concurrency=1000,
            )
        )

    @property
    def url(self) -> str:
        """Where the page is."""
        host, port = self._socket.getsockname()[:2]
        return f"{self._scheme}://{f'[{host}]' if ':' in host else host}:{port}/"

    def run(self, on_started: Callable[[], None] = lambda: None) -> None:
        """Serve until `stop`, SIGINT or SIGTERM."""
        self._server.on_started = on_started
        asyncio.run(self._server.serve(sockets=[self._socket]))

    def stop(self) -> None:
        """End serving; any thread."""
        self._server.should_exit = True

    def in_thread(self) -> threading.Thread:
        """Serve in a thread, and return it when the page can be fetched."""
        started = threading.Event()
        thread = threading.Thread(target=self.run, args=(started.set,), name="console", daemon=True)
        thread.start()
        started.wait(30.0)
        return thread


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.socket(family)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except OSError as exc:
        raise ConfigError(f"cannot listen on {host} port {port}: {exc.strerror}") from exc
    return listening
