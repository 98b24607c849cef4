"""An episode or a recording as files: one table from the name of a format to its writer."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Sequence

import msgspec

from tocsin_agent.messages.alert import Alert
from tocsin_agent.team.export.dicom import dicom_file
from tocsin_agent.team.export.edf import edf_file
from tocsin_agent.team.export.table import tables
from tocsin_agent.team.export.trace import Trace, traces_of
from tocsin_agent.team.export.wfdb import record

FORMATS: dict[str, Callable[[Trace], dict[str, bytes]]] = {
    "wfdb": record,
    "edf": edf_file,
    "dicom": dicom_file,
    "csv": tables,
}
"""By name: what returns the files of a trace, by name."""


def episode_json(documents: Sequence[Alert], events: Sequence[object] = ()) -> bytes:
    """Return the documents of an alert, and what happened to it, as JSON."""
    return msgspec.json.encode(
        {"schema": "tocsin/episode/v1", "documents": documents, "events": events}
    )


def episode_files(documents: Sequence[Alert], kind: str) -> dict[str, bytes]:
    """Return the strips of an alert in a format of `FORMATS`, by file name.

    Raises
    ------
    ValueError
        If no document has a strip that can be read, or the format cannot hold it.
    MissingExtraError
        If the format needs an extra that is not installed.
    """
    files = dict[str, bytes]()
    for trace in traces_of(documents):
        files |= FORMATS[kind](trace)
    return files


def episode_zip(documents: Sequence[Alert], kind: str = "wfdb") -> bytes:
    """Return `episode_files` as one zip."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in episode_files(documents, kind).items():
            archive.writestr(name, content)
    return buffer.getvalue()
