"""Reading the operator set of an ONNX file without the onnx package."""

from __future__ import annotations

import contextlib
from importlib import resources

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin_models.onnx_file import opset

STANDARD = b"\x42\x04\x0a\x00\x10\x11"  # opset_import { domain: "", version: 17 }
NAMED = b"\x42\x0b\x0a\x07ai.onnx\x10\x12"
OTHER = b"\x42\x0e\x0a\x0aai.onnx.ml\x10\x05"
IR_VERSION = b"\x08\x08"


@pytest.mark.parametrize(
    ("content", "version"),
    [
        (STANDARD, 17),
        (b"\x42\x02\x10\x11", 17),
        (NAMED, 18),
        (IR_VERSION + OTHER + STANDARD, 17),
        (b"\x12\x02hi" + b"\x19" + bytes(8) + b"\x25" + bytes(4) + NAMED, 18),
        (b"\x42\x05\x0a\x00\x10\xac\x02", 300),
    ],
)
def test_the_version_of_the_standard_operator_set(content: bytes, version: int) -> None:
    assert opset(content) == version


@pytest.mark.parametrize(
    "content",
    [
        b"",
        IR_VERSION,
        OTHER,
        b"\x42\x02\x0a\x00",  # no version
        STANDARD[:-1],
        b"\x42",
        b"\x80" * 11,
        b"\x43\x00",  # an obsolete kind of field
        b"\x42\xff\xff\xff\xff\x0f\x00",
    ],
)
def test_content_that_is_no_model_is_an_error(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"protobuf|operator set|ends|no end"):
        opset(content)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_give_a_version_or_an_error(content: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert opset(content) >= 0


@pytest.mark.parametrize("name", ["beats", "vf", "af", "alarms"])
def test_the_shipped_files_state_theirs(name: str) -> None:
    assert opset(resources.files("tocsin_models").joinpath(f"{name}.onnx").read_bytes()) == 17
