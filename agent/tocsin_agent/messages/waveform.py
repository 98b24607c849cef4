"""The waveform message: a piece of the live ECG of one lead, for a screen. Opt-in, QoS 0.

It is lost with a lost connection, and no alarm depends on it: an alert carries its own strip.
"""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

MAX_WAVEFORM_BYTES = 65_536
MISSING = -32768
GAIN_UV = 2.5
"""Microvolts a count: 1/400 mV, a range of ±82 mV."""


class WaveformBeat(msgspec.Struct, frozen=True):
    """A beat that was labelled since the last message."""

    index: Annotated[int, Meta(description="Source sample index of its R peak.")]
    label: Annotated[
        str, Meta(min_length=1, max_length=8, description="`N`, `S`, `V`, `F` or `Q` (AAMI EC57).")
    ]


class Waveform(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of the ECG of one lead, on its waveform topic."""

    schema: Annotated[Literal["tocsin/waveform/v1"], Meta(description="Schema and version.")] = (
        "tocsin/waveform/v1"
    )
    site: Annotated[str, Meta(description="As in the topic.")]
    device: Annotated[str, Meta(description="As in the topic.")]
    stream: Annotated[str, Meta(description="The recording that the indices belong to.")]
    lead: Annotated[
        str, Meta(min_length=1, max_length=64, description="Name of the lead; its topic's level.")
    ]
    rate_hz: Annotated[float, Meta(gt=0, le=10_000, description="Samples per second.")]
    start_index: Annotated[
        int,
        Meta(
            description="Source sample index of the first sample. More than the end of the last "
            "piece: a gap."
        ),
    ]
    at: Annotated[datetime, Meta(tz=True, description="UTC of the first sample.")]
    gain_uv: Annotated[float, Meta(gt=0, description="Microvolts a count.")]
    samples: Annotated[
        str,
        Meta(description="Base64 of little-endian int16; -32768 is a missing sample."),
    ]
    beats: Annotated[
        tuple[WaveformBeat, ...],
        Meta(
            max_length=256,
            description="Beats that were labelled since the last piece; they lie before it. Each "
            "is on the topic of every lead.",
        ),
    ] = ()

    @staticmethod
    def pack(samples_mv: NDArray[Any]) -> str:
        """Return samples in mV, NaN for missing, as `samples` at `GAIN_UV`."""
        counts = np.clip(np.rint(samples_mv * (1000.0 / GAIN_UV)), -32767, 32767)
        packed = np.where(np.isnan(counts), MISSING, counts).astype("<i2")
        return base64.b64encode(packed.tobytes()).decode()

    def decode(self) -> NDArray[np.float64]:
        """Return the samples in mV, NaN where missing.

        Raises
        ------
        ValueError
            If `samples` is not base64 of int16.
        """
        packed = np.frombuffer(base64.b64decode(self.samples, validate=True), dtype="<i2")
        counts = packed.astype(np.float64)
        return np.where(packed == MISSING, np.nan, counts * self.gain_uv / 1000.0)


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Waveform)


def encode_waveform(waveform: Waveform) -> bytes:
    """Encode as UTF-8 JSON."""
    return _ENCODER.encode(waveform)


def decode_waveform(payload: bytes) -> Waveform:
    """Decode and validate.

    Raises
    ------
    ValueError
        If it is too long, not JSON, does not satisfy the schema, or has samples that are no int16.
    """
    if len(payload) > MAX_WAVEFORM_BYTES:
        raise ValueError(f"{len(payload)} bytes, at most {MAX_WAVEFORM_BYTES} expected")
    waveform = _DECODER.decode(payload)
    try:
        size = len(binascii.a2b_base64(waveform.samples, strict_mode=True))
    except binascii.Error as exc:
        raise ValueError(f"samples are not base64: {exc}") from None
    if size % 2:
        raise ValueError(f"samples have {size} bytes, an even number expected")
    return waveform
