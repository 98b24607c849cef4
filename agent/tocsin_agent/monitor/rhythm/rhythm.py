"""From labelled beats, waveforms, qualities and the passing of stream time to findings.

A finding states that a condition holds at an instant of stream time. Whether it raises an alarm,
for how long and how often is decided in `tocsin_agent.monitor.alarms.episodes`.
"""

from __future__ import annotations

from tocsin_agent.monitor.rhythm.accelerated import AcceleratedRules
from tocsin_agent.monitor.rhythm.atrial import AtrialRules
from tocsin_agent.monitor.rhythm.electrodes import ElectrodeRules
from tocsin_agent.monitor.rhythm.family import RuleFamily
from tocsin_agent.monitor.rhythm.fibrillation import FibrillationRules
from tocsin_agent.monitor.rhythm.finding import Finding
from tocsin_agent.monitor.rhythm.history import History
from tocsin_agent.monitor.rhythm.irregular import IrregularRules
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_agent.monitor.rhythm.r_on_t import ROnTRules
from tocsin_agent.monitor.rhythm.rate import RateRules
from tocsin_agent.monitor.rhythm.silence import SilenceRules
from tocsin_agent.monitor.rhythm.supraventricular import SupraventricularRules
from tocsin_agent.monitor.rhythm.ventricular import VentricularRules
from tocsin_agent.monitor.rhythm.verdicts import Verdicts
from tocsin_agent.monitor.timeline import Beat, Item, Waveform


class Rhythm:
    """Apply every family of rules, item by item, over one history.

    The order of the families is the order of their findings; `ElectrodeRules` stands before
    `SilenceRules`, which asks it whether a lead can show a beat.

    Parameters
    ----------
    leads : tuple of str
    limits : Limits
    verdicts : Verdicts, optional
        What verification says of ventricular candidates, where a model verifies.
    """

    def __init__(
        self, leads: tuple[str, ...], limits: Limits, verdicts: Verdicts | None = None
    ) -> None:
        self._history = History(limits)
        self._fibrillation = FibrillationRules(limits, verdicts)
        self._ventricular = VentricularRules(limits, self._history, verdicts)
        electrodes = ElectrodeRules(leads, limits, self._history)
        self._silence = SilenceRules(limits, self._history, electrodes, self._fibrillation)
        self._families: tuple[RuleFamily, ...] = (
            electrodes,
            self._silence,
            self._ventricular,
            RateRules(limits, self._history),
            self._fibrillation,
            AtrialRules(limits),
            *_further(limits, self._history),
        )

    @property
    def premature_percent(self) -> float | None:
        """How much of the usual interval the last beat came early, of V and S only."""
        return self._history.premature_percent

    @property
    def last_rr(self) -> int:
        """The interval before the last beat in analysis samples, 0 where it is unknown."""
        return self._history.rr[-1] if self._history.rr else 0

    def heart_rate_bpm(self, at: int) -> float | None:
        """Return the rate at an analysis index, from the median of up to eight RR intervals.

        None where no heart beats, where none can be detected, and in fibrillation.
        """
        return None if self._fibrillation.suspects(at) else self._history.heart_rate_bpm(at)

    def use(self, limits: Limits) -> None:
        """Use other limits of rate and pause from here on."""
        for rules in self._families:
            rules.use(limits)

    def restart(self) -> None:
        """Begin again after a gap: nothing may span what was before and what comes next."""
        self._history.restart()
        for rules in self._families:
            rules.restart()

    def take(self, item: Item) -> list[Finding]:
        """Take what was decided at the instant to which time has passed, in order of decision."""
        if isinstance(item, Beat):
            self._history.take(item)
        found = [finding for rules in self._families for finding in rules.take(item)]
        if found and isinstance(item, Waveform):  # what was detected in fibrillation were no beats
            self._history.forget_beats()
            self._ventricular.restart()
        return found

    def pass_time(self, now: int) -> list[Finding]:
        """Let stream time pass to analysis index `now`; silence alone has a deadline."""
        return self._silence.pass_time(now)


def _further(limits: Limits, history: History) -> list[RuleFamily]:
    """Return the families of the alarms that are switched on."""
    on = set(limits.further_alarms)
    families: list[RuleFamily] = []
    if on & {"supraventricular_run", "supraventricular_tachycardia"}:
        families.append(SupraventricularRules(limits, history))
    if "accelerated_ventricular_rhythm" in on:
        families.append(AcceleratedRules(limits, history))
    if "r_on_t" in on:
        families.append(ROnTRules(history))
    if "irregular" in on:
        families.append(IrregularRules(limits, history))
    return families
