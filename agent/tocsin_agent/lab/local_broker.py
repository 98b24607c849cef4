"""A mosquitto on this machine, for measurements."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tocsin_agent.errors import LabError

_PATIENCE_S = 60.0


@contextmanager
def local_broker(folder: Path) -> Iterator[int]:
    """Run mosquitto with its files in `folder`; yields its port on the loopback.

    Raises
    ------
    LabError
        If it is not installed, ends, or does not listen.
    """
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if program is None:
        raise LabError("mosquitto is not installed: apt-get install mosquitto")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n", encoding="utf-8")
    with subprocess.Popen([program, "-c", str(config)], stderr=subprocess.DEVNULL) as process:
        try:
            _wait_until_it_listens(port, process)
            yield port
        finally:
            process.terminate()


def _wait_until_it_listens(port: int, process: subprocess.Popen[bytes]) -> None:
    end_s = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end_s:
        if process.poll() is not None:
            raise LabError(f"mosquitto ended with exit code {process.returncode}: run it by hand")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise LabError(f"mosquitto did not listen on port {port} within {_PATIENCE_S:.0f} s")
