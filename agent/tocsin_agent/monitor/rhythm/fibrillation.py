"""Ventricular fibrillation: `ventricular_fibrillation`, from the waveform of some seconds.

Fibrillation begins where most of the last windows look like it (two of three, for the usual limit
of 4 s) and the verification of the candidate, where a model verifies, does not contradict. Its
waveform varies, and a window of it may look like noise: it continues while it is not clearly
something else (`CONTINUES`), and ends after `CLEAR` clear windows. A lead that carries no ECG, as
at the converter's limit, shows neither: fibrillation is held through it for `HELD` at most.

Latency: that of the window that completes the proof; windows end a second apart.
"""

from __future__ import annotations

from collections import deque

from tocsin_agent.monitor.rhythm.family import RuleFamily
from tocsin_agent.monitor.rhythm.finding import Finding
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_agent.monitor.rhythm.verdicts import Verdicts
from tocsin_agent.monitor.timeline import Item, Waveform
from tocsin_dsp.conditioning.quality import HOP, Hop
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.rhythms.fibrillation import SECONDS

LIKELY = 0.3
"""Probability from which on a window counts as fibrillation."""
CONTINUES = 0.05
"""Probability from which on a window continues it."""
CLEAR = 4
"""Windows below that in a row which end it."""
HELD = 6
"""Seconds for which it is held while no window can be judged."""
EVERY = ANALYSIS_RATE_HZ
"""Windows end so many samples apart; one that cannot be fibrillation is not reported at all."""
MOST = SECONDS // 2 * ANALYSIS_RATE_HZ
"""A window counts as what fills most of it: at least so many samples."""


class FibrillationRules(RuleFamily):
    """Follow the windows of the lead in use, one a second.

    Parameters
    ----------
    limits : Limits
    verdicts : Verdicts
        Read: whether the verification contradicts.
    """

    def __init__(self, limits: Limits, verdicts: Verdicts | None = None) -> None:
        self._limit = limits.vf_s
        self._needed = max(round(limits.vf_s) - SECONDS // 2, 1)
        self._verdicts = verdicts or Verdicts()
        self.restart()

    def restart(self) -> None:
        """Forget the windows."""
        # When each of the last windows ended, and its probability; they may have gaps.
        self._recent: deque[tuple[int, float]] = deque(maxlen=self._needed + 1)
        self._onset: int | None = None  # of the fibrillation that lasts
        self._newest: Waveform | None = None
        self._clear = self._held = 0  # windows in a row
        self._sum, self._count = 0.0, 0  # of the probabilities since it began
        self._disconnected = 0  # hops in a row without an ECG in the lead in use

    def suspects(self, at: int) -> bool:
        """Return whether the newest window, less than two seconds old, looks like fibrillation."""
        newest = self._newest
        if newest is None or at - newest.decided >= 2 * EVERY:
            return False
        least = LIKELY if self._onset is None else CONTINUES
        return newest.probability >= least

    def take(self, item: Item) -> list[Finding]:
        """Take a window, or notice at a quality that a second brought none."""
        if isinstance(item, Waveform) and item.used:
            return self._window(item)
        return self._hop(item) if isinstance(item, Hop) else []

    def _window(self, window: Waveform) -> list[Finding]:
        self._newest = window
        self._recent.append((window.decided, window.probability))
        if self._onset is None:
            if not self._begins(window):
                return []
        elif window.probability < CONTINUES:
            self._missed()
            return []
        else:
            self._sum, self._count = self._sum + window.probability, self._count + 1
        self._clear = self._held = 0
        return [self._finding(window.decided, window)]

    def _begins(self, window: Waveform) -> bool:
        """Return whether enough of the last windows look like fibrillation, and note that."""
        since = window.decided - self._needed * EVERY
        likely = [(at, p) for at, p in self._recent if at >= since and p >= LIKELY]
        if window.probability < LIKELY or len(likely) < self._needed:
            return False
        verdict = self._verdicts.fibrillation
        if verdict is not None and not verdict.accepted:
            return False
        self._onset = max(likely[0][0] - MOST, 0)
        self._sum, self._count = sum(p for _, p in likely), len(likely)
        return True

    def _hop(self, hop: Hop) -> list[Finding]:
        """Count the seconds without a window: clear, or nothing to judge."""
        connected = hop.states[hop.used].carries_ecg
        self._disconnected = 0 if connected else self._disconnected + 1
        newest = self._newest
        if self._onset is None or newest is None or hop.stop % EVERY != HOP:
            return []
        if hop.stop - newest.decided < EVERY:
            return []
        if self._disconnected and self._held < HELD:
            self._held += 1
            return [self._finding(hop.stop, newest)]
        self._missed()
        return []

    def _missed(self) -> None:
        """Take a second without any sign of fibrillation."""
        self._clear += 1
        if self._clear >= CLEAR:
            self._onset, self._clear, self._held = None, 0, 0

    def _finding(self, at: int, newest: Waveform) -> Finding:
        assert self._onset is not None  # noqa: S101 - only while it lasts
        onset, limit, verdict = self._onset, self._limit, self._verdicts.fibrillation
        measured: dict[str, float | str] = {
            "lead": newest.lead,
            "level_mv": round(newest.level_mv, 3),
            "lasting_s": round((at - onset) / ANALYSIS_RATE_HZ, 1),
        }
        if verdict is not None:
            measured["verified"] = verdict.probability
        return Finding(
            "ventricular_fibrillation",
            onset,
            at,
            f"the waveform of ventricular fibrillation or flutter for {limit:g} s",
            {"vf_s": limit},
            measured,
            probability=round(self._sum / self._count, 3),
            model="vf",
        )
