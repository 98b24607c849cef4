"""Why beats were labelled ventricular, in the terms in which a cardiologist checks it.

Early, wide, unlike the usual beat, and without a P wave: the criteria that distinguish an ectopic
beat from an aberrant one (Wellens et al., Am. J. Med. 64:27, 1978). They are measured whether or
not the classifier used them, so that its answer can be questioned. Medians are over the beats that
an alert rests on; of a run these are its first beats (`RUN_REASONS` in
`tocsin_agent.monitor.rhythm.ventricular`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

from tocsin_agent.monitor.rhythm.finding import Reason
from tocsin_dsp.beats.waves import P_SCORE


def explain(reasons: Sequence[Reason]) -> dict[str, float | str]:
    """Return what was measured of the beats; what is unknown of all of them is left out.

    Parameters
    ----------
    reasons : sequence of Reason

    Returns
    -------
    dict
        `premature_percent`: by how much RR was shorter than the median of those before it;
        `qrs_ms`: width; `likeness`: of the QRS to the patient's usual one, 0 to 1; `p_waves`: how
        many of the `p_waves_sought` beats had one.
    """
    beats = [reason.beat for reason in reasons]
    early = [r.premature_percent for r in reasons if r.premature_percent is not None]
    scores = _known(beat.waves.p_score for beat in beats)
    measured: dict[str, float | str] = {}
    if early:
        measured["premature_percent"] = round(median(early), 1)
    if widths := _known(beat.waves.qrs_s for beat in beats):
        measured["qrs_ms"] = float(round(1000.0 * median(widths)))
    if likenesses := _known(beat.likeness for beat in beats):
        measured["likeness"] = round(min(max(median(likenesses), 0.0), 1.0), 2)
    if scores:
        measured["p_waves"] = float(sum(score >= P_SCORE for score in scores))
        measured["p_waves_sought"] = float(len(scores))
    return measured


def _known(values: Iterable[float]) -> list[float]:
    return [float(value) for value in values if value == value]  # noqa: PLR0124 - not NaN
