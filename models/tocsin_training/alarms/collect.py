"""Features of every half second in which a candidate is open, record by record, kept in a cache.

The stages are those of the monitor, up to the labels; what is asked is what
`tocsin_agent.monitor.alarms.verification` would ask.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tocsin_agent.lab.evaluate.databases import select
from tocsin_agent.lab.patients import NOISE_RECORDS
from tocsin_agent.monitor.alarms.verification import Verifier
from tocsin_agent.monitor.labels.half_minutes import with_half_minutes
from tocsin_agent.monitor.labels.labeller import Labeller
from tocsin_agent.monitor.rhythm.verdicts import Verdicts
from tocsin_agent.sources.base import EndOfStream
from tocsin_agent.sources.opening import open_source
from tocsin_dsp.conditioning.condition import Conditioner
from tocsin_dsp.conditioning.quality import Hop, QualityMeter
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.leads.leads import LeadSet
from tocsin_dsp.rhythms.evidence import FEATURES
from tocsin_dsp.rhythms.fibrillation import WindowObserver
from tocsin_dsp.rhythms.irregularity import IrregularityObserver
from tocsin_models import Models, load_model
from tocsin_models.runner import AF, BEATS, VF

CACHE = Path(".cache/alarms")
DATABASES = ("cinc2015", "cinc2015_long", "mitdb", "svdb", "cudb", "vfdb", "nstdb", "leadi_motion")


class Rows(NamedTuple):
    """Candidates of a database: record, second of the stream and features of each."""

    record: NDArray[np.str_]
    at_s: NDArray[np.float64]
    x: NDArray[np.float32]
    hours: float

    def column(self, name: str) -> NDArray[np.float32]:
        """Return a feature by name."""
        return self.x[:, FEATURES.index(name)]


def of_record(path: Path, models: Models) -> tuple[list[tuple[float, list[float]]], float]:
    """Return second and features of each candidate of a record, and its length in seconds."""
    with open_source(str(path), block_s=60.0) as source:
        spec = source.spec
        condition = Conditioner(spec)
        quality, leads = QualityMeter(len(spec.leads), spec.range_mv), LeadSet(len(spec.leads))
        windows, half_minutes = WindowObserver(len(spec.leads)), IrregularityObserver()
        labels = Labeller(spec.leads, models)
        verifier = Verifier(len(spec.leads), models, Verdicts())
        found: list[tuple[float, list[float]]] = []
        seconds = 0.0
        while True:
            try:
                block = source.read(1.0)
            except EndOfStream:
                return found, seconds
            if block is None:
                continue
            seconds = block.stop_index / spec.rate_hz
            piece = condition.push(block)
            if piece.restarted:
                quality.skip_to(piece.start)
                verifier.restart()
            observed = leads.push(piece, quality.push(piece.samples))
            labelled = labels.push(windows.push(piece, observed))
            for item in labels.in_rhythm(with_half_minutes(half_minutes, labelled)):
                verifier.take(item)
                if isinstance(item, Hop):
                    described = verifier.features(item.stop)
                    if described is not None:
                        found.append((item.stop / ANALYSIS_RATE_HZ, described[1]))


def collect(database: str) -> Rows:
    """Return the candidates of a database, from the cache where they are there."""
    file = CACHE / f"{database}.npz"
    if not file.is_file():
        models = Models(beats=load_model(BEATS), vf=load_model(VF), af=load_model(AF))
        selection = select(database)
        records, at, x, hours = [], [], [], 0.0
        for record in selection.records:
            if record in NOISE_RECORDS:
                continue
            found, seconds = of_record(selection.folder / record, models)
            hours += seconds / 3600
            records += [record] * len(found)
            at += [second for second, _ in found]
            x += [features for _, features in found]
        CACHE.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(
            file,
            record=np.array(records, dtype=str),
            at_s=np.array(at),
            x=np.array(x, np.float32).reshape(-1, len(FEATURES)),
            hours=hours,
        )
    with np.load(file) as kept:
        return Rows(kept["record"], kept["at_s"], kept["x"], float(kept["hours"]))


if __name__ == "__main__":
    for name in DATABASES:
        rows = collect(name)
        print(name, len(rows.x), "candidates in", round(rows.hours, 1), "h", flush=True)
