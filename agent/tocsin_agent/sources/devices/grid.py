"""Sample indices from time stamps, for devices that do not count samples."""

from __future__ import annotations


class SampleGrid:
    """Numbers samples that arrive in chunks with one time stamp each.

    Chunks are consecutive as long as their stamps agree with the rate within the tolerance; a later
    stamp states a gap of as many samples as fit in between. Each stamp is compared with the
    previous one, so the drift of a clock never becomes a gap.

    Parameters
    ----------
    rate_hz : float
        Samples per second.
    tolerance_s : float
        The scatter of a stamp that is not a gap, in seconds.
    """

    def __init__(self, rate_hz: float, tolerance_s: float) -> None:
        self.rate_hz, self.tolerance_s = rate_hz, tolerance_s
        self._next_index = 0
        self._expected_s: float | None = None

    def place(self, first_s: float, count: int) -> int:
        """Return the index of the first of `count` samples, which was sampled at `first_s`."""
        if self._expected_s is not None:
            late_s = first_s - self._expected_s
            if late_s > self.tolerance_s:
                self._next_index += round(late_s * self.rate_hz)
        start = self._next_index
        self._next_index += count
        self._expected_s = first_s + count / self.rate_hz
        return start
