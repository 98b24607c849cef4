"""The test vectors: the library in C and the gateway in Python read and write them alike."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.firmware import FOLDER, Device, Setup, c_frame, c_hello, c_samples, c_unframe
from tocsin_agent.sources.devices.protocol import packets
from tocsin_agent.sources.devices.protocol.frames import FrameReader, frame
from tocsin_agent.sources.devices.protocol.samples import (
    MISSING,
    IntArray,
    SamplePacket,
    decode_samples,
    encode_samples,
)

VECTORS: dict[str, Any] = json.loads((FOLDER / "vectors" / "vectors.json").read_text())
KINDS: dict[str, Any] = {
    "event": packets.Event,
    "alive": packets.Alive,
    "time": packets.Time,
    "ask_hello": packets.AskHello,
    "ack": packets.Ack,
    "ask_time": packets.AskTime,
}


def of(kind: str) -> list[Any]:
    return [
        pytest.param(v["fields"], bytes.fromhex(v["body"]), id=v["name"])
        for v in VECTORS["good"]
        if v["type"] == kind
    ]


def body_of(data: bytes) -> bytes | None:
    bodies = FrameReader().feed(data)
    return bodies[0] if bodies else None


def hello_of(fields: dict[str, Any]) -> packets.Hello:
    leads = tuple(packets.Lead(x["name"], x["step_pv"], x["zero"]) for x in fields["leads"])
    return packets.Hello(**{**fields, "leads": leads})


def values_of(fields: dict[str, Any]) -> IntArray:
    return np.array(
        [[MISSING if v is None else v for v in row] for row in fields["values"]], dtype=np.int32
    )


def test_the_vectors_are_what_their_script_makes(tmp_path: Path) -> None:
    copy = tmp_path / "make_vectors.py"
    copy.write_text((FOLDER / "vectors" / "make_vectors.py").read_text())
    subprocess.run([sys.executable, str(copy)], check=True)
    for name in ("vectors.json", "vectors.h"):
        assert (tmp_path / name).read_text() == (FOLDER / "vectors" / name).read_text()


@pytest.mark.parametrize("vector", VECTORS["good"], ids=lambda v: str(v["name"]))
def test_frames_both_ways(vector: dict[str, str]) -> None:
    body, framed = bytes.fromhex(vector["body"]), bytes.fromhex(vector["frame"])
    assert frame(body) == framed
    assert c_frame(body) == framed
    assert body_of(framed) == body
    assert c_unframe(framed) == body


@pytest.mark.parametrize(("fields", "body"), of("hello"))
def test_hello_both_ways(fields: dict[str, Any], body: bytes) -> None:
    hello = hello_of(fields)
    assert hello.encode() == body
    assert packets.decode(body) == hello
    read = c_hello(body)
    assert read is not None
    numbers, leads, texts = read
    names = ("session", "flags", "next", "oldest", "counter", "time_us", "rate_mhz", "alive_ms")
    more = ("bits", "block", "lowest", "highest")
    assert numbers == [*(fields[name] for name in (*names, *more)), len(fields["leads"])]
    assert leads == [x[key] for x in fields["leads"] for key in ("step_pv", "zero")]
    assert texts == [
        *(fields[name] for name in ("device", "firmware", "stream")),
        *(x["name"] for x in fields["leads"]),
    ]
    if fields["counter"] == fields["next"] == 0:  # what a device says that has just begun
        keys = ("device", "firmware", "stream", "rate_mhz", "lowest", "highest", "flags")
        setup = Setup(
            hello.leads,
            **{key: fields[key] for key in (*keys, "alive_ms", "bits", "block", "session")},
        )
        with Device(setup) as device:
            assert device.frames(fields["time_us"])[0] == b"\0" + frame(body)


@pytest.mark.parametrize(("fields", "body"), of("samples"))
def test_samples_both_ways(fields: dict[str, Any], body: bytes) -> None:
    values = values_of(fields)
    names = ("session", "sequence", "counter", "time_us")
    packet = SamplePacket(
        fields["session"],
        fields["sequence"],
        fields["counter"],
        fields["time_us"],
        values,
        fields["off"],
        fields["saturated"],
        tuple(fields["paced"]),
    )
    assert encode_samples(packet, bits=fields["bits"]) == body
    (got,) = decode_samples(FrameReader().feed(frame(body)))
    assert got is not None
    np.testing.assert_array_equal(got.values, values)
    for name in (*names, "off", "saturated"):
        assert getattr(got, name) == fields[name]
    assert list(got.paced) == fields["paced"]
    read = c_samples(body)
    assert read is not None
    head, rows, paced = read
    assert head[:4] == [fields[name] for name in names]
    assert head[6:9] == [fields["bits"], fields["off"], fields["saturated"]]
    np.testing.assert_array_equal(rows, values)
    assert paced == fields["paced"]


@pytest.mark.parametrize(("fields", "body"), of("samples"))
def test_the_library_writes_the_same_samples(fields: dict[str, Any], body: bytes) -> None:
    values = values_of(fields)
    if len(values) * values.shape[1] * fields["bits"] // 8 > 590:
        pytest.fail("a vector that no device can send")
    leads = tuple(packets.Lead(f"{k}", 1) for k in range(values.shape[1]))
    period_us = 4000
    setup = Setup(
        leads, bits=fields["bits"], block=len(values), session=fields["session"], slots=512
    )
    with Device(setup) as device:
        device.frames(0)
        for _ in range(fields["sequence"]):
            device.event(99, 0)
        device.frames(0)
        device.skip(fields["counter"])
        for k, row in enumerate(values):
            device.put(
                fields["time_us"] + k * period_us,
                row[None],
                off=fields["off"],
                saturated=fields["saturated"],
                paced=k in fields["paced"],
            )
        assert device.frames(0) == [frame(body)]


@pytest.mark.parametrize(
    "vector", [v for v in VECTORS["good"] if v["type"] in KINDS], ids=lambda v: str(v["name"])
)
def test_other_packets_both_ways(vector: dict[str, Any]) -> None:
    fields = dict(vector["fields"])
    if "value" in fields:
        fields["value"] = bytes.fromhex(fields["value"])
    packet = KINDS[vector["type"]](**fields)
    assert packet.encode() == bytes.fromhex(vector["body"])
    assert packets.decode(bytes.fromhex(vector["body"])) == packet


@pytest.mark.parametrize("vector", VECTORS["skipped"], ids=lambda v: str(v["name"]))
def test_later_versions_are_skipped_or_read_as_far_as_known(vector: dict[str, str]) -> None:
    body = body_of(bytes.fromhex(vector["frame"]))
    assert body is not None
    assert (c_samples(body) is not None) == (vector["taken_for"] == "samples")
    assert (c_hello(body) is not None) == (vector["taken_for"] == "hello")
    if body[0] == packets.Type.SAMPLES:
        (got,) = decode_samples(FrameReader().feed(bytes.fromhex(vector["frame"])))
        assert (got is not None) == (vector["taken_for"] == "samples")
    elif vector["taken_for"] == "none":
        with pytest.raises(packets.PacketError):
            packets.decode(body)
    else:
        assert (packets.decode(body) is not None) == (vector["taken_for"] == "hello")


@pytest.mark.parametrize("vector", VECTORS["corrupt"], ids=lambda v: str(v["name"]))
def test_corrupt_frames_are_dropped_and_counted(vector: dict[str, str]) -> None:
    data = bytes.fromhex(vector["frame"])
    reader = FrameReader()
    assert reader.feed(data) == []
    assert (reader.frames, reader.corrupt) == (1, 1)
    assert c_unframe(data) is None
