"""Every half second in which a candidate is open, record by record, kept in a cache.

The stages are those of the monitor, up to the labels; what is asked is what
`tocsin_agent.monitor.alarms.verification` would ask. The cache is in a folder named after the
models and the sources that decide: what was collected with others is not used, and a run that was
interrupted goes on where it ended.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import inspect
import pickle
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

import tocsin_dsp
from tocsin_agent.lab.ec57 import noise as mixer
from tocsin_agent.lab.ec57.annotations import read_annotations, read_header
from tocsin_agent.lab.evaluate.databases import Selection, database_folder, select
from tocsin_agent.lab.evaluate.stress import normal_beats
from tocsin_agent.lab.patients import NOISE_RECORDS
from tocsin_agent.monitor import labels as label_stages
from tocsin_agent.monitor.alarms import verification
from tocsin_agent.sources.opening import open_source
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.rhythms.evidence import FEATURES
from tocsin_models import Models, load_model
from tocsin_models.runner import AF, BEATS, VF
from tocsin_training.alarms.timeline import Recorded, decide

CACHE = Path(".cache/alarms")
DATABASES = (
    "cinc2015", "cinc2015_long", "mitdb", "svdb", "cudb", "vfdb", "nstdb", "leadi_motion", "noisy",
)  # fmt: skip
NOISY = "noisy"
"""Clean records of mitdb with noise of nstdb added; `115e06` has 6 dB of em."""
CLEAN = ("101", "112", "115", "122")
"""Records of DS1 in sinus rhythm, without a ventricular beat."""
NOISE, SNR_DB = ("em", "ma"), (6, 0)


class Rows(NamedTuple):
    """Candidates of a database: record, second of the stream and features of each."""

    record: NDArray[np.str_]
    at_s: NDArray[np.float64]
    x: NDArray[np.float32]
    hours: float

    def column(self, name: str) -> NDArray[np.float32]:
        """Return a feature by name."""
        return self.x[:, FEATURES.index(name)]


def selected(database: str) -> Selection:
    """Return the records of a database that are collected: of mitdb those of DS1.

    `NOISY` is made if it is not there.
    """
    found = select(
        str(noisy_folder()) if database == NOISY else database,
        subset="ds1" if database == "mitdb" else None,
    )
    return found._replace(records=tuple(r for r in found.records if r not in NOISE_RECORDS))


def noisy_folder() -> Path:
    """Return the folder of the records with noise, written once."""
    folder = CACHE / NOISY
    if (folder / "RECORDS").is_file():
        return folder
    names = []
    for record in CLEAN:
        path = database_folder("mitdb") / record
        marks = path.with_suffix(".atr")
        reference = read_annotations(marks, read_header(path.with_suffix(".hea")))
        clean = mixer.read_record(f"mitdb/{record}")
        for kind in NOISE:
            noise = mixer.read_record(f"nstdb/{kind}")
            calibration = mixer.calibrate(clean, noise, normal_beats(reference))
            for snr_db in SNR_DB:
                mixed = mixer.mix(clean, noise, snr_db, calibration, rewind="level")
                names.append(mixed.write(folder, annotations=[marks]).name)
    (folder / "RECORDS").write_text("\n".join(names) + "\n", encoding="utf-8")
    return folder


def recorded(database: str) -> Iterator[tuple[str, Recorded]]:
    """Yield each record of a database with what the monitor decides of it; computed once."""
    selection = selected(database)
    folder = _folder(database)
    for record in selection.records:
        _once(folder / record, selection.folder / record)
        yield record, pickle.loads(gzip.decompress((folder / f"{record}.gz").read_bytes()))


def collect(database: str) -> Rows:
    """Return the candidates of a database; those of a record are computed once."""
    selection, folder = selected(database), _folder(database)
    parts = []
    for number, record in enumerate(selection.records, 1):
        if _once(folder / record, selection.folder / record) and number % 20 == 0:
            of = len(selection.records)
            print(f"{database}: {number} of {of} records", file=sys.stderr, flush=True)
        with np.load(folder / f"{record}.npz") as kept:
            parts.append((record, kept["at_s"], kept["x"], float(kept["seconds"])))
    return Rows(
        np.array([record for record, at, _, _ in parts for _ in at], dtype=str),
        np.concatenate([at for _, at, _, _ in parts]),
        np.concatenate([x for _, _, x, _ in parts]),
        sum(seconds for *_, seconds in parts) / 3600,
    )


def _folder(database: str) -> Path:
    folder = CACHE / "candidates" / version() / database
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _once(file: Path, path: Path) -> bool:
    """Write what is kept of a record: its candidates and its timeline; False if that is done."""
    candidates, timeline = file.with_name(f"{file.name}.npz"), file.with_name(f"{file.name}.gz")
    if candidates.is_file():
        return False
    with open_source(str(path), block_s=60.0) as source:
        kept = decide(source, _models())
    part = file.with_name(f"{file.name}.part")
    part.write_bytes(gzip.compress(pickle.dumps(kept), 1))
    part.rename(timeline)
    with part.open("wb") as opened:
        seconds = kept.samples / kept.spec.rate_hz
        np.savez_compressed(opened, at_s=kept.at / ANALYSIS_RATE_HZ, x=kept.x, seconds=seconds)
    part.rename(candidates)  # last: both are there
    return True


@cache
def version() -> str:
    """Return a name for what decides the features: the models asked and the sources."""
    digest = hashlib.sha256()
    for model in (BEATS, VF, AF):
        digest.update(load_model(model).id.encode())
    for root in (Path(tocsin_dsp.__file__).parent, Path(label_stages.__file__).parent):
        for file in sorted(root.rglob("*.py")):
            digest.update(file.read_bytes())
    for decides in (verification.candidate, verification.Verifier):
        digest.update(inspect.getsource(decides).encode())
    return digest.hexdigest()[:12]


@cache
def _models() -> Models:
    return Models(beats=load_model(BEATS), vf=load_model(VF), af=load_model(AF))


def main() -> None:
    """Collect the candidates of all databases, or of those that are named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("databases", nargs="*", default=DATABASES)
    for name in parser.parse_args().databases:
        rows = collect(name)
        print(name, len(rows.x), "candidates in", round(rows.hours, 1), "h", flush=True)


if __name__ == "__main__":
    main()
