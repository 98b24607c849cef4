"""From detected beats and windows to labelled beats and probabilities, in order of decision."""

from __future__ import annotations

from collections.abc import Sequence

from tocsin_agent.monitor.labels.classifiers import NO_ANSWER, Classifiers
from tocsin_agent.monitor.labels.corrections import ALL_RULES, Corrections, LabelRules
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_agent.monitor.timeline import Beat, Irregularity, Item
from tocsin_dsp.conditioning.quality import Hop
from tocsin_dsp.leads.leads import LeadBeat
from tocsin_dsp.rhythms.fibrillation import TimedItem, Window
from tocsin_dsp.rhythms.irregularity import IrregularWindow
from tocsin_models import Models


class Labeller:
    """Ask the models about all items of a kind at once, and merge the answers in order.

    A beat that is unreadable or has no model is Q. A window without a model is left out.

    Parameters
    ----------
    leads : tuple of str
    models : Models
    limits : Limits, optional
    rules : LabelRules, optional
        The rules between the models and the labels.
    """

    def __init__(
        self,
        leads: tuple[str, ...],
        models: Models,
        limits: Limits | None = None,
        rules: LabelRules = ALL_RULES,
    ) -> None:
        self._classifiers = Classifiers(models)
        self._corrections = Corrections(leads, limits or Limits(), rules)

    def use(self, models: Models) -> None:
        """Ask these models from now on."""
        self._classifiers.use(models)

    @property
    def model_ids(self) -> dict[str, str | None]:
        """`name@hash` of the models in use, by task; None where there is none."""
        return self._classifiers.model_ids

    def push(self, observed: Sequence[TimedItem]) -> list[Item]:
        """Label beats and windows; a failure of a model stands before the item where it failed."""
        if not observed:
            return []
        beats = [o for o in observed if isinstance(o, LeadBeat) and o.view.readable]
        answers = iter(self._classifiers.beats(beats))
        windows = [o for o in observed if isinstance(o, Window)]
        shapes = iter(self._classifiers.windows(windows))
        corrections, items = self._corrections, list[Item]()
        for item in observed:
            if isinstance(item, Hop):
                items.append(corrections.take_hop(item))
            elif isinstance(item, Window):
                probability, failures = next(shapes)
                items += failures
                if probability is not None:
                    items.append(corrections.waveform(item, probability))
            elif item.view.readable:
                answer, failures = next(answers)
                items += failures
                items.append(corrections.beat(item, answer or NO_ANSWER))
            else:
                items.append(corrections.beat(item, NO_ANSWER))
        return items

    def in_rhythm(self, timeline: Sequence[Item | IrregularWindow]) -> list[Item]:
        """Ask about the half minutes, and correct the labels by the rhythm known by then."""
        windows = [o for o in timeline if isinstance(o, IrregularWindow)]
        replies = iter(self._classifiers.half_minutes(windows))
        items: list[Item] = []
        for item in timeline:
            if isinstance(item, IrregularWindow):
                probability, failures = next(replies)
                items += failures
                if probability is not None:
                    measured = (item.share_with_p, item.difference)
                    half_minute = Irregularity(item.decided, probability, *measured)
                    self._corrections.take_half_minute(half_minute)
                    items.append(half_minute)
            elif isinstance(item, Beat):
                items.append(self._corrections.in_rhythm(item))
            else:
                items.append(item)
        return items
