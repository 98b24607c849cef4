"""Where the descriptions of half minutes stand in the timeline: after every fifth second."""

from __future__ import annotations

from collections.abc import Iterable

from tocsin_agent.monitor.timeline import Beat, Item
from tocsin_dsp.conditioning.quality import Hop
from tocsin_dsp.rhythms.irregularity import EVERY, IrregularityObserver, IrregularWindow


def with_half_minutes(
    observer: IrregularityObserver, items: Iterable[Item]
) -> list[Item | IrregularWindow]:
    """Let an observer take the beats; return the items and what it describes, in order.

    A rhythm that is regular or shows its P waves is not described.
    """
    timeline: list[Item | IrregularWindow] = []
    for item in items:
        timeline.append(item)
        if isinstance(item, Beat):
            observer.take(item.r_index, item.label, item.delineated, trusted=item.trusted)
        elif isinstance(item, Hop) and item.stop % EVERY == 0:
            window = observer.describe(item.stop)
            if window is not None:
                timeline.append(window)
    return timeline
