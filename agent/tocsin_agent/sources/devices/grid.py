"""From time stamps to sample numbers, for devices that count no samples."""

from __future__ import annotations


class SampleGrid:
    """Numbers samples that come in chunks with a time stamp.

    Chunks follow one another as long as their stamps agree with the rate to within the tolerance;
    a stamp that is later than that states a gap of as many samples as fit. Each stamp is compared
    with the one before, so the drift of a clock adds up to no gap.

    Parameters
    ----------
    rate_hz : float
        Samples per second.
    tolerance_s : float
        How much a stamp may scatter.
    """

    def __init__(self, rate_hz: float, tolerance_s: float) -> None:
        self.rate_hz, self.tolerance_s = rate_hz, tolerance_s
        self._next_index = 0
        self._expected_s: float | None = None

    def place(self, first_s: float, count: int) -> int:
        """Return the index of the first of `count` samples, taken at `first_s`."""
        if self._expected_s is not None:
            late_s = first_s - self._expected_s
            if late_s > self.tolerance_s:
                self._next_index += round(late_s * self.rate_hz)
        start = self._next_index
        self._next_index += count
        self._expected_s = first_s + count / self.rate_hz
        return start
