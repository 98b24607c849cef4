"""What belongs to each database: records, splits, paced records, and where the truth is.

=========  =====  ===========================  ====================================================
database   Hz     reference                    what it can judge
=========  =====  ===========================  ====================================================
mitdb      360    `atr`                        beats, rhythms, `[ ]`
svdb       128    `atr`                        beats
vfdb       250    `atr`                        rhythms only, VF, VFL and VFIB among them
nstdb      360    `atr`                        beats, rhythms (of mitdb 118 and 119)
cudb       250    `atr`                        `[ ]`; its beats were never checked by hand
afdb       250    `atr`                        rhythms only; its `qrs` were never checked by hand
edb        250    `atr`                        beats
ludb       500    a file a lead: `i` … `v6`    QRS, between the first and the last that is marked
qtdb       250    `atr`, else `q1c`            beats; with `q1c` the thirty or so that are marked
cinc2015   250    `ALARMS`                     one alarm a record, by `challenge`
cinc2017   300    `REFERENCE.csv`              one rhythm a record, by `challenge2017`
any other         `atr`                        what its annotations hold
=========  =====  ===========================  ====================================================

What belongs to a database is what is known here by name and what its folder lists: `RECORDS`, or
the challenges' own lists. What lies in the folder counts only where there is neither. What belongs
to it and is not there is missing, and is named in every result.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.sources.files.record_folders import record_roots

PACED = frozenset({"mitdb/102", "mitdb/104", "mitdb/107", "mitdb/217"})
"""Left out of the classification of beats, as EC57 asks; their QRS complexes count."""

SUBSETS = {
    "ds1": "101 106 108 109 112 114 115 116 118 119 122 124 201 203 205 207 208 209 215 220 223 "
    "230",
    "ds2": "100 103 105 111 113 117 121 123 200 202 210 212 213 214 219 221 222 228 231 232 233 "
    "234",
}
"""The inter-patient split of mitdb: de Chazal et al., IEEE Trans. Biomed. Eng. 51:1196, 2004."""

_KNOWN = {
    "mitdb": "100 101 102 103 104 105 106 107 108 109 111 112 113 114 115 116 117 118 119 121 122 "
    "123 124 200 201 202 203 205 207 208 209 210 212 213 214 215 217 219 220 221 222 223 228 230 "
    "231 232 233 234",
    "svdb": " ".join(str(n) for n in [*range(800, 813), *range(820, 830), *range(840, 895)]),
    "vfdb": "418 419 420 421 422 423 424 425 426 427 428 429 430 602 605 607 609 610 611 612 614 "
    "615",
    "nstdb": "118e24 118e18 118e12 118e06 118e00 118e_6 119e24 119e18 119e12 119e06 119e00 119e_6",
    "cudb": " ".join(f"cu{n:02d}" for n in range(1, 36)),
    "afdb": "04015 04043 04048 04126 04746 04908 04936 05091 05121 05261 06426 06453 06995 07162 "
    "07859 07879 07910 08215 08219 08378 08405 08434 08455",
    "edb": "e0103 e0104 e0105 e0106 e0107 e0108 e0110 e0111 e0112 e0113 e0114 e0115 e0116 e0118 "
    "e0119 e0121 e0122 e0123 e0124 e0125 e0126 e0127 e0129 e0133 e0136 e0139 e0147 e0148 e0151 "
    "e0154 e0155 e0159 e0161 e0162 e0163 e0166 e0170 e0202 e0203 e0204 e0205 e0206 e0207 e0208 "
    "e0210 e0211 e0212 e0213 e0302 e0303 e0304 e0305 e0306 e0403 e0404 e0405 e0406 e0408 e0409 "
    "e0410 e0411 e0413 e0415 e0417 e0418 e0501 e0509 e0515 e0601 e0602 e0603 e0604 e0605 e0606 "
    "e0607 e0609 e0610 e0611 e0612 e0613 e0614 e0615 e0704 e0801 e0808 e0817 e0818 e1301 e1302 "
    "e1304",
    "qtdb": "sel100 sel102 sel103 sel104 sel114 sel116 sel117 sel123 sel14046 sel14157 sel14172 "
    "sel15814 sel16265 sel16272 sel16273 sel16420 sel16483 sel16539 sel16773 sel16786 sel16795 "
    "sel17152 sel17453 sel213 sel221 sel223 sel230 sel231 sel232 sel233 sel30 sel301 sel302 sel306 "
    "sel307 sel308 sel31 sel310 sel32 sel33 sel34 sel35 sel36 sel37 sel38 sel39 sel40 sel41 sel42 "
    "sel43 sel44 sel45 sel46 sel47 sel48 sel49 sel50 sel51 sel52 sel803 sel808 sel811 sel820 "
    "sel821 sel840 sel847 sel853 sel871 sel872 sel873 sel883 sel891 sele0104 sele0106 sele0107 "
    "sele0110 sele0111 sele0112 sele0114 sele0116 sele0121 sele0122 sele0124 sele0126 sele0129 "
    "sele0133 sele0136 sele0166 sele0170 sele0203 sele0210 sele0211 sele0303 sele0405 sele0406 "
    "sele0409 sele0411 sele0509 sele0603 sele0604 sele0606 sele0607 sele0609 sele0612 sele0704",
    "ludb": " ".join(f"data/{n}" for n in range(1, 201)),
}
_LISTS = ("RECORDS", "ALARMS", "REFERENCE.csv")  # a record a line, before the first comma
_BEATS_UNCHECKED = {"cudb"}
_LUDB_LEADS = ("i", "ii", "iii", "avr", "avl", "avf", "v1", "v2", "v3", "v4", "v5", "v6")
_LUDB_FIRST = "ii"  # the lead of a rhythm strip
_NOT_ECG_ALONE = {"bw", "em", "ma"}  # of nstdb: noise, not a patient


class Reference(NamedTuple):
    """Where a record's truth is, and what it can judge.

    Parameters
    ----------
    annotator : str
        The end of its file's name.
    beats : bool
        Whether its beats can be trusted.
    partial : bool
        Whether only some beats are marked, all as N: what lies before the first or behind the last
        of them is then not judged, nor is their class, and there is no learning period.
    """

    annotator: str
    beats: bool = True
    partial: bool = False


def truth_of(
    database: str, record: Path, leads: Sequence[str] | None = None, annotator: str | None = None
) -> Reference:
    """Say where the truth about a record is.

    Parameters
    ----------
    database : str
        Its name.
    record : Path
        The record, without an extension.
    leads : sequence of str, optional
        Those that are heard, by name or column: where each lead has a reference of its own, that of
        the first is taken, and lead II where all are heard.
    annotator : str, optional
        What was asked for; the rules of this module otherwise.
    """
    if database == "ludb":
        first = (leads[0] if leads else _LUDB_FIRST).lower()
        if first.isdigit() and int(first) < len(_LUDB_LEADS):
            first = _LUDB_LEADS[int(first)]
        return Reference(annotator or first, partial=True)
    if database == "qtdb":
        whole = record.with_name(f"{record.name}.atr").is_file()
        found = annotator or ("atr" if whole else "q1c")
        return Reference(found, partial=found != "atr")
    return Reference(
        annotator or "atr", beats=annotator is not None or database not in _BEATS_UNCHECKED
    )


class Selection(NamedTuple):
    """Records to judge: `folder` holds them, `missing` are those that it should hold."""

    database: str
    folder: Path
    records: tuple[str, ...]
    missing: tuple[str, ...]
    subset: str | None = None


def select(database: str, folder: Path | None = None, subset: str | None = None) -> Selection:
    """Find the records of a database.

    Parameters
    ----------
    database : str
        A name such as ``mitdb``, or the path of any folder of WFDB records.
    folder : Path, optional
        The folder in which databases lie; the known record roots otherwise.
    subset : str, optional
        ``ds1`` or ``ds2``, or a file that names a record a line.

    Raises
    ------
    SourceError
        If there is no such database, or none of its records.
    """
    path = _folder(database, folder)
    name = path.name if Path(database).is_dir() else database
    wanted = _wanted(name, path, subset)
    there = {record for record in wanted if (path / f"{record}.hea").is_file()}
    records = tuple(record for record in wanted if record in there)
    if not records:
        raise SourceError(
            SourceFault.NOT_FOUND,
            f"none of {len(wanted)} records of {name} lies in {path}; try: tocsin fetch {name}",
        )
    missing = tuple(record for record in wanted if record not in there)
    return Selection(name, path, records, missing, subset)


def _folder(database: str, folder: Path | None) -> Path:
    roots = [folder] if folder is not None else record_roots()
    places = [Path(database), *(root / database for root in roots)]
    for place in places:
        if place.is_dir():
            return place
    looked = ", ".join(str(place) for place in places)
    raise SourceError(
        SourceFault.NOT_FOUND, f"no database {database}: looked at {looked}; see: tocsin fetch"
    )


def _wanted(name: str, path: Path, subset: str | None) -> Sequence[str]:
    if subset in SUBSETS:
        return SUBSETS[subset].split()
    if subset is not None:
        try:
            return Path(subset).read_text(encoding="utf-8").split()
        except OSError as error:
            raise SourceError(
                SourceFault.NOT_FOUND,
                f"subset {subset} is neither ds1 nor ds2 nor a file: {error.strerror}",
            ) from error
    known = _KNOWN.get(name, "").split()
    listed = _listed(path)
    if known or listed:
        return [*known, *(record for record in listed if record not in known)]
    return sorted(f.stem for f in path.glob("*.hea") if f.stem not in _NOT_ECG_ALONE)


def _listed(path: Path) -> list[str]:
    """Return the records that a folder's own list names, noise alone left out."""
    lists = (path / name for name in _LISTS)
    for found in (one for one in lists if one.is_file()):
        lines = found.read_text(encoding="utf-8", errors="replace").splitlines()
        names = (line.split(",")[0].strip() for line in lines)
        return list(dict.fromkeys(n for n in names if n and n not in _NOT_ECG_ALONE))
    return []
