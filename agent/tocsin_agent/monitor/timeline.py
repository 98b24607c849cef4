"""What the monitor decides, in the order of decision; every item has `.decided`.

Indices are analysis samples (`tocsin_dsp.conditioning.resample.ANALYSIS_RATE_HZ`). `decided` is the
index after the last sample that the item rests on.
"""

from __future__ import annotations

import math
from typing import NamedTuple, TypeAlias

from tocsin_dsp.beats.delineation import NOT_DELINEATED, Delineated
from tocsin_dsp.beats.waves import Waves
from tocsin_dsp.conditioning.quality import Hop


class Scores(NamedTuple):
    """What the beat model says of a beat before any rule corrects it; 0 where it was not asked.

    `ventricular` is the probability of V over all leads that show the beat, `lowest` and `highest`
    that of single leads, `n_or_s` that of N and S together in the lead in use.
    """

    ventricular: float = 0.0
    lowest: float = 0.0
    highest: float = 0.0
    n_or_s: float = 0.0


NO_SCORES = Scores()


class Beat(NamedTuple):
    """A labelled beat.

    `label` is an AAMI class and `probability` its own. `trusted` is False where the beat may be
    noise (`tocsin_dsp.leads.trust`). `likeness` is the similarity of the QRS to the patient's usual
    one (1 the same), of S and V only. `held` is True where the beat is V because it continues a
    tachycardia (`tocsin_agent.monitor.labels.tachycardia`). `n_or_s` is the probability of N and S
    together. `core_likeness` is the similarity of any beat's QRS, `scores` what the model said.
    """

    r_index: int
    decided: int
    label: str
    probability: float
    lead: str
    delineated: Delineated = NOT_DELINEATED
    trusted: bool = True
    likeness: float = math.nan
    held: bool = False
    n_or_s: float = math.nan
    core_likeness: float = 1.0
    scores: Scores = NO_SCORES

    @property
    def waves(self) -> Waves:
        """The waves of the beat; reading them may delineate it."""
        return self.delineated.waves


class Waveform(NamedTuple):
    """The probability of ventricular fibrillation in the four seconds before `decided`.

    `column` is that of the lead; `used` is True where it is the one in use.
    """

    decided: int
    lead: str
    probability: float
    level_mv: float
    used: bool = True
    column: int = 0


class Irregularity(NamedTuple):
    """The probability of atrial fibrillation in the half minute before `decided`.

    `share_with_p` is the share of beats with a P wave, `difference` by how much an RR interval
    usually differs from the one before it, relative to their mean.
    """

    decided: int
    probability: float
    share_with_p: float
    difference: float


class Failure(NamedTuple):
    """A model failed on what was decided at `decided`.

    `name` is its task, `failed` its id; `instead` is the id of the model that answers from this
    item on, None where there is none.
    """

    decided: int
    name: str
    failed: str
    instead: str | None
    reason: str


Item: TypeAlias = Beat | Hop | Waveform | Irregularity | Failure
