"""A trace as a DICOM ECG waveform object; needs the extra `dicom`.

A general ECG (PS3.3 A.34.4: 200 to 1000 Hz, up to 24 channels), else an ambulatory one (A.34.5: 50
to 1000 Hz, up to 12). Leads are coded by CID 3001 (ISO/IEEE 11073-10101 partition 2), conditions by
the MDC and SNOMED CT codes of the alert. Everything is in UTC, and no name of a patient is written.
"""

from __future__ import annotations

import hashlib
import io
import uuid
from datetime import UTC, datetime
from typing import Any

import numpy as np

from tocsin_agent import __version__
from tocsin_agent.extras import import_extra
from tocsin_agent.messages.alert import Codes
from tocsin_agent.messages.printable import clean
from tocsin_agent.team.export.codes import LEADS
from tocsin_agent.team.export.trace import MISSING, Mark, Trace, file_name, in_ms

_GENERAL = "1.2.840.10008.5.1.4.1.1.9.1.2"
_AMBULATORY = "1.2.840.10008.5.1.4.1.1.9.1.3"
_EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
_PARTITION = 65536


def dicom_file(trace: Trace) -> dict[str, bytes]:
    """Return the file by name.

    The unique identifiers are made of what the trace states: the same trace is the same object.

    Raises
    ------
    ValueError
        If rate or number of leads is outside what DICOM allows.
    MissingExtraError
        Without the extra.
    """
    pydicom = import_extra("pydicom", "dicom", "DICOM")
    kind = _kind(trace)
    data = pydicom.Dataset()
    _identify(data, trace, kind)
    data.WaveformSequence = [_group(pydicom, trace)]
    if trace.marks:
        data.WaveformAnnotationSequence = [
            _annotation(pydicom, mark, number) for number, mark in enumerate(trace.marks, 1)
        ]
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.UID(_EXPLICIT_LITTLE)
    meta.MediaStorageSOPClassUID = data.SOPClassUID
    meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.file_meta = meta
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, data, implicit_vr=False, little_endian=True, enforce_file_format=True)
    return {f"{file_name(trace.name)}.dcm": buffer.getvalue()}


def _kind(trace: Trace) -> str:
    leads, rate_hz = len(trace.leads), trace.rate_hz
    if 200 <= rate_hz <= 1000 and leads <= 24:
        return _GENERAL
    if 50 <= rate_hz <= 1000 and leads <= 12:
        return _AMBULATORY
    raise ValueError(
        f"DICOM holds no ECG of {leads} leads at {rate_hz:g}/s: 50 to 1000/s and up to 12 leads, "
        "or 24 from 200/s on; use --format wfdb or csv"
    )


def _identify(data: Any, trace: Trace, kind: str) -> None:  # noqa: ANN401
    start = trace.start
    data.SpecificCharacterSet = "ISO_IR 192"
    data.SOPClassUID = kind
    key = (trace.device, trace.patient, trace.name, str(start), str(trace.rate_hz))
    data.SOPInstanceUID = _uid("instance", *key, trace.counts().tobytes())
    data.StudyInstanceUID = _uid("study", trace.device, trace.patient, str(start and start.date()))
    data.SeriesInstanceUID = _uid("series", *key)
    data.PatientName = ""
    data.PatientID = _text(trace.patient)
    data.PatientBirthDate = data.PatientSex = ""
    data.ReferringPhysicianName = data.AccessionNumber = data.StudyID = ""
    data.Modality = "ECG"
    data.SeriesNumber = data.InstanceNumber = 1
    data.Manufacturer = "tocsin"
    data.ManufacturerModelName = "tocsin"
    data.SoftwareVersions = __version__
    data.StationName = _text(trace.device.rpartition("/")[2], 16)
    data.InstitutionName = _text(trace.device.partition("/")[0])
    data.TimezoneOffsetFromUTC = "+0000"
    moment = in_ms(start) if start is not None else datetime(1900, 1, 1, tzinfo=UTC)
    day, time = f"{moment:%Y%m%d}", f"{moment:%H%M%S}.{moment.microsecond:06d}"
    data.StudyDate = data.ContentDate = day
    data.StudyTime = data.ContentTime = time
    data.AcquisitionDateTime = f"{day}{time}+0000"
    data.AcquisitionContextSequence = []
    notes = [*trace.notes, *(["synthetic: not from a patient"] if trace.synthetic else [])]
    if notes:
        data.SeriesDescription = _text("; ".join(notes))


def _group(pydicom: Any, trace: Trace) -> Any:  # noqa: ANN401
    counts, group = trace.counts(), pydicom.Dataset()
    group.WaveformOriginality = "ORIGINAL"
    group.NumberOfWaveformChannels = len(trace.leads)
    group.NumberOfWaveformSamples = trace.rows
    group.SamplingFrequency = f"{trace.rate_hz:.12g}"
    group.ChannelDefinitionSequence = [
        _channel(pydicom, lead, 1000.0 / trace.gain_per_mv()) for lead in trace.leads
    ]
    group.WaveformBitsAllocated = 16
    group.WaveformSampleInterpretation = "SS"
    group.WaveformPaddingValue = np.array([MISSING], "<i2").tobytes()
    group.WaveformData = counts.tobytes()
    return group


def _channel(pydicom: Any, lead: str, uv_per_count: float) -> Any:  # noqa: ANN401
    channel = pydicom.Dataset()
    channel.ChannelLabel = _text(lead, 16)
    name, offset = (lead, LEADS[lead]) if lead in LEADS else (_text(lead) or "?", 0)
    channel.ChannelSourceSequence = [_coded(pydicom, f"2:{offset}", "MDC", name)]
    channel.ChannelSensitivity = f"{uv_per_count:g}"
    channel.ChannelSensitivityUnitsSequence = [_coded(pydicom, "uV", "UCUM", "microvolt")]
    channel.ChannelBaseline = "0"
    channel.ChannelSensitivityCorrectionFactor = "1"
    channel.ChannelSampleSkew = "0"
    channel.WaveformBitsStored = 16
    return channel


def _annotation(pydicom: Any, mark: Mark, number: int) -> Any:  # noqa: ANN401
    item = pydicom.Dataset()
    item.ReferencedWaveformChannels = [1, 0]  # all channels of the first group
    item.TemporalRangeType = "POINT"
    item.ReferencedSamplePositions = mark.row + 1
    item.AnnotationGroupNumber = number
    coded = _condition(pydicom, mark.text, mark.codes)
    if coded is not None:
        item.ConceptNameCodeSequence = [coded]
    else:
        item.UnformattedTextValue = clean(mark.text)
    return item


def _condition(pydicom: Any, text: str, codes: Codes | None) -> Any | None:  # noqa: ANN401
    if codes is not None and codes.mdc is not None:
        value = f"{codes.mdc // _PARTITION}:{codes.mdc % _PARTITION}"
        return _coded(pydicom, value, "MDC", text[:64])
    if codes is not None and codes.snomed_ct is not None:
        return _coded(pydicom, codes.snomed_ct, "SCT", text[:64])
    return None


def _coded(pydicom: Any, value: str, scheme: str, meaning: str) -> Any:  # noqa: ANN401
    item = pydicom.Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _text(text: str, most: int = 64) -> str:
    """Return a text as one value: a backslash would separate values (PS3.5 6.4)."""
    return clean(text).replace("\\", "_")[:most]


def _uid(*parts: str | bytes) -> str:
    """Return a unique identifier below 2.25, the root of UUIDs (PS3.5 B.2)."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else part)
        digest.update(b"\x1f")
    return f"2.25.{uuid.UUID(bytes=digest.digest()[:16], version=5).int}"
