"""A MATLAB file of version 5 or older as a source; needs scipy, which the extra `replay` brings."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.extras import import_extra
from tocsin_agent.sources.files.array import ArraySource
from tocsin_agent.sources.files.guard import existing, reading
from tocsin_dsp.signal import MAX_LEADS

_WHAT = "a MATLAB file"
_MAX_BYTES = 256 << 20  # of a file: it is read as a whole
_MAX_EXPANSION = 20  # how much larger a compressed array may be than its file
_SIGNALS = ("val", "ecg", "signal", "data", "x")
_RATES = ("fs", "rate_hz", "freq", "sfreq", "samplerate", "sampling_rate", "sample_rate")


class MatSource(ArraySource):
    """A MATLAB file: the array `val`, `ecg`, `signal` or `data`, or the only array of numbers.

    The leads are rows or columns: the shorter side. A number `fs` (or `rate_hz`, `freq`,
    `sampling_rate`) is the rate, where none is given. A file that `wfdb2mat` wrote has its rate,
    gain and names in a header beside it, and is opened as the record that it is; without the header
    its values are counts of unknown size.

    Parameters
    ----------
    path, options, block_s
        As in `ArraySource`.
    """

    def _load(self) -> tuple[NDArray[Any], float | None, tuple[str, ...] | None]:
        import_extra("scipy", "replay", _WHAT)
        from scipy.io import loadmat, whosmat  # noqa: PLC0415 - of an extra

        with reading(existing(self.path), _WHAT):
            size = self.path.stat().st_size
            if size > _MAX_BYTES:
                raise SourceError(
                    SourceFault.MALFORMED,
                    f"{self.path} has more than {_MAX_BYTES >> 20} MB, which is more than is read "
                    "of MATLAB files: save the signal as an .npy",
                )
            shapes = {name: shape for name, shape, _ in whosmat(str(self.path))}
            name = self._signal_name(shapes)
            rates = [key for key in shapes if key.lower() in _RATES]
            if 8 * np.prod([float(n) for n in shapes[name]]) > max(1 << 20, _MAX_EXPANSION * size):
                raise ValueError(f"it states the shape {shapes[name]}, which the file cannot hold")
            stored = loadmat(str(self.path), variable_names=[name, *rates])
            values = np.asarray(stored[name])
            rate_hz = float(np.ravel(stored[rates[0]])[0]) if rates else None
        if values.ndim == 2 and values.shape[0] < values.shape[1]:
            values = values.T
        return values, rate_hz, None

    def _signal_name(self, shapes: dict[str, tuple[int, ...]]) -> str:
        arrays = {
            name: shape
            for name, shape in shapes.items()
            if len(shape) == 2 and min(shape) <= MAX_LEADS and max(shape) > 1
        }
        for wanted in _SIGNALS:
            for name in arrays:
                if name.lower() == wanted:
                    return name
        if len(arrays) == 1:
            return next(iter(arrays))
        there = ", ".join(f"{name} {shape}" for name, shape in shapes.items()) or "nothing"
        raise SourceError(
            SourceFault.MALFORMED,
            f"{self.path} has {there}: name the signal `ecg`, an array of shape (n, leads)",
        )
