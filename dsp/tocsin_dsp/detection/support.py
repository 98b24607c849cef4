"""Template support: what decides on beats while amplitude cannot be trusted.

In a clean lead a QRS is what stands out, and the detector needs no help. Electrode motion is as
tall and as steep as a QRS; but it seldom has the shape of this patient's QRS, nor comes when a beat
is due. So beats are remembered while the lead is clean. When the level between the beats rises (the
lead is restless), candidates are weighed by the shapes remembered (`tocsin_dsp.detection.shapes`); and once
several that stand out are improbable beats (there is doubt), beats are told by weight and rhythm
together (`tocsin_dsp.detection.path`), until the lead is quiet or all that stands out is a beat again. A
tachycardia is restless too, but its beats are like each other: there is no doubt. And where no
beat can be told for three seconds level decides again: noise that hides the heart is no asystole.

Latency: none where the lead is quiet, `path.LAG` after R in doubt.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.detection.path import Path
from tocsin_dsp.detection.shapes import Candidate, Remembered, Shapes, Weighed
from tocsin_dsp.signal import FloatArray, middle

FOREVER = 1 << 62


@dataclass(frozen=True, slots=True)
class SupportDesign:
    """Constants, chosen as the weights of `tocsin_dsp.detection.shapes` were."""

    over: int = 4  # half seconds over which unrest is taken
    memory: int = 48  # so many beats are remembered
    revise: int = 8  # after so many more the usual level and the limit are taken anew
    restless: float = 0.14  # unrest: level between the beats over the beats',
    restless_ratio: float = 2.0  # and so many times what is usual in this lead
    quiet: float = 0.75  # share of that limit below which the lead is quiet again
    tall: float = 0.3  # a candidate above this share of the usual level stands out
    doubted: float = 1.5  # log odds below which it is an improbable beat
    another: float = 8.0  # a beat so many times the usual level: what was remembered were none
    of: int = 8  # of the last so many that stood out
    doubt: int = 2  # so many improbable ones raise doubt
    sure: int = 0  # and so many end it
    silent: int = 3 * ANALYSIS_RATE_HZ  # without a beat for so long, level decides again


class Support:
    """Remember the clean beats of a lead, notice noise, and decide on beats in it.

    Parameters
    ----------
    design : SupportDesign, optional
    """

    def __init__(self, design: SupportDesign | None = None) -> None:
        self.design = design or SupportDesign()
        self._memory: deque[Remembered] = deque(maxlen=self.design.memory)
        self._calm: deque[float] = deque(maxlen=self.design.memory)  # the unrest then
        self._since_revision = 0
        self._usual = 0.0  # level of the beats remembered
        self._limit = self.design.restless
        self.skip()

    def skip(self) -> None:
        """Go on after a gap; what is remembered is kept."""
        self._before = deque([0.0] * self.design.over, maxlen=self.design.over)
        self._heard: deque[tuple[int, float]] = deque()  # (known at, level between the beats)
        self._level = 0.0  # between the beats, over the last two seconds
        self._shapes: Shapes | None = None
        self._path: Path | None = None
        self._recent: deque[Weighed] = deque(maxlen=16)
        self._doubts: deque[bool] = deque(maxlen=self.design.of)

    @property
    def listens(self) -> bool:
        """True while candidates are to be weighed."""
        return self._shapes is not None

    @property
    def decides(self) -> bool:
        """True while beats are told from here."""
        return self._path is not None

    def hear(self, levels: list[tuple[int, float]]) -> None:
        """Take the level between the beats in the next half seconds, and when each is known."""
        for known, level in levels:
            self._before.append(level)
            self._heard.append((known, sum(self._before) / len(self._before)))

    def remember(self, level: float, rr: int | None, window: FloatArray) -> bool:
        """Take a beat that the lead's level alone told; `window` as in `Remembered`.

        Return whether another level between the beats is restless from now on.
        """
        design = self.design
        if self._usual and level > design.another * self._usual:
            self._memory.clear()  # a QRS came back: P waves were taken for beats meanwhile
            self._calm.clear()
            self._usual, self._since_revision, self._shapes = 0.0, 0, None
        if self._shapes and any(self._doubts):
            return False
        self._memory.append(Remembered(window.copy(), level, rr))
        self._calm.append(self._unrest)
        self._since_revision += 1
        if self._since_revision < design.revise:
            return self._usual == 0.0
        self._since_revision = 0
        self._usual = middle([beat.level for beat in self._memory])
        self._limit = max(design.restless, design.restless_ratio * middle(self._calm))
        return True

    @property
    def next_hop(self) -> int | None:
        """When the next half second that was heard is to be judged."""
        return self._heard[0][0] if self._heard else None

    @property
    def _unrest(self) -> float:
        return self._level / self._usual if self._usual else 0.0

    @property
    def quiet_until(self) -> int:
        """Until when nothing that was heard changes anything."""
        most = -1.0 if self.listens else self._limit * self._usual
        return next((known - 1 for known, level in self._heard if level > most), FOREVER)

    def skip_quiet(self, now: int) -> None:
        """Take the half seconds up to `now`, none later than `quiet_until`."""
        while self._heard and self._heard[0][0] <= now:
            self._level = self._heard.popleft()[1]

    def take_hop(self) -> None:
        """Judge it: begin to listen where the lead is restless, end where it is quiet."""
        self._level = self._heard.popleft()[1]
        if self._shapes is None and self._usual and self._unrest > self._limit:
            self._shapes = Shapes(list(self._memory))
            self._recent.clear()
            self._doubts.clear()
        elif self._unrest < self.design.quiet * self._limit:
            self._shapes = None

    def weigh(self, candidate: Candidate, centre: int, lead: FloatArray) -> None:
        """Take a candidate while listening; see `Shapes.weigh`."""
        assert self._shapes is not None  # noqa: S101 - it listens
        seen = self._shapes.weigh(candidate, centre, lead, self._unrest)
        if candidate.dominant and candidate.level > self.design.tall * self._usual:
            self._doubts.append(seen.odds < self.design.doubted)
        self._recent.append(seen)
        if self._path is not None:
            self._path.add(seen)

    @property
    def wants_to_decide(self) -> bool:
        """True while there is doubt whether what stands out is a beat."""
        if self._shapes is None:
            return False
        doubts = sum(self._doubts)
        if self._path is None:
            return doubts >= self.design.doubt
        return doubts > self.design.sure or len(self._doubts) < self.design.of

    def take_over(self, r_index: int, peak: int) -> None:
        """Decide from now on; the last beat told has this R peak and this envelope peak."""
        rr = [beat.rr for beat in self._memory if beat.rr is not None]
        self._path = Path(Weighed(r_index, peak, 0.0, 1.0, 0.0), rr)
        for seen in self._recent:
            if seen.peak > peak:
                self._path.add(seen)

    @property
    def due(self) -> int | None:
        """When the next beat is to be told, if it decides and one is in sight."""
        return None if self._path is None else self._path.due

    @property
    def silent_at(self) -> int:
        """When it has nothing to say, if it decides and no beat is in sight by then."""
        assert self._path is not None  # noqa: S101 - it decides
        return self._path.last.r_index + self.design.silent

    def tell(self) -> Weighed:
        """Take the next beat for certain."""
        assert self._path is not None  # noqa: S101 - it decides
        return self._path.tell()

    def hand_back(self) -> Weighed:
        """Decide no longer; gives the last beat told."""
        assert self._path is not None  # noqa: S101 - it decides
        last, self._path = self._path.last, None
        self._doubts.clear()
        return last
