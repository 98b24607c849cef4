"""What belongs to each database: records, splits, paced records, and where the truth is.

A database's own list (`RECORDS` in its folder) is believed first, the list known here next; what
lies there is what counts only where neither exists. What is listed and not there is missing, and
is named in every result.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tocsin_agent.sources.places import record_roots
from tocsin_dsp.errors import SourceError, SourceFault

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
    "ludb": " ".join(f"data/{n}" for n in range(1, 201)),
}
_NOT_ECG_ALONE = {"bw", "em", "ma"}  # of nstdb: noise, not a patient


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
    listed = path / "RECORDS"
    if listed.is_file():
        return listed.read_text(encoding="utf-8").split()
    if name in _KNOWN:
        return _KNOWN[name].split()
    return sorted(f.stem for f in path.glob("*.hea") if f.stem not in _NOT_ECG_ALONE)
