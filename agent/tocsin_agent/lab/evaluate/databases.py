"""The records of a database and their reference annotations.

=========  =====  ===========================  ====================================================
database   Hz     reference                    what it judges
=========  =====  ===========================  ====================================================
mitdb      360    `atr`                        beats, rhythms, `[ ]`
svdb       128    `atr`                        beats
vfdb       250    `atr`                        rhythms only, VF, VFL and VFIB among them
nstdb      360    `atr`                        beats, rhythms (of mitdb 118 and 119)
cudb       250    `atr`                        `[ ]`; its beats were never checked by hand
afdb       250    `atr`                        rhythms only; its `qrs` were never checked by hand
edb        250    `atr`                        beats
ludb       500    per lead: `i` … `v6`         QRS, from the first to the last that is marked
qtdb       250    `atr`, else `q1c`            beats; with `q1c` the thirty or so that are marked
cinc2015   250    `ALARMS`                     one alarm per record, by `challenge`
cinc2017   300    `REFERENCE.csv`              one rhythm per record, by `challenge2017`
any other         `atr`                        what its annotations contain
=========  =====  ===========================  ====================================================

The records of a database are those listed in `tocsin_agent.lab.patients` and in its folder: in
`RECORDS`, or in the list of a challenge. Only where there is neither list, they are the headers in
the folder. A record of the database that is not in the folder is missing, and every result names
it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.lab.evaluate.objects import fetch_if_there, list_headers
from tocsin_agent.lab.patients import NOISE_RECORDS, RECORDS, SUBSETS
from tocsin_agent.sources.files.record_folders import record_roots

_LISTS = ("RECORDS", "ALARMS", "REFERENCE.csv")  # a record in each line, before the first comma
_BEATS_UNCHECKED = {"cudb"}
_LUDB_LEADS = ("i", "ii", "iii", "avr", "avl", "avf", "v1", "v2", "v3", "v4", "v5", "v6")
_LUDB_FIRST = "ii"  # the lead of a rhythm strip


class Reference(NamedTuple):
    """The reference annotations of a record, and what they judge.

    Parameters
    ----------
    annotator : str
        The extension of the annotation file.
    beats : bool
        Whether its beats were checked by hand.
    partial : bool
        Whether only some beats are marked, all as N: then neither the signal before the first and
        after the last of them is judged nor their class, and there is no learning period.
    """

    annotator: str
    beats: bool = True
    partial: bool = False


def reference_for(
    database: str, record: Path, leads: Sequence[str] | None = None, annotator: str | None = None
) -> Reference:
    """Return where the reference annotations of a record are.

    Parameters
    ----------
    database : str
        Its name.
    record : Path
        The record, without an extension.
    leads : sequence of str, optional
        The leads in use, by name or column, all by default. Where each lead has annotations of its
        own, those of the first are used, and of lead II where all are in use.
    annotator : str, optional
        The annotator asked for; chosen by the rules of this module otherwise.
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
    """Records to judge in `folder`; `missing` names records of the database that it lacks.

    With `url` the records are in an object store, and `folder` has the lists of a challenge alone.
    """

    database: str
    folder: Path
    records: tuple[str, ...]
    missing: tuple[str, ...]
    subset: str | None = None
    url: str | None = None


def select(database: str, folder: Path | None = None, subset: str | None = None) -> Selection:
    """Find the records of a database.

    Parameters
    ----------
    database : str
        A name such as ``mitdb``, or the path of any folder of WFDB records.
    folder : Path, optional
        The folder that contains the databases; the folders of `record_roots` otherwise.
    subset : str, optional
        ``ds1`` or ``ds2``, or a file with the name of a record in each line.

    Raises
    ------
    SourceError
        If there is no such database, or none of its records.
    """
    path = database_folder(database, folder)
    name = path.name if Path(database).is_dir() else database
    wanted = _wanted(name, path, subset)
    there = {record for record in wanted if (path / f"{record}.hea").is_file()}
    records = tuple(record for record in wanted if record in there)
    if not records:
        raise SourceError(
            SourceFault.NOT_FOUND,
            f"none of {len(wanted)} records of {name} is in {path}; try: tocsin fetch {name}",
        )
    missing = tuple(record for record in wanted if record not in there)
    return Selection(name, path, records, missing, subset)


def select_in_store(url: str, into: Path, subset: str | None = None) -> Selection:
    """Find the records of a database in an object store.

    Parameters
    ----------
    url : str
        Of its folder, such as ``s3://bucket/mitdb``; its last part names the database.
    into : Path
        An empty folder for the lists of a challenge.
    subset : str, optional
        As in `select`.

    Raises
    ------
    SourceError
        If the store cannot be read, or none of the records is in it.
    """
    url = url.rstrip("/")
    name = url.rpartition("/")[2]
    there = list_headers(url)
    fetch_if_there(url, list(_LISTS), into)
    if (into / "ALARMS").is_file():  # its headers state when an alarm was raised
        fetch_if_there(url, [f"{record}.hea" for record in there if "/" not in record], into)
    known = subset is not None or bool(RECORDS.get(name) or _listed(into))
    wanted = _wanted(name, into, subset) if known else there
    records = tuple(record for record in wanted if record in set(there) - set(NOISE_RECORDS))
    if not records:
        raise SourceError(
            SourceFault.NOT_FOUND, f"none of {len(wanted)} records of {name} at {url}"
        )
    missing = tuple(record for record in wanted if record not in records)
    return Selection(name, into, records, missing, subset, url)


def database_folder(database: str, folder: Path | None = None) -> Path:
    """Return the folder of a database; parameters and errors as in `select`."""
    roots = [folder] if folder is not None else record_roots()
    places = [Path(database), *(root / database for root in roots)]
    for place in places:
        if place.is_dir():
            return place
    tried = ", ".join(str(place) for place in places)
    raise SourceError(
        SourceFault.NOT_FOUND,
        f"no database {database} at {tried}\nto get it from PhysioNet: tocsin fetch {database}",
    )


def _wanted(name: str, path: Path, subset: str | None) -> Sequence[str]:
    if subset in SUBSETS:
        return SUBSETS[subset]
    if subset is not None:
        try:
            return Path(subset).read_text(encoding="utf-8").split()
        except OSError as error:
            raise SourceError(
                SourceFault.NOT_FOUND,
                f"subset {subset} is neither ds1 nor ds2 nor a file: {error.strerror}",
            ) from error
    known = RECORDS.get(name, ())
    listed = _listed(path)
    if known or listed:
        return [*known, *(record for record in listed if record not in known)]
    return sorted(f.stem for f in path.glob("*.hea") if f.stem not in NOISE_RECORDS)


def _listed(path: Path) -> list[str]:
    """Return the records that a list in the folder names, without the noise records."""
    lists = (path / name for name in _LISTS)
    for found in (one for one in lists if one.is_file()):
        lines = found.read_text(encoding="utf-8", errors="replace").splitlines()
        names = (line.split(",")[0].strip() for line in lines)
        return list(dict.fromkeys(n for n in names if n and n not in NOISE_RECORDS))
    return []
