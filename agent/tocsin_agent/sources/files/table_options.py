"""What a table of samples does not state itself."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_dsp.signal import FloatArray

_UNITS_MV = {"mV": 1.0, "uV": 1e-3, "µV": 1e-3, "V": 1e3}


@dataclass(frozen=True, slots=True)
class TableOptions:
    """Properties that a table does not state itself.

    Parameters
    ----------
    rate_hz : float, optional
        Samples per second; not needed for a table with a time column (CSV) or an entry `rate_hz`
        (npz).
    leads : tuple of str, optional
        CSV: the columns to take. Arrays: the names of the columns; `ECG1`, `ECG2` … by default.
    unit : str
        `mV`, `uV`, `V` or `counts`.
    gain : float, optional
        Counts per mV, for `counts`.
    baseline : float
        The count for 0 mV.
    """

    rate_hz: float | None = None
    leads: tuple[str, ...] | None = None
    unit: str = "mV"
    gain: float | None = None
    baseline: float = 0.0

    def __post_init__(self) -> None:
        if self.unit == "counts":
            if not self.gain or not math.isfinite(self.gain):
                raise SourceError(
                    SourceFault.MALFORMED, "unit is counts: give gain, the counts in a millivolt"
                )
        elif self.unit not in _UNITS_MV:
            raise SourceError(
                SourceFault.MALFORMED,
                f"unit is {self.unit!r}: one of {', '.join([*_UNITS_MV, 'counts'])} expected",
            )

    def to_mv(self, values: FloatArray) -> FloatArray:
        """Convert stored values, of any shape, to millivolts."""
        if self.unit == "counts":
            return (values - self.baseline) / (self.gain or math.nan)
        return values * _UNITS_MV[self.unit]
