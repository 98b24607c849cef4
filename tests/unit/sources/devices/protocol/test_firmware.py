"""The device library: it builds everywhere, is small, and sends few bytes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from support.firmware import FOLDER, STRICT, Device, Setup, sources, tool
from tocsin_agent.sources.devices.protocol.packets import Flag, Lead
from tocsin_agent.sources.devices.protocol.samples import IntArray

SMALL = ("-Os", "-mthumb", "-ffreestanding", "-ffunction-sections", "-fdata-sections")
INCLUDE = (f"-I{FOLDER / 'include'}", f"-I{FOLDER / 'src'}")


def run(*arguments: str) -> str:
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_its_own_tests_pass_under_the_sanitizers(compiler: str, tmp_path: Path) -> None:
    program = tmp_path / "test_link"
    sanitizers = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-O1", "-g")
    test = str(FOLDER / "tests" / "test_link.c")
    run(tool(compiler), *STRICT, *INCLUDE, *sanitizers, *sources(), test, "-o", str(program))
    assert "all tests passed" in run(str(program))


@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4"])
def test_it_builds_for_the_target_and_calls_no_library(core: str, tmp_path: Path) -> None:
    compiler = tool("arm-none-eabi-gcc")
    for source in sources():
        target = str(tmp_path / f"{Path(source).stem}.o")
        run(compiler, f"-mcpu={core}", *SMALL, *STRICT, *INCLUDE, "-c", source, "-o", target)
    objects = sorted(str(path) for path in tmp_path.glob("*.o"))
    together = str(tmp_path / "together.o")
    run(compiler, "-nostdlib", "-r", *objects, "-o", together)
    assert run("arm-none-eabi-nm", "-u", together).split() == []
    data = [line.split() for line in run("arm-none-eabi-size", *objects).splitlines()[1:]]
    assert all(fields[1:3] == ["0", "0"] for fields in data), "there is a global"


def test_the_encoder_is_small(tmp_path: Path) -> None:
    compiler = tool("arm-none-eabi-gcc")
    program = str(tmp_path / "smallest.elf")
    link = ("-nostdlib", "-Wl,--gc-sections", "-Wl,-e,main", *sources())
    smallest = str(FOLDER / "tests" / "smallest.c")
    command = ("-mcpu=cortex-m0plus", *SMALL, *STRICT, *INCLUDE, *link, smallest)
    run(compiler, *command, "-lgcc", "-o", program)
    symbols = [line.split() for line in run("arm-none-eabi-nm", "-S", program).splitlines()]
    sizes = {fields[3]: int(fields[1], 16) for fields in symbols if len(fields) == 4}
    state = sizes.pop("state")
    for of_the_program in ("main", "leads", "stream", "sent"):
        del sizes[of_the_program]
    code = sum(size for name, size in sizes.items() if not name.startswith(("now.", "values.")))
    assert "tocsin_encode_samples" in sizes
    assert code <= 2048
    assert state <= 512


def test_the_examples_compile(tmp_path: Path) -> None:
    tool("g++")
    run(tool("make"), "-C", str(FOLDER), "examples", f"BUILD={tmp_path}")


def sent_bytes(setup: Setup, values: IntArray) -> int:
    """Count everything that the device sends, hellos and all, in real time."""
    total, now_s = 0, 0.0
    with Device(setup) as device:
        for at in range(0, len(values), setup.block):
            device.put(round(now_s * 1e6), values[at : at + setup.block])
            now_s += setup.block / (setup.rate_mhz / 1000)
            total += sum(map(len, device.frames(round(now_s * 1e6))))
    return total


def test_two_leads_without_any_pattern_cost_at_most_12_percent_more() -> None:
    """The worst case: no difference can be coded. A packet is then 252 ms long."""
    setup = Setup(block=63, slots=64, outbox=2000)
    values = np.random.default_rng(1).integers(-32767, 32768, (63 * 400, 2)).astype(np.int32)
    assert sent_bytes(setup, values) / (values.size * 2) - 1 <= 0.12


@pytest.mark.records
def test_a_real_ecg_costs_less_than_its_raw_samples(records: Path) -> None:
    import wfdb  # not where the tests run emulated

    record = wfdb.rdrecord(str(records / "mitdb" / "208"), sampto=75_000, physical=False)
    values = np.asarray(record.d_signal, dtype=np.int32)
    overhead = sent_bytes(Setup(block=25, slots=32), values) / (values.size * 2) - 1
    assert overhead <= 0.0


def test_eight_leads_at_1000_hz_fit_into_a_serial_line_with_headroom() -> None:
    leads = tuple(Lead(f"L{k}", 48_000) for k in range(8))
    setup = Setup(leads, rate_mhz=1_000_000, bits=24, block=24, slots=32)
    setup = Setup(**{**vars(setup), "flags": Flag.LISTENS | Flag.RESENDS, "outbox": 1 << 20})
    values = np.random.default_rng(1).integers(-(2**23) + 1, 2**23, (24_000, 8)).astype(np.int32)
    bits_a_second = 10 * sent_bytes(setup, values) / 24.0
    assert bits_a_second <= 0.35 * 921_600
