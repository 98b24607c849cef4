"""Make the test vectors again: python3 firmware-bridge/vectors/make_vectors.py

A separate and simple implementation of PROTOCOL.md. It shares no code with the library or the
gateway, so that agreement of all three confirms the protocol. Writes vectors.json, and vectors.h
for tests in C.
"""

from __future__ import annotations

import json
import struct
from itertools import pairwise
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MISSING = None


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def cobs(data: bytes) -> bytes:
    out, group = b"", b""
    left = list(data)
    while True:
        if len(group) == 254:
            out, group = out + b"\xff" + group, b""
            if not left:
                return out
        elif not left:
            return out + bytes([len(group) + 1]) + group
        elif left[0] == 0:
            out, group = out + bytes([len(group) + 1]) + group, b""
            left.pop(0)
            if not left:
                return out + b"\x01"
        else:
            group += bytes([left.pop(0)])


def frame(body: bytes) -> bytes:
    return cobs(body + struct.pack("<I", crc32c(body))) + b"\x00"


def text(value: str) -> bytes:
    raw = value.encode()
    return bytes([len(raw)]) + raw


def hello(f: dict[str, Any]) -> bytes:
    out = struct.pack("<BHBBHI", 1, f["session"] & 0xFFFF, 1, 0, f["flags"], f["session"])
    out += struct.pack("<HHQI", f["next"], f["oldest"], f["counter"], f["time_us"])
    out += struct.pack("<IHBB", f["rate_mhz"], f["alive_ms"], f["bits"], f["block"])
    out += struct.pack("<ii", f["lowest"], f["highest"])
    out += text(f["device"]) + text(f["firmware"]) + text(f["stream"]) + bytes([len(f["leads"])])
    for lead in f["leads"]:
        out += struct.pack("<Ii", lead["step_pv"], lead["zero"]) + text(lead["name"])
    return out


def number(value: int, width: int) -> bytes:
    return (value & ((1 << 8 * width) - 1)).to_bytes(width, "little")


def lead_data(column: list[int | None], width: int) -> tuple[int, bytes]:
    lowest = -(1 << (8 * width - 1))
    if all(value is MISSING for value in column):
        return 3, b""
    raw = b"".join(number(lowest if v is MISSING else v, width) for v in column)
    choices = [(len(raw), 0, raw)]
    if MISSING not in column:
        steps = [b - a for a, b in pairwise(column)]  # type: ignore[operator]
        for code in (1, 2):
            if all(-(1 << (8 * code - 1)) <= s < 1 << (8 * code - 1) for s in steps):
                data = raw[:width] + b"".join(number(s, code) for s in steps)
                choices.append((len(data), code, data))
    _, code, data = min(choices)
    return code, data


def samples(f: dict[str, Any]) -> bytes:
    rows, width = f["values"], f["bits"] // 8
    leads = len(rows[0])
    codes, data = 0, b""
    for k in range(leads):
        code, column = lead_data([row[k] for row in rows], width)
        codes |= code << (2 * k)
        data += column
    marks = bool(f["off"]) | bool(f["saturated"]) << 1 | bool(f["paced"]) << 2
    out = struct.pack("<BHHII", 2, f["session"], f["sequence"], f["counter"], f["time_us"])
    out += bytes([len(rows), (leads - 1) | (0x10 if width == 3 else 0), marks])
    out += number(codes, (leads + 3) // 4) + data
    for name in ("off", "saturated"):
        if f[name]:
            out += struct.pack("<H", f[name])
    if f["paced"]:
        out += bytes([len(f["paced"]), *f["paced"]])
    return out


def event(f: dict[str, Any]) -> bytes:
    head = (f["session"], f["sequence"], f["counter"], f["time_us"], f["kind"])
    return struct.pack("<BHHIIB", 3, *head) + bytes.fromhex(f["value"])


FORMS = {
    "hello": hello,
    "samples": samples,
    "event": event,
    "alive": lambda f: struct.pack("<BHHHIII", 4, *f.values()),
    "time": lambda f: struct.pack("<BHIII", 5, *f.values()),
    "ask_hello": lambda f: struct.pack("<BB", 0x81, *f.values()),
    "ack": lambda f: struct.pack("<BHHHI", 0x82, *f.values()),
    "ask_time": lambda f: struct.pack("<BI", 0x83, *f.values()),
}


def noise(count: int, leads: int, most: int, seed: int) -> list[list[int | None]]:
    """Return pseudo-random values, equal on every machine: a linear congruential generator."""
    rows: list[list[int | None]] = []
    for _ in range(count):
        row: list[int | None] = []
        for _ in range(leads):
            seed = (1664525 * seed + 1013904223) % 2**32
            row.append((seed >> 8) % (2 * most + 1) - most)
        rows.append(row)
    return rows


def hello_fields(**changes: Any) -> dict[str, Any]:
    lead = {"step_pv": 48080, "zero": 0, "name": "II"}
    plain = {
        "session": 0x00010001, "flags": 3, "next": 0, "oldest": 0, "counter": 0, "time_us": 1000,
        "rate_mhz": 250000, "alive_ms": 1000, "bits": 24, "block": 25, "lowest": -8388608,
        "highest": 8388607, "device": "holter-17", "firmware": "1.4.2", "stream": "",
        "leads": [lead, {**lead, "name": "V1"}],
    }  # fmt: skip
    return {**plain, **changes}


def sample_fields(values: list[list[int | None]], **changes: Any) -> dict[str, Any]:
    plain = {
        "session": 1, "sequence": 7, "counter": 175, "time_us": 701000, "bits": 16,
        "values": values, "off": 0, "saturated": 0, "paced": [],
    }  # fmt: skip
    return {**plain, **changes}


def good() -> list[tuple[str, str, dict[str, Any]]]:
    slow = [[round(40 * (i % 7)), -i] for i in range(25)]
    wide = [[1000 * i, -70000 + 3 * i] for i in range(10)]
    holes: list[list[int | None]] = [[5, 1], [MISSING, 2], [7, 3]]
    m0 = {"step_pv": 5_000_000, "zero": 1024, "name": "MLII"}
    return [
        ("a usual hello", "hello", hello_fields()),
        ("a recording says its name", "hello", hello_fields(
            session=0xFFFFFFFF, flags=0, counter=2**40 + 5, bits=16, rate_mhz=360000, lowest=0,
            highest=2047, stream="mitdb/208", firmware="", leads=[m0, {**m0, "name": "V1"}])),
        ("sixteen leads, texts as long as allowed", "hello", hello_fields(
            device="d" * 32, firmware="f" * 32, stream="s" * 64, block=12,
            leads=[{"step_pv": 2**32 - 1, "zero": -(2**31), "name": f"lead-{k:07d}"}
                   for k in range(16)])),
        ("small differences", "samples", sample_fields(slow)),
        ("one sample of one lead", "samples", sample_fields([[-1]])),
        ("two samples: raw and differences", "samples", sample_fields([[0, 0], [127, 128]])),
        ("the ends of 16 bits", "samples", sample_fields([[32767, -32767], [-32767, 32767]])),
        ("differences of 16 bits in 24", "samples", sample_fields(wide, bits=24)),
        ("the ends of 24 bits", "samples", sample_fields(
            [[8388607], [-8388607], [0], [8388607]], bits=24)),
        ("missing samples, and a missing lead", "samples", sample_fields(
            [[*row, MISSING] for row in holes])),
        ("off, saturated, paced", "samples", sample_fields(
            slow, off=2, saturated=1, paced=[0, 3, 24])),
        ("eight leads, no pattern, 24 bits", "samples", sample_fields(
            noise(24, 8, 8388607, 1), bits=24)),
        ("sixteen leads, small differences", "samples", sample_fields(
            noise(12, 16, 60, 2), counter=2**32 - 1, sequence=65535, time_us=2**32 - 1)),
        ("255 samples", "samples", sample_fields(noise(255, 1, 50, 3))),
        ("all zero", "samples", sample_fields([[0, 0, 0] for _ in range(90)], session=0,
                                              sequence=0, counter=0, time_us=0)),
        ("no zero byte for 254 bytes", "samples", sample_fields(
            [[0x0101 + 0x0101 * (i % 3)] for i in range(150)], session=0x0101, sequence=0x0101,
            counter=0x01010101, time_us=0x01010101)),
        ("the patient's button", "event", {
            "session": 1, "sequence": 8, "counter": 200, "time_us": 801000, "kind": 1,
            "value": ""}),
        ("battery low", "event", {
            "session": 1, "sequence": 9, "counter": 200, "time_us": 801000, "kind": 2,
            "value": "0c8e0c02"}),
        ("impedance of two leads", "event", {
            "session": 1, "sequence": 10, "counter": 200, "time_us": 801000, "kind": 3,
            "value": "0200102700000140420f00"}),
        ("a fault", "event", {
            "session": 1, "sequence": 11, "counter": 200, "time_us": 801000, "kind": 4,
            "value": "0107000e66726f6e7420656e6420696e6974"}),
        ("alive", "alive", {"session": 1, "next": 11, "oldest": 7, "counter": 200,
                            "time_us": 1801000, "lost": 3}),
        ("time", "time", {"session": 1, "token": 0xDEADBEEF, "received_us": 2**32 - 5,
                          "sent_us": 40}),
        ("ask hello", "ask_hello", {"version": 1}),
        ("ack", "ack", {"session": 1, "next": 65535, "highest": 3, "window": 0b101}),
        ("ask time", "ask_time", {"token": 0}),
    ]  # fmt: skip


def skipped() -> list[tuple[str, bytes, str]]:
    """Return intact bodies of a later version, each with the type that a reader takes it for."""
    slow = samples(sample_fields([[i, -i] for i in range(10)]))
    return [
        ("an unknown type", bytes([0x3F, 1, 2, 3]), "unknown"),
        ("a vendor's type", bytes([0x70]), "unknown"),
        ("a hello with further fields", hello(hello_fields()) + b"later", "hello"),
        ("samples with a later section", slow[:15] + bytes([0x81]) + slow[16:] + b"\x02\x00later",
         "samples"),
        ("a shape of a later version", slow[:14] + bytes([0x21]) + slow[15:], "none"),
        ("samples that end too early", slow[:-1], "none"),
        ("no samples at all", slow[:13] + b"\0" + slow[14:], "none"),
        ("a hello of version 2", hello(hello_fields())[:3] + b"\2" + hello(hello_fields())[4:],
         "none"),
        ("a hello that ends too early", hello(hello_fields())[:-1], "none"),
    ]  # fmt: skip


def corrupt() -> list[tuple[str, bytes]]:
    whole = frame(samples(sample_fields([[i, -i] for i in range(10)])))
    return [
        ("a flipped bit", whole[:9] + bytes([whole[9] ^ 0x40]) + whole[10:]),
        ("a byte lost", whole[:9] + whole[10:]),
        ("half of it", whole[:15] + b"\0"),
        ("two joined", whole[:-1] + whole),
        ("a code beyond the end", b"\xfe" + whole[1:]),
        ("too short", b"\x03\x01\x02\x00"),
        ("too long", cobs(bytes(range(1, 200)) * 4) + b"\0"),
    ]


def main() -> None:
    vectors: dict[str, Any] = {"protocol": "1.0"}
    vectors["good"] = [
        {"name": name, "type": kind, "fields": fields, "body": body.hex(),
         "frame": frame(body).hex()}
        for name, kind, fields in good()
        for body in [FORMS[kind](fields)]
    ]  # fmt: skip
    vectors["skipped"] = [
        {"name": name, "frame": frame(body).hex(), "taken_for": kind}
        for name, body, kind in skipped()
    ]
    vectors["corrupt"] = [{"name": name, "frame": data.hex()} for name, data in corrupt()]
    (HERE / "vectors.json").write_text(json.dumps(vectors, indent=1) + "\n")
    (HERE / "vectors.h").write_text(header(vectors))


def header(vectors: dict[str, Any]) -> str:
    """Return the frames as arrays; `what`: 0 corrupt, 1 intact, else the type it is read as."""
    lines = ["/* Made by make_vectors.py; do not edit. */", "#include <stdint.h>", ""]
    entries = []
    types = {"hello": 1, "samples": 2, "event": 3, "unknown": 0xFF, "none": 0xFE}
    all_of = [(v, types.get(v["type"], 0xFF)) for v in vectors["good"]]
    all_of += [(v, types[v["taken_for"]]) for v in vectors["skipped"]]
    all_of += [(v, 0) for v in vectors["corrupt"]]
    for k, (vector, what) in enumerate(all_of):
        data = bytes.fromhex(vector["frame"])
        rows = [", ".join(f"{b}" for b in data[at : at + 20]) for at in range(0, len(data), 20)]
        lines.append(f"static const uint8_t vector_{k}[] = {{\n    " + ",\n    ".join(rows) + "};")
        entries.append(f'    {{"{vector["name"]}", vector_{k}, {len(data)}u, {what}u}},')
    lines += [
        "",
        "static const struct {",
        "    const char *name;",
        "    const uint8_t *frame;",
        "    uint32_t length;",
        "    uint8_t what; /* 0 corrupt; 254 not as the protocol has it; 255 intact; or a type */",
        "} vectors[] = {",
        *entries,
        "};",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
