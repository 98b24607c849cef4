"""The compiled device library, driven as the firmware of a device drives it."""

from __future__ import annotations

import ctypes
import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

from tocsin_agent.sources.devices.protocol.packets import Lead
from tocsin_agent.sources.devices.protocol.samples import IntArray

FOLDER = Path(__file__).resolve().parents[2] / "firmware-bridge"
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-Wconversion")


def tool(name: str) -> str:
    """Return a program's path; without it the test is skipped, or fails if it is required."""
    found = shutil.which(name)
    if found is None:
        package = {"arm-none-eabi-gcc": "gcc-arm-none-eabi"}.get(name, name)
        reason = f"{name} is not installed: tools/ensure-tools {name}={package}"
        if os.environ.get("TOCSIN_REQUIRE_TOOLS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def sources() -> list[str]:
    return [str(path) for path in sorted((FOLDER / "src").glob("*.c"))]


@functools.cache
def _library() -> ctypes.CDLL:
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "shim.so"
        subprocess.run(
            [
                *(tool("gcc"), *STRICT, "-O2", "-shared", "-fPIC", f"-I{FOLDER / 'include'}"),
                *(*sources(), str(FOLDER / "tests" / "shim.c"), "-o", str(made)),
            ],
            check=True,
        )
        library = ctypes.CDLL(str(made))
    library.shim_new.restype = ctypes.c_void_p
    library.shim_next.restype = ctypes.c_size_t
    library.tocsin_unframe.restype = ctypes.c_size_t
    library.tocsin_frame.restype = ctypes.c_size_t
    return library


@dataclass(frozen=True)
class Setup:
    """The properties of a device, as in `tocsin_stream`."""

    leads: tuple[Lead, ...] = (Lead("II", 5_000_000), Lead("V1", 5_000_000))
    device: str = "holter-17"
    firmware: str = "1.4.2"
    stream: str = ""
    rate_mhz: int = 250_000
    lowest: int = 0
    highest: int = 0
    flags: int = 0
    alive_ms: int = 1000
    bits: int = 16
    block: int = 25
    session: int = 1
    slots: int = 8
    outbox: int = 4096

    def arguments(self) -> tuple[Any, ...]:
        texts = [self.device, self.firmware, self.stream]
        names = [lead.name for lead in self.leads]
        numbers = (self.rate_mhz, self.lowest, self.highest, self.flags, self.alive_ms)
        more = (len(self.leads), self.bits, self.block, self.session, self.slots, self.outbox)
        count = len(self.leads)
        return (
            (ctypes.c_char_p * 3)(*(text.encode() for text in texts)),
            (ctypes.c_char_p * count)(*(name.encode() for name in names)),
            (ctypes.c_uint32 * count)(*(lead.step_pv for lead in self.leads)),
            (ctypes.c_int32 * count)(*(lead.zero for lead in self.leads)),
            (ctypes.c_int64 * 11)(*numbers, *more),
        )


class Device:
    """One device; a context manager that frees it."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self._c = _library()
        self._handle = ctypes.c_void_p(self._c.shim_new(*setup.arguments()))
        if not self._handle:
            raise ValueError("the library refuses this stream")
        self._out = ctypes.create_string_buffer(700)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._c.shim_free(self._handle)

    def put(
        self,
        now_us: int,
        values: IntArray,
        *,
        off: int = 0,
        saturated: int = 0,
        paced: bool = False,
        period_us: int | None = None,
    ) -> int:
        """Sample these rows, the first at `now_us`."""
        rows = np.ascontiguousarray(values, dtype=np.int32)
        step_us = round(1e9 / self.setup.rate_mhz) if period_us is None else period_us
        return int(
            self._c.shim_put(
                self._handle,
                ctypes.c_uint32(now_us & 0xFFFFFFFF),
                ctypes.c_uint32(step_us),
                rows.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
                ctypes.c_uint32(len(rows)),
                ctypes.c_uint16(off),
                ctypes.c_uint16(saturated),
                int(paced),
            )
        )

    def skip(self, rows: int) -> None:
        """Lose samples, as a full ring buffer does."""
        self._c.shim_skip(self._handle, ctypes.c_uint32(rows & 0xFFFFFFFF))

    def flush(self) -> None:
        self._c.shim_poll(self._handle, 1)

    def event(self, kind: int, now_us: int, value: bytes = b"") -> bool:
        now = ctypes.c_uint32(now_us & 0xFFFFFFFF)
        length = ctypes.c_size_t(len(value))
        return bool(self._c.shim_event(self._handle, ctypes.c_uint8(kind), now, value, length))

    def frames(self, now_us: int, most: int = 10_000) -> list[bytes]:
        """Return what the device would send now."""
        out = []
        for _ in range(most):
            length = self._c.shim_next(
                self._handle, ctypes.c_uint32(now_us & 0xFFFFFFFF), self._out, ctypes.c_size_t(700)
            )
            if not length:
                break
            out.append(self._out.raw[:length])
        return out

    def receive(self, data: bytes, now_us: int) -> None:
        now = ctypes.c_uint32(now_us & 0xFFFFFFFF)
        self._c.shim_receive(self._handle, data, ctypes.c_size_t(len(data)), now)

    def opened(self) -> None:
        self._c.shim_opened(self._handle)

    def change(self, setup: Setup, now_us: int) -> None:
        """Change leads, rate or gains."""
        now = ctypes.c_uint32(now_us & 0xFFFFFFFF)
        if not self._c.shim_change(self._handle, *setup.arguments(), now):
            raise ValueError("the library refuses this stream")
        self.setup = setup


def c_unframe(frame: bytes) -> bytes | None:
    """Read a frame with the library; None if the library finds it corrupt."""
    buffer = ctypes.create_string_buffer(frame, len(frame))
    length = _library().tocsin_unframe(buffer, ctypes.c_size_t(len(frame)))
    return buffer.raw[:length] if length else None


def c_frame(body: bytes) -> bytes:
    """Frame a body with the library."""
    out = ctypes.create_string_buffer(700)
    length = _library().tocsin_frame(body, ctypes.c_size_t(len(body)), out, ctypes.c_size_t(700))
    return out.raw[:length]


def c_samples(body: bytes) -> tuple[list[int], IntArray, list[int]] | None:
    """Read samples with the library: head, values, paced rows."""
    head = (ctypes.c_int64 * 25)()
    values = (ctypes.c_int32 * (255 * 16))()
    room = ctypes.c_size_t(255 * 16)
    if not _library().shim_samples(body, ctypes.c_size_t(len(body)), head, values, room):
        return None
    numbers = list(head)
    count, leads, paced = numbers[4], numbers[5], numbers[9]
    rows = np.array(values[: count * leads], dtype=np.int32).reshape(count, leads)
    return numbers[:9], rows, numbers[10 : 10 + paced]


def c_hello(body: bytes) -> tuple[list[int], list[int], list[str]] | None:
    """Read a hello with the library: numbers, step and zero of each lead, texts."""
    numbers, leads = (ctypes.c_int64 * 13)(), (ctypes.c_int64 * 32)()
    texts = ctypes.create_string_buffer(80 * 19)
    if not _library().shim_hello(body, ctypes.c_size_t(len(body)), numbers, leads, texts):
        return None
    count = numbers[12]
    names = [texts.raw[80 * k : 80 * (k + 1)].split(b"\0")[0].decode() for k in range(3 + count)]
    return list(numbers), list(leads[: 2 * count]), names


def run_c(folder: Path, name: str, arguments: Sequence[str], *files: str) -> Path:
    """Compile a program; return its path."""
    made = folder / name
    subprocess.run([*arguments, *files, "-o", str(made)], check=True)
    return made
