"""Writes small recordings in the formats that tocsin reads, with the packages that write them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tocsin_dsp.signal import FloatArray


def ecg(rows: int, rate_hz: float = 250.0, leads: int = 1) -> FloatArray:
    """Return a plain ECG in mV, of shape (rows, leads)."""
    t = np.arange(rows) / rate_hz
    x = np.random.default_rng(0).normal(0, 0.005, rows)
    for beat in np.arange(0.5, rows / rate_hz, 0.8):
        for height, at, width in ((1.0, 0, 0.011), (-0.2, 0.027, 0.01), (0.25, 0.28, 0.05)):
            x += height * np.exp(-0.5 * ((t - beat - at) / width) ** 2)
    return np.column_stack([x * (1 - 0.1 * i) for i in range(leads)])


def write_edf(
    path: Path, samples_mv: FloatArray, rate_hz: int, names: Sequence[str], unit: str = "mV"
) -> Path:
    """Write an EDF file of whole seconds."""
    import edfio

    size = {"mV": 1.0, "uV": 1000.0}[unit]
    signals = [
        edfio.EdfSignal(
            np.clip(samples_mv[:, i], -5, 5) * size,
            rate_hz,
            label=name,
            physical_dimension=unit,
            physical_range=(-5 * size, 5 * size),
        )
        for i, name in enumerate(names)
    ]
    edfio.Edf(signals, recording=edfio.Recording(startdate=dt.date(2024, 5, 1))).write(path)
    return path


def dicom_group(
    samples_mv: FloatArray,
    rate_hz: float,
    names: Sequence[str],
    *,
    unit: str = "uV",
    sensitivity: float = 1.25,
    baseline: float = 0.0,
    offset_ms: float | None = None,
    padding: int | None = None,
) -> Any:  # noqa: ANN401 - a Dataset
    """Return one multiplex group."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence as Items

    def coded(value: str, meaning: str) -> Items:
        item = Dataset()
        item.CodeValue, item.CodeMeaning, item.CodingSchemeDesignator = value, meaning, "MDC"
        return Items([item])

    group = Dataset()
    group.WaveformOriginality = "ORIGINAL"
    group.NumberOfWaveformChannels = len(names)
    group.NumberOfWaveformSamples = len(samples_mv)
    group.SamplingFrequency = rate_hz
    if offset_ms is not None:
        group.MultiplexGroupTimeOffset = offset_ms
    channels = []
    for name in names:
        channel = Dataset()
        channel.ChannelSourceSequence = coded("2:1", name)
        channel.ChannelSensitivity = sensitivity
        channel.ChannelSensitivityUnitsSequence = coded(unit, unit)
        channel.ChannelSensitivityCorrectionFactor = 1
        channel.ChannelBaseline = baseline
        channel.WaveformBitsStored = 16
        channels.append(channel)
    group.ChannelDefinitionSequence = Items(channels)
    group.WaveformBitsAllocated = 16
    group.WaveformSampleInterpretation = "SS"
    per_mv = {"uV": 1000.0, "mV": 1.0}[unit] / sensitivity
    stored = np.rint((samples_mv * per_mv) - baseline / sensitivity)
    if padding is not None:
        group.WaveformPaddingValue = np.array([padding], "<i2").tobytes()
        stored = np.where(np.isnan(samples_mv), padding, stored)
    group.WaveformData = stored.astype("<i2").tobytes()
    return group


def write_dicom(
    path: Path,
    groups: Sequence[Any],
    *,
    implicit: bool = False,
    undefined: bool = False,
    deflated: bool = False,
) -> Path:
    """Write waveform groups as a 12-lead ECG; `undefined` leaves the lengths of items open."""
    import pydicom
    from pydicom.dataset import FileMetaDataset
    from pydicom.sequence import Sequence as Items

    data = pydicom.Dataset()
    data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.9.1.1"
    data.SOPInstanceUID = "1.2.3.4"
    data.Modality = "ECG"
    data.AcquisitionDateTime = "20240501100000.25+0200"
    data.PatientName = "A^B"
    data.WaveformSequence = Items(list(groups))
    if undefined:
        data["WaveformSequence"].is_undefined_length = True
        for group in groups:
            group.is_undefined_length_sequence_item = True
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.UID(
        "1.2.840.10008.1.2" + ("" if implicit else ".1.99" if deflated else ".1")
    )
    meta.MediaStorageSOPClassUID = data.SOPClassUID
    meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.file_meta = meta
    pydicom.dcmwrite(path, data, implicit_vr=implicit, little_endian=True, enforce_file_format=True)
    return path


def write_aecg(
    path: Path,
    samples_mv: FloatArray,
    rate_hz: float,
    names: Sequence[str],
    *,
    scale_uv: float = 2.5,
    origin_uv: float = 0.0,
    derived: bool = False,
    before: str = "",
) -> Path:
    """Write an annotated ECG with one series, and with a derived one if wanted."""
    sequences = "".join(
        f'<component><sequence><code code="MDC_ECG_LEAD_{name}"/><value xsi:type="SLIST_PQ">'
        f'<origin value="{origin_uv}" unit="uV"/><scale value="{scale_uv}" unit="uV"/><digits>'
        + " ".join(f"{v:.0f}" for v in (samples_mv[:, i] * 1000 - origin_uv) / scale_uv)
        + "</digits></value></sequence></component>"
        for i, name in enumerate(names)
    )
    times = (
        '<component><sequence><code code="TIME_ABSOLUTE"/><value xsi:type="GLIST_TS">'
        f'<head value="20240501100000.000+0200"/><increment value="{1 / rate_hz!r}" unit="s"/>'
        "</value></sequence></component>"
    )
    sets = f"<component><sequenceSet>{times}{sequences}</sequenceSet></component>"
    extra = f"<derivation><derivedSeries>{sets}{sets}</derivedSeries></derivation>"
    path.write_text(
        f'<?xml version="1.0" encoding="UTF-8"?>{before}'
        '<AnnotatedECG xmlns="urn:hl7-org:v3" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><component><series>'
        '<effectiveTime><low value="20240501100000.000+0200"/></effectiveTime>'
        f"{sets}{extra if derived else ''}</series></component></AnnotatedECG>",
        encoding="utf-8",
    )
    return path
