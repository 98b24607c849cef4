"""Write a stretch of ECG as a WFDB record that holds samples and lead names, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tocsin_agent.sources.files.wfdb_record import import_wfdb
from tocsin_dsp.signal import FloatArray

COUNTS_PER_MV = 1000.0
_MISSING, _HIGHEST = -32768, 32767


def write_excerpt(
    folder: Path, name: str, rate_hz: float, leads: Sequence[str], samples_mv: FloatArray
) -> None:
    """Write `name.hea` and `name.dat`: format 16, 1 µV a count, no date, no comment.

    Parameters
    ----------
    folder : Path
        Exists.
    name : str
        Letters, digits, `_` and `-`.
    rate_hz : float
    leads : sequence of str
        Characters that a header does not allow become `_`.
    samples_mv : ndarray of float64, shape (n, leads)
        NaN where a sample is missing.
    """
    counts = np.clip(np.rint(samples_mv * COUNTS_PER_MV), -_HIGHEST, _HIGHEST)
    import_wfdb().wrsamp(
        name,
        fs=rate_hz,
        units=["mV"] * len(leads),
        sig_name=[re.sub(r"[^\x21-\x7e]", "_", lead) for lead in leads],
        d_signal=np.where(np.isnan(counts), _MISSING, counts).astype(np.int64),
        fmt=["16"] * len(leads),
        adc_gain=[COUNTS_PER_MV] * len(leads),
        baseline=[0] * len(leads),
        write_dir=str(folder),
    )
