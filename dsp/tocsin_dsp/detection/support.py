"""Template support: decides on beats while amplitude alone is not reliable.

In a clean lead a QRS is what stands out, and level alone decides. Electrode motion is as tall and
as steep as a QRS, but it seldom has the shape of this patient's QRS and seldom comes when a beat is
due. So beats are remembered while the lead is clean. When the level between the beats rises (the
lead is noisy), candidates are weighed by the remembered shapes (`tocsin_dsp.detection.shapes`).
Once several candidates that stand out are improbable beats, shape and rhythm together decide
(`tocsin_dsp.detection.path`), until the lead is quiet or all that stands out is probable again. A
tachycardia raises the level between the beats too, but its beats resemble each other and stay
probable. Where no beat is found for three seconds, level decides again: noise that hides the heart
must not look like asystole.

Latency: none where the lead is quiet, `path.LAG` after R while the support decides.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from tocsin_dsp.arrays import median
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.detection.path import Path
from tocsin_dsp.detection.shapes import Candidate, Remembered, Shapes, Weighed
from tocsin_dsp.signal import FloatArray

FOREVER = 1 << 62


@dataclass(frozen=True, slots=True)
class SupportDesign:
    """Constants, chosen on the records on which the weights of `shapes` were fitted.

    *Noise* is the level between the beats over the typical level of the beats.
    """

    over: int = 4  # half seconds over which the level between the beats is averaged
    memory: int = 48  # beats remembered
    revise: int = 8  # beats after which the typical level and the limit are computed again
    noisy: float = 0.14  # noise above which a lead is noisy, at least
    noisy_ratio: float = 2.0  # noise over the lead's own when clean above which it is noisy
    quiet: float = 0.75  # share of the limit below which the lead is quiet again
    tall: float = 0.3  # share of the typical level above which a candidate stands out
    improbable: float = 1.5  # log odds below which such a candidate is improbable
    new_level: float = 8.0  # times the typical level: the remembered beats were P waves
    judged: int = 8  # last candidates that stood out among which improbable ones are counted
    take_over: int = 2  # so many improbable ones: the support decides
    hand_back: int = 0  # no more than so many: level decides
    silent: int = 3 * ANALYSIS_RATE_HZ  # analysis samples without a beat: level decides


class Support:
    """Remember the beats of a clean lead, detect noise, and decide on beats in noise.

    Reason for its size: the three depend on the same noise level and the same memory.

    Parameters
    ----------
    design : SupportDesign, optional
    """

    def __init__(self, design: SupportDesign | None = None) -> None:
        self.design = design or SupportDesign()
        self._memory: deque[Remembered] = deque(maxlen=self.design.memory)
        self._clean_noise: deque[float] = deque(maxlen=self.design.memory)  # when remembered
        self._since_revision = 0
        self._typical = 0.0  # mV, level of the remembered beats; 0 before any
        self._limit = self.design.noisy  # noise above which the lead is noisy
        self.skip()

    def skip(self) -> None:
        """Continue after a gap; the remembered beats are kept."""
        self._hop_levels = deque([0.0] * self.design.over, maxlen=self.design.over)
        self._levels: deque[tuple[int, float]] = deque()  # (known at, mean level over two seconds)
        self._level = 0.0  # mV, between the beats, over the last two seconds
        self._shapes: Shapes | None = None
        self._path: Path | None = None
        self._recent: deque[Weighed] = deque(maxlen=16)
        self._improbable: deque[bool] = deque(maxlen=self.design.judged)

    @property
    def weighs(self) -> bool:
        """True while candidates must be weighed, because the lead is noisy."""
        return self._shapes is not None

    @property
    def decides(self) -> bool:
        """True while the support decides on beats."""
        return self._path is not None

    def add_levels(self, levels: list[tuple[int, float]]) -> None:
        """Queue the next half seconds: when each is known, and its level between the beats."""
        for known, level in levels:
            self._hop_levels.append(level)
            self._levels.append((known, sum(self._hop_levels) / len(self._hop_levels)))

    def remember(self, level: float, rr: int | None, window: FloatArray) -> bool:
        """Remember a beat that was detected by level alone; parameters as in `Remembered`.

        Return whether the limit above which the lead is noisy changed.
        """
        design = self.design
        if self._typical and level > design.new_level * self._typical:
            self._memory.clear()  # the QRS is back: P waves had been detected as beats
            self._clean_noise.clear()
            self._typical, self._since_revision, self._shapes = 0.0, 0, None
        if self._shapes and any(self._improbable):
            return False
        self._memory.append(Remembered(window.copy(), level, rr))
        self._clean_noise.append(self._noise)
        self._since_revision += 1
        if self._since_revision < design.revise:
            return self._typical == 0.0
        self._since_revision = 0
        self._typical = median([beat.level for beat in self._memory])
        self._limit = max(design.noisy, design.noisy_ratio * median(self._clean_noise))
        return True

    @property
    def next_hop(self) -> int | None:
        """Analysis index at which the next queued half second is known."""
        return self._levels[0][0] if self._levels else None

    @property
    def _noise(self) -> float:
        return self._level / self._typical if self._typical else 0.0

    @property
    def quiet_until(self) -> int:
        """Analysis index up to which no queued half second changes the state."""
        most = -1.0 if self.weighs else self._limit * self._typical
        for known, level in self._levels:
            if level > most:
                return known - 1
        return FOREVER

    def skip_quiet(self, now: int) -> None:
        """Drop the half seconds up to `now`, which must not exceed `quiet_until`."""
        while self._levels and self._levels[0][0] <= now:
            self._level = self._levels.popleft()[1]

    def judge_hop(self) -> None:
        """Judge the next half second: begin to weigh in a noisy lead, end in a quiet one."""
        self._level = self._levels.popleft()[1]
        if self._shapes is None and self._typical and self._noise > self._limit:
            self._shapes = Shapes(list(self._memory))
            self._recent.clear()
            self._improbable.clear()
        elif self._noise < self.design.quiet * self._limit:
            self._shapes = None

    def weigh(self, candidate: Candidate, centre: int, lead: FloatArray) -> None:
        """Weigh a candidate in a noisy lead; parameters as in `Shapes.weigh`."""
        assert self._shapes is not None  # noqa: S101 - it weighs
        weighed = self._shapes.weigh(candidate, centre, lead, self._noise)
        if candidate.dominant and candidate.level > self.design.tall * self._typical:
            self._improbable.append(weighed.odds < self.design.improbable)
        self._recent.append(weighed)
        if self._path is not None:
            self._path.add(weighed)

    @property
    def wants_to_decide(self) -> bool:
        """True while enough candidates that stand out are improbable beats."""
        if self._shapes is None:
            return False
        improbable = sum(self._improbable)
        if self._path is None:
            return improbable >= self.design.take_over
        return improbable > self.design.hand_back or len(self._improbable) < self.design.judged

    def take_over(self, r_index: int, peak: int) -> None:
        """Decide from now on; the last detected beat has this R peak and this envelope peak."""
        rr = [beat.rr for beat in self._memory if beat.rr is not None]
        self._path = Path(Weighed(r_index, peak, 0.0, 1.0, 0.0), rr)
        for weighed in self._recent:
            if weighed.peak > peak:
                self._path.add(weighed)

    @property
    def due(self) -> int | None:
        """When the next beat becomes final; None if level decides or there is no such beat."""
        return None if self._path is None else self._path.due

    @property
    def silent_at(self) -> int:
        """When the support must hand back if it has found no beat by then; it must decide."""
        assert self._path is not None  # noqa: S101 - it decides
        return self._path.last.r_index + self.design.silent

    def confirm_next(self) -> Weighed:
        """Make the next beat final and return it."""
        assert self._path is not None  # noqa: S101 - it decides
        return self._path.confirm_next()

    def hand_back(self) -> Weighed:
        """Let level decide again; return the last final beat."""
        assert self._path is not None  # noqa: S101 - it decides
        last, self._path = self._path.last, None
        self._improbable.clear()
        return last
