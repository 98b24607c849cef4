"""Which format a file has, by its first bytes, else by its suffix; and what to do with the others.

Files are renamed, and programs write `.dat`, `.ecg` or `.txt` for many formats. So the content
decides where it begins with what only one format begins with.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

_FIRST_BYTES = 4096
_MOST_NAMED = 80  # characters of a root element that are shown

# Read by tocsin: the suffix that stands for each in `opening.KINDS`.
_READ: tuple[tuple[int, bytes, str], ...] = (
    (0, b"0       ", ".edf"),
    (128, b"DICM", ".dcm"),
    (0, b"\x93NUMPY", ".npy"),
    (0, b"PAR1", ".parquet"),
    (0, b"MATLAB 5.0 MAT-file", ".mat"),
)


class Unread(NamedTuple):
    """A format that tocsin knows and does not read.

    Attributes
    ----------
    what : str
        Its name, with an article.
    advice : str
        How to convert it, as a sentence.
    """

    what: str
    advice: str


_BIOSIG = "convert it to an .edf by `save2gdf -f=EDF` of BioSig"
_BIOSIG_OR_BROWSER = f"{_BIOSIG}, or by EDFbrowser"
_CSV = "save the samples as a .csv with a line of names, and a time column or --rate-hz"
_UNPACK = "unpack it and give the file inside"
_SPREADSHEET = Unread("a spreadsheet", "save the sheet as a .csv")
_PICTURE = Unread("a picture", "a picture has no samples: export the recording as a .csv or .edf")

_UNREAD_BY_CONTENT: tuple[tuple[int, bytes, Unread], ...] = (
    (0, b"\xffBIOSEMI", Unread("a BDF file", "convert it by EDFbrowser to an .edf")),
    (0, b"GDF ", Unread("a GDF file", _BIOSIG)),
    (0, b"ISHNE1.0", Unread("an ISHNE Holter file", _BIOSIG_OR_BROWSER)),
    (0, b"ANN  1.0", Unread("an ISHNE annotation file", "give the recording (.ecg) instead")),
    (16, b"SCPECG", Unread("an SCP-ECG file", _BIOSIG_OR_BROWSER)),
    (0, b"@ MFR ", Unread("an MFER file", _BIOSIG)),
    (0, b"CFWB", Unread("a LabChart binary file", _CSV)),
    (0, b"ALIVE\0\0\0", Unread("a Kardia .atc file", f"export it from Kardia, or {_CSV}")),
    (0, b"MATLAB 7.3 MAT-file", Unread("a MATLAB 7.3 file", "save it in MATLAB with `-v6`")),
    (0, b"\x89HDF\r\n", Unread("an HDF5 file", f"{_CSV}, or as an .npz")),
    (0, b"%PDF", Unread("a PDF", "a PDF has no samples: export the recording as a .csv or .edf")),
    (0, b"\x89PNG", _PICTURE),
    (0, b"\xff\xd8\xff", _PICTURE),
    (0, b"\xd0\xcf\x11\xe0", _SPREADSHEET),
    (0, b"RIFF", Unread("a WAV file", _CSV)),
    (0, b"TDSm", Unread("a TDMS file", _CSV)),
    (0, b"SQLite format 3", Unread("an SQLite database", _CSV)),
    (0, b"ARROW1", Unread("an Arrow file", "save it as a .parquet")),
    (8, b".FIT", Unread("a FIT file", "it has heart rates only, if any; export an ECG as a .csv")),
    (0, b"\x1f\x8b", Unread("a gzip archive", _UNPACK)),
    (0, b"BZh", Unread("a bzip2 archive", _UNPACK)),
    (0, b"\xfd7zXZ", Unread("an xz archive", _UNPACK)),
    (0, b"7z\xbc\xaf", Unread("a 7z archive", _UNPACK)),
)
_ZIP = b"PK\x03\x04"

# The root element of an XML file, without namespace.
_UNREAD_XML = {
    "RestingECG": Unread("a GE MUSE file", "export it from MUSE as DICOM or HL7 aECG"),
    "restingecgdata": Unread("a Philips Sierra file", "export it as DICOM or HL7 aECG"),
    "CardiologyXML": Unread("a GE CardioSoft file", "export it as DICOM or HL7 aECG"),
    "sapphire": Unread("a Sapphire file", "export it from MUSE as DICOM or HL7 aECG"),
    "HealthData": Unread(
        "an export of Apple Health", "its ECGs are the .csv files in `electrocardiograms`"
    ),
    "svg": _PICTURE,
    "html": Unread("a web page", _CSV),
}

_UNREAD_BY_SUFFIX = {
    ".bdf": Unread("a BDF file", "convert it by EDFbrowser to an .edf"),
    ".gdf": Unread("a GDF file", _BIOSIG),
    ".scp": Unread("an SCP-ECG file", _BIOSIG_OR_BROWSER),
    ".mwf": Unread("an MFER file", _BIOSIG),
    ".mfer": Unread("an MFER file", _BIOSIG),
    ".acq": Unread("a BIOPAC file", _CSV),
    ".adicht": Unread("a LabChart file", _CSV),
    ".atc": Unread("a Kardia .atc file", f"export it from Kardia, or {_CSV}"),
    ".h5": Unread("an HDF5 file", f"{_CSV}, or as an .npz"),
    ".hdf5": Unread("an HDF5 file", f"{_CSV}, or as an .npz"),
    ".xls": _SPREADSHEET,
    ".xlsx": _SPREADSHEET,
    ".ods": _SPREADSHEET,
    ".json": Unread("a JSON file", _CSV),
    ".zip": Unread("an archive", _UNPACK),
    ".gz": Unread("an archive", _UNPACK),
    ".tar": Unread("an archive", _UNPACK),
    ".pdf": Unread("a PDF", "a PDF has no samples: export the recording as a .csv or .edf"),
    ".feather": Unread("an Arrow file", "save it as a .parquet"),
    ".pkl": Unread("a Python pickle", f"it could run any program when it is read: {_CSV}"),
    ".pickle": Unread("a Python pickle", f"it could run any program when it is read: {_CSV}"),
    ".fit": Unread("a FIT file", "it has heart rates only, if any; export an ECG as a .csv"),
    ".xdf": Unread("an XDF file", _CSV),
    ".vhdr": Unread("a BrainVision file", "convert it by EDFbrowser to an .edf"),
    ".atr": Unread("an annotation file", "give the record instead, without a suffix"),
    ".qrs": Unread("an annotation file", "give the record instead, without a suffix"),
}


def recognize(path: Path) -> str | Unread | None:
    """Return the suffix of the format that an existing file has, an unread format, or None.

    None: the content says nothing, and the suffix decides. Text that is no XML and no JSON is
    `.csv`, unless its suffix has a meaning of its own (`.hea`, `.toml`).
    """
    first = _first_bytes(path)
    for at, magic, suffix in _READ:
        if first[at : at + len(magic)] == magic:
            return suffix
    for at, magic, unread in _UNREAD_BY_CONTENT:
        if first[at : at + len(magic)] == magic:
            return unread
    if first.startswith(_ZIP):
        return _archive(path, first)
    text = first.lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n\0")
    if text.startswith(b"<"):
        return _xml(text.replace(b"\0", b""))
    if text.startswith((b"{", b"[")) and path.suffix.lower() in {"", ".txt", ".json"}:
        return _UNREAD_BY_SUFFIX[".json"]
    return None


def unread_by_suffix(path: Path) -> Unread | None:
    """Return the unread format of a suffix, in upper or lower case."""
    return _UNREAD_BY_SUFFIX.get(path.suffix.lower())


def is_text(path: Path) -> bool:
    """Return whether a file begins as a table may: without a control character."""
    first = _first_bytes(path)
    return bool(first) and not any(byte < 9 or 13 < byte < 32 for byte in first)


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(_FIRST_BYTES)
    except OSError:  # reported by the reader
        return b""


def _archive(path: Path, first: bytes) -> str | Unread:
    suffix = path.suffix.lower()
    if suffix == ".npz" or b".npy" in first[:200]:
        return ".npz"
    if suffix in {".xlsx", ".ods"} or b"[Content_Types].xml" in first[:200]:
        return _SPREADSHEET
    return Unread("a zip archive", _UNPACK)


def _xml(text: bytes) -> str | Unread:
    """Return the format by the root element: the first tag that is no declaration or comment."""
    rest = text
    while rest.startswith((b"<?", b"<!")):
        end = b"-->" if rest.startswith(b"<!--") else b">"
        rest = rest.partition(end)[2].lstrip()
        if rest.startswith(b"]>"):
            rest = rest[2:].lstrip()
    root = rest[1:_MOST_NAMED].split(b">")[0].split()[:1]
    name = root[0].decode("utf-8", "replace").rpartition(":")[2].rstrip("/") if root else ""
    if name in _UNREAD_XML:
        return _UNREAD_XML[name]
    if name == "AnnotatedECG" or b"AnnotatedECG" in text or b"urn:hl7-org:v3" in text:
        return ".xml"
    return Unread(
        f"an XML file with the root element {name!r}" if name else "an XML file",
        f"of XML, HL7 aECG (root element AnnotatedECG) is read; {_CSV}",
    )
