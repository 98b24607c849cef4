"""R on T: `r_on_t`, a ventricular beat on the T wave of the beat before it.

It is one where it begins before the QT interval of that beat is over. The T wave itself cannot be
delineated under the beat on it: QT is that of Bazett (Heart 7:353, 1920), 0.40 s at 60/min, from
the interval before, and the QRS begins `ONSET_S` before its R peak.

Latency: none beyond that of the beat.
"""

from __future__ import annotations

import math

from tocsin_agent.monitor.rhythm.family import RuleFamily
from tocsin_agent.monitor.rhythm.finding import Finding, Reason
from tocsin_agent.monitor.rhythm.history import History
from tocsin_agent.monitor.timeline import Beat, Item
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ

QT_AT_60_S = 0.40
ONSET_S = 0.04


class ROnTRules(RuleFamily):
    """Compare the coupling interval of each ventricular beat with the QT interval.

    Parameters
    ----------
    history : History
        Read: RR intervals and prematurity.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self.restart()

    def restart(self) -> None:
        """Forget the beat before."""
        self._sinus = False  # the last beat was trusted and not ventricular

    def take(self, item: Item) -> list[Finding]:
        """Take a beat."""
        if not isinstance(item, Beat):
            return []
        after_sinus, self._sinus = self._sinus, item.trusted and item.label in "NS"
        if item.label != "V" or not item.trusted or not after_sinus:
            return []
        rr = [interval / ANALYSIS_RATE_HZ for interval in self._history.rr[-2:]]
        if len(rr) < 2 or 0.0 in rr:
            return []
        before_s, coupling_s = rr
        qt_s = QT_AT_60_S * math.sqrt(before_s)
        if coupling_s >= qt_s - ONSET_S:
            return []
        measured: dict[str, float | str] = {
            "coupling_s": round(coupling_s, 2),
            "qt_s": round(qt_s, 2),
        }
        reasons = (Reason(item, self._history.premature_percent),)
        rule = "a ventricular beat within the QT interval of the beat before it"
        return [
            Finding(
                "r_on_t", item.r_index, item.decided, rule, {}, measured, model="beats",
                reasons=reasons,
            )
        ]  # fmt: skip
