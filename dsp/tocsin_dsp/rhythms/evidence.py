"""Evidence for and against a ventricular tachycardia or fibrillation: the inputs of a classifier.

A rule on the labels of single beats loses a tachycardia of which one beat is labelled otherwise,
and raises an alarm on noise that looks ventricular for four beats. What tells them apart is spread
over seconds and leads: how ventricular the beats of each lead are, and the patient's beats before
them, whether leads agree, how fast and how regular it is, how much noise there is, whether the
signal is at a limit, and whether the waveform looks like fibrillation (the false alarms of
intensive care: Clifford et al., Computing in Cardiology 42:273, 2015).

`AlarmEvidence` keeps the last half minute of beats and the last minute of half seconds; `features`
describes the last `RECENT` against what was usual before. All inputs come in order of decision, so
that a description depends on the samples alone.

Latency: none; the features at the end of a half second rest on what was decided before it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, takewhile
from operator import add
from statistics import median
from typing import NamedTuple

from tocsin_dsp.beats.beats import RelatedBeat, core_likeness, foot_width_s
from tocsin_dsp.conditioning.quality import HOP, Extent, Hop, LeadState
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ

FEATURES = (
    # the patient's beats: probability of V over 3 to 5 in a row, runs, what was usual before
    "v_mean3", "v_mean5", "v_min3", "v_min5", "v_run", "v_run1", "v_fastsum", "core5", "v_lmax5",
    "v_lmin5", "v_base", "core_base", "plain_max", "v_trust5", "usual_bpm",
    # the beats of each lead: the greatest and the smallest of all leads
    "l_v3_max", "l_v4_max", "l_v5_max", "l_v4_min", "l_v5_min", "l_min3_max", "l_min4_max",
    "l_run_max", "l_run_min", "l_run1_max", "l_n50_max", "l_fastsum_max", "l_fastsum_min",
    "l_c5_min", "l_c5_max", "l_lk5_max", "l_rail_max", "l_railhops_max",
    # the lead whose beats are the most ventricular, and the others
    "at_q", "at_noisy", "at_rate4", "at_core4", "at_str4", "at_wid4", "at_rail", "at_oldplain",
    "at_base", "at_nfast", "ot_v4", "ot_c5", "ot_plain", "ot_q", "ot_nfast",
    # the waveform, the signal and the agreement of leads
    "vf_best", "vf_two", "vf_four", "l_nfast_max", "l_base_min", "s_drift_max",
    "s_steepmax_rel_max", "vf_best_min", "vf_two_min", "vf_used", "match_max", "plain_min",
    "alike_max", "alike_min", "s_q_max", "s_q_min", "s_noisy_max", "s_big_rel_max",
    "s_big_rel_min", "max_fast8", "v_now3", "trust8", "pn_mean", "s_unrest_min",
)  # fmt: skip
"""The inputs of the classifier, in its order."""

RECENT = 8 * ANALYSIS_RATE_HZ
"""Analysis samples that are described."""
_LATELY = 5 * ANALYSIS_RATE_HZ
_LONG = 20 * ANALYSIS_RATE_HZ
_WINDOWS_OVER = 6 * ANALYSIS_RATE_HZ
_OWN_KEPT = 32  # beats of each lead
_TOGETHER = 30  # beats of two leads within are one beat
_LONGEST_RR = 10 * ANALYSIS_RATE_HZ
_FAST = 0.63 * ANALYSIS_RATE_HZ  # an interval of the patient's beats below it is fast: 95/min
_FAST_IN_LEAD = 0.6 * ANALYSIS_RATE_HZ  # the same in a single lead: 100/min
_BPM = 60.0 * ANALYSIS_RATE_HZ


class PatientBeat(NamedTuple):
    """A beat of the patient, over all leads that show it.

    `ventricular` is the probability of V before any rule corrects it, `lowest` and `highest` that
    of single leads, `n_or_s` that of N and S together; `is_labelled` is True where it is called V.
    """

    r_index: int
    ventricular: float
    lowest: float
    highest: float
    n_or_s: float
    core_likeness: float
    trusted: bool
    is_labelled: bool


@dataclass(slots=True)
class LeadsBeat:
    """A beat as one lead shows it; `ventricular` is 0 until the classifier has answered.

    `is_plain` is True where it is of the usual shape and neither faint nor far too strong.
    """

    beat: RelatedBeat
    r_index: int
    is_plain: bool
    is_answered: bool = False
    ventricular: float = 0.0
    core_likeness: float = 1.0
    foot_width_s: float = 0.06

    def use_answer(self) -> None:
        """Take over what the classifier was given and said of the beat."""
        asked = self.beat.asked
        assert asked.features is not None  # noqa: S101 - it was described to be asked about
        self.is_answered = True
        self.ventricular = asked.ventricular if self.beat.readable else 0.0
        self.core_likeness = core_likeness(asked.features)
        self.foot_width_s = foot_width_s(asked.features)


def _is_unasked(beat: LeadsBeat) -> bool:
    return not beat.is_answered


def _as_lead_shows(beat: RelatedBeat) -> LeadsBeat:
    plain = beat.likeness >= 0.8 and 0.4 <= beat.strength <= 2.5
    return LeadsBeat(beat, beat.r_index, plain)


class _Signal(NamedTuple):
    """What the features need of a half second: of each lead the range and the steepest step."""

    hop: Hop
    spans: tuple[float, ...]
    steepest: tuple[float, ...]


class Glance(NamedTuple):
    """What is cheap to know: whether to ask for more; the means are 0 where two beats decide."""

    mean3: float
    mean5: float
    ventricular: int
    labelled: int
    vf_best: float
    vf_two: float


class AlarmEvidence:
    """Keep what the features are made of; take everything in order of decision.

    Reason for its size: one method a group of features, all over the same seconds.

    Parameters
    ----------
    leads : int
    """

    def __init__(self, leads: int) -> None:
        self._leads = leads
        self.restart()

    def restart(self) -> None:
        """Forget all: nothing may span a gap in the samples."""
        self._beats: deque[tuple[PatientBeat, int]] = deque(maxlen=48)  # with the RR before it
        self._own: list[deque[LeadsBeat]] = [deque(maxlen=_OWN_KEPT) for _ in range(self._leads)]
        # Of both, those of the last `RECENT`.
        self._recent: list[tuple[PatientBeat, int]] = []
        self._own_recent: list[list[LeadsBeat]] = [[] for _ in range(self._leads)]
        self._hops: deque[_Signal] = deque(maxlen=120)
        self._windows: deque[tuple[int, int, float]] = deque(maxlen=40)
        self._suspect_r = -RECENT  # of the last beat that may be ventricular

    def take_hop(self, hop: Hop) -> None:
        """Take a half second and the beats of every lead in it."""
        extents = hop.extents
        spans = tuple([e.high - e.low for e in extents])
        self._hops.append(_Signal(hop, spans, tuple([e.steepest_step for e in extents])))
        for lead, beat in hop.beats:
            shown = _as_lead_shows(beat)
            self._own[lead].append(shown)
            self._own_recent[lead].append(shown)
            del self._own_recent[lead][:-_OWN_KEPT]
        self._forget(hop.stop - RECENT)

    def take_window(self, decided: int, lead: int, probability: float) -> None:
        """Take the probability of fibrillation in a window of any lead, by column."""
        self._windows.append((decided, lead, probability))

    def take_beat(self, beat: PatientBeat) -> None:
        """Take a beat of the patient."""
        rr = beat.r_index - self._beats[-1][0].r_index if self._beats else 0
        self._beats.append(pair := (beat, rr if 0 < rr < _LONGEST_RR else 0))
        self._recent.append(pair)
        if beat.is_labelled or beat.ventricular >= 0.25:
            self._suspect_r = beat.r_index

    def glance(self, at: int) -> Glance:
        """Return what is cheap to know at an analysis index."""
        best, two = 0.0, 0.0
        if self._windows and self._windows[-1][0] > at - _WINDOWS_OVER:
            by_lead = self._probabilities(at)
            best, two = max(p[0] for p in by_lead), max(p[1] for p in by_lead)
        if self._suspect_r <= at - RECENT:
            return Glance(0.0, 0.0, 0, 0, best, two)
        self._forget(at - RECENT)
        v = [b.ventricular for b, _ in self._recent]
        labelled = _longest([b.is_labelled for b, _ in self._recent])
        ventricular = _above_half(v)
        if labelled >= 2 or ventricular >= 2 or max(v) < 0.25:
            return Glance(0.0, 0.0, ventricular, labelled, best, two)
        return Glance(_best(v, 3)[0], _best(v, 5)[0], ventricular, labelled, best, two)

    def _forget(self, since: int) -> None:
        """Drop the beats up to an index from the recent ones."""
        recent = self._recent
        while recent and recent[0][0].r_index <= since:
            del recent[0]
        for own in self._own_recent:
            while own and own[0].r_index <= since:
                del own[0]

    def unasked(self) -> list[LeadsBeat]:
        """Return the beats of single leads that the beat classifier has not been asked about."""
        unasked: list[LeadsBeat] = []
        for own in self._own:
            new = list(takewhile(_is_unasked, reversed(own)))
            unasked += reversed(new)
        return unasked

    def longest_run(self, at: int) -> int:
        """Return the longest run of ventricular beats, one other among them, of patient or lead."""
        self._forget(at - RECENT)
        of_all = [[b.ventricular > 0.5 for b, _ in self._recent]]
        of_all += [[b.ventricular > 0.5 for b in own] for own in self._own_recent]
        longest = 0
        for is_v in of_all:
            if is_v.count(True) > longest:  # among fewer beats no run can be longer
                longest = max(longest, _longest_but_one(is_v))
        return longest

    def features(self, at: int) -> list[float]:
        """Return the features, in the order of `FEATURES`, at the end of the newest half second."""
        values: dict[str, float] = {}
        recent = self._recent_hops(at)
        self._forget(at - RECENT)
        self._of_beats(values)
        self._of_leads(at, [signal.hop for signal in recent], values)
        self._of_signal(recent, values)
        self._of_windows(at, values)
        return [float(values[name]) for name in FEATURES]

    # -- the patient's beats -------------------------------------------------------------------

    def _of_beats(self, values: dict[str, float]) -> None:
        recent = self._recent
        before = list(islice(self._beats, len(self._beats) - len(recent)))
        v = [b.ventricular for b, _ in recent]
        is_v = [p > 0.5 for p in v]
        values["v_mean3"], _ = _best(v, 3)
        values["v_mean5"], first = _best(v, 5)
        values["v_min3"] = max(map(min, v, v[1:], v[2:]), default=0.0)
        values["v_min5"] = max(map(min, v, v[1:], v[2:], v[3:], v[4:]), default=0.0)
        trusted = [b.trusted for b, _ in recent[first : first + 5]]
        fast = [b.ventricular for b, rr in recent if 0 < rr < _FAST]
        usual = [rr for _, rr in before if rr]
        values |= {
            "v_trust5": sum(trusted) / max(len(trusted), 1),
            "v_fastsum": sum(fast),
            "v_run": _longest(is_v),
            "v_run1": _longest_but_one(is_v),
            "core5": _lowest([b.core_likeness for b, _ in recent], 5),
            "v_lmax5": _best([b.highest for b, _ in recent], 5)[0],
            "v_lmin5": _best([b.lowest for b, _ in recent], 5)[0],
            "v_base": _mean([b.ventricular for b, _ in before], 0.0),
            "core_base": _mean([b.core_likeness for b, _ in before], 1.0),
            "v_now3": sum([b.ventricular for b, _ in list(self._beats)[-3:]]) / 3,
            "pn_mean": _mean([b.n_or_s for b, _ in recent], 0.0),
            "trust8": _mean([float(b.trusted) for b, _ in recent], 0.5),
            "usual_bpm": _BPM / (median(usual) if usual else 0.8 * ANALYSIS_RATE_HZ),
        }

    # -- the beats of each lead ----------------------------------------------------------------

    def _of_leads(self, at: int, recent: list[Hop], values: dict[str, float]) -> None:
        rows = [
            _of_lead(own, self._own_recent[lead], at) | _rails([h.extents[lead] for h in recent])
            for lead, own in enumerate(self._own)
        ]
        for name in _OVER_LEADS:
            of_all = [row[name] for row in rows]
            values[f"l_{name}_min"], values[f"l_{name}_max"] = min(of_all), max(of_all)
        for name in ("plain", "alike"):
            of_all = [row[name] for row in rows]
            values[f"{name}_min"], values[f"{name}_max"] = min(of_all), max(of_all)
        values["max_fast8"] = max(row["fast8"] for row in rows)
        values["match_max"] = max(self._matches(), default=1.0)
        self._of_the_clearest(recent, rows, values)

    def _of_the_clearest(
        self, recent: list[Hop], rows: list[dict[str, float]], values: dict[str, float]
    ) -> None:
        """Describe the lead whose beats are the most ventricular, and the others beside it."""
        best = max(range(self._leads), key=lambda lead: (rows[lead]["v4"], -lead))
        quality = [_mean([h.values[lead] for h in recent], 0.0) for lead in range(self._leads)]
        values["at_q"] = quality[best]
        values["at_noisy"] = _mean([float(h.states[best] is LeadState.NOISY) for h in recent], 0.0)
        for name in ("rate4", "core4", "str4", "wid4", "rail", "oldplain", "base", "nfast"):
            values[f"at_{name}"] = rows[best][name]
        others = [lead for lead in range(self._leads) if lead != best] or [best]
        values["ot_v4"] = max(rows[lead]["v4"] for lead in others)
        values["ot_c5"] = min(rows[lead]["c5"] for lead in others)
        values["ot_plain"] = max(rows[lead]["plain"] for lead in others)
        values["ot_nfast"] = max(rows[lead]["nfast"] for lead in others)
        values["ot_q"] = max(quality[lead] for lead in others)

    def _matches(self) -> list[float]:
        """Return for each pair of leads the share of beats of one that the other shows."""
        if self._leads < 2:
            return []
        shares = []
        peaks = [sorted(b.r_index for b in own) for own in self._own]
        for lead, own in enumerate(self._own_recent):
            mine = [b.r_index for b in own]
            for other, theirs in enumerate(peaks):
                if other != lead:
                    shown = sum(_is_near(m, theirs) for m in mine)
                    shares.append(shown / len(mine) if mine else 0.0)
        return shares

    # -- the signal and the waveform -----------------------------------------------------------

    def _recent_hops(self, at: int) -> list[_Signal]:
        newest = islice(reversed(self._hops), RECENT // HOP + 1)
        return [signal for signal in newest if signal.hop.stop > at - RECENT][::-1]

    def _of_signal(self, recent: list[_Signal], values: dict[str, float]) -> None:
        kept = len(self._hops) - len(recent)
        old = list(islice(self._hops, kept)) if kept else recent
        per: dict[str, list[float]] = {}
        for lead in range(self._leads):
            extents = [signal.hop.extents[lead] for signal in recent]
            spans = sorted([signal.spans[lead] for signal in old])
            steeps = sorted([signal.steepest[lead] for signal in old])
            usual = min(len(spans) - 1, 3 * len(spans) // 4)
            span, steep = max(spans[usual], 0.02), max(steeps[usual], 0.002)
            widest = max([signal.spans[lead] for signal in recent])
            steepest = [e.steepest_step for e in extents]
            height = max([e.high for e in extents]) - min([e.low for e in extents])
            hops = [signal.hop for signal in recent]
            noisy = [h.states[lead] for h in hops].count(LeadState.NOISY)
            row = {
                "q": sum([h.values[lead] for h in hops]) / len(hops),
                "noisy": noisy / len(hops),
                "drift": min(height / max(widest, 1e-3), 20.0),
                "big_rel": min(widest / span, 20.0),
                "steepmax_rel": min(max(steepest) / steep, 20.0),
                "unrest": sum([e.usual_step for e in extents]) / max(sum(steepest), 1e-9),
            }
            for name, value in row.items():
                per.setdefault(name, []).append(value)
        for name, of_all in per.items():
            values[f"s_{name}_min"], values[f"s_{name}_max"] = min(of_all), max(of_all)

    def _probabilities(self, at: int) -> list[list[float]]:
        """Return by lead the probabilities of its windows, the greatest first, then zeros."""
        recent = [w for w in self._windows if w[0] > at - _WINDOWS_OVER]
        return [
            sorted((p for _, of, p in recent if of == lead), reverse=True) + [0.0] * 4
            for lead in range(self._leads)
        ]

    def _of_windows(self, at: int, values: dict[str, float]) -> None:
        by_lead = self._probabilities(at)
        values["vf_best"] = max(p[0] for p in by_lead)
        values["vf_best_min"] = min(p[0] for p in by_lead)
        values["vf_two"] = max(p[1] for p in by_lead)
        values["vf_two_min"] = min(p[1] for p in by_lead)
        values["vf_four"] = max(sum(p[:4]) / 4 for p in by_lead)
        values["vf_used"] = sum(by_lead[self._hops[-1].hop.used][:4]) / 4


_OVER_LEADS = (
    "v3", "v4", "v5", "min3", "min4", "run", "run1", "n50", "fastsum", "c5", "lk5", "base", "nfast",
    "rail", "railhops",
)  # fmt: skip


def _is_near(at: int, ordered: list[int]) -> bool:
    """Return whether a beat is within `_TOGETHER` of an instant."""
    first = bisect_left(ordered, at - _TOGETHER)
    return first < len(ordered) and ordered[first] <= at + _TOGETHER


def _rails(extents: list[Extent]) -> dict[str, float]:
    """Return how much of a lead is at its highest or lowest value of these seconds."""
    high, low = max([e.high for e in extents]), min([e.low for e in extents])
    near = 0.03 * max(high - low, 0.05)
    clipped = [e.clipped for e in extents if e.high > high - near or e.low < low + near]
    return {
        "rail": sum(clipped) / len(extents),
        "railhops": float(sum(share > 0.1 for share in clipped)),
    }


def _of_lead(beats: deque[LeadsBeat], own: list[LeadsBeat], at: int) -> dict[str, float]:
    """Describe the beats of one lead, given those kept and those of them that are recent."""
    old = list(islice(beats, len(beats) - len(own)))
    v = [b.ventricular for b in own]
    is_v = [p > 0.5 for p in v]
    (v3, _), (v4, first), (v5, _) = _best(v, 3), _best(v, 4), _best(v, 5)
    four = own[first : first + 4]
    span = four[-1].r_index - four[0].r_index if len(four) > 1 else 0
    r_index = [b.r_index for b in own]
    fast = [
        p for a, b, p in zip(r_index, r_index[1:], v[1:], strict=False) if b - a < _FAST_IN_LEAD
    ]
    core, likeness = [b.core_likeness for b in own], [b.beat.likeness for b in own]
    return {
        "v3": v3,
        "v4": v4,
        "v5": v5,
        "rate4": _BPM * (len(four) - 1) / span if span else 0.0,
        "core4": _mean(core[first : first + 4], 1.0),
        "str4": min(_mean([b.beat.strength for b in four], 1.0), 5.0),
        "wid4": _mean([b.foot_width_s for b in four], 0.06),
        "min3": max(map(min, v, v[1:], v[2:]), default=0.0),
        "min4": max(map(min, v, v[1:], v[2:], v[3:]), default=0.0),
        "fastsum": sum(fast),
        "nfast": float(len(fast)),
        "n50": float(sum(is_v)),
        "run": _longest(is_v),
        "run1": _longest_but_one(is_v),
        "c5": _lowest(core, 5),
        "lk5": _lowest(likeness, 5),
        "base": _mean([b.ventricular for b in old], 0.0),
        "oldplain": _mean([b.beat.likeness >= 0.8 for b in old], 0.0),
        "plain": _mean([b.is_plain for b in own], 0.0),
        "alike": _mean(likeness, 0.0),
        "fast8": _fastest([b.r_index for b in beats if b.r_index > at - _LONG], 8, at),
    }


def _fastest(r: Sequence[int], beats: int, at: int) -> float:
    """Return the highest rate of so many beats in a row that end lately."""
    spans = [
        r[i + beats - 1] - r[i]
        for i in range(len(r) - beats + 1)
        if r[i + beats - 1] > at - _LATELY
    ]
    return _BPM * (beats - 1) / min(spans) if spans else 0.0


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _above_half(probabilities: Sequence[float]) -> int:
    return [p > 0.5 for p in probabilities].count(True)


def _sums(values: Sequence[float], k: int) -> list[float]:
    """Return the sums of k values in a row, each added up from the first on."""
    sums = list(values)
    for i in range(1, k):
        sums = list(map(add, sums, values[i:]))
    return sums


def _best(values: Sequence[float], k: int) -> tuple[float, int]:
    """Return the greatest mean of k values in a row and where it begins; too few count as 0."""
    if len(values) < k:
        return sum(values) / k, 0
    sums = _sums(values, k)
    best = max(sums)
    return best / k, sums.index(best)


def _lowest(values: Sequence[float], k: int) -> float:
    """Return the smallest mean of k values in a row; too few are filled up with 1."""
    n = len(values)
    if n < k:
        return (sum(values) + (k - n)) / k
    return min(_sums(values, k)) / k


def _longest(flags: Sequence[bool]) -> int:
    """Return the longest sequence of True."""
    run = best = 0
    for flag in flags:
        if not flag:
            run = 0
            continue
        run += 1
        if run > best:  # noqa: PLR1730 - a call of max costs more than the loop
            best = run
    return best


def _longest_but_one(flags: Sequence[bool]) -> int:
    """Return the longest sequence of True with one other between them, not counted."""
    run = best = 0
    skipped = False
    for flag in flags:
        if flag:
            run += 1
            if run > best:  # noqa: PLR1730
                best = run
        elif run and not skipped:
            skipped = True
        else:
            run, skipped = 0, False
    return best
