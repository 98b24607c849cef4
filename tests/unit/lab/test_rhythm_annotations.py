from __future__ import annotations

import msgspec

from support.factories import make_alert
from tocsin_agent.lab.annotate import rhythm_from_alerts
from tocsin_agent.messages.alert import Alert, Phase


def episode(code: str, onset: int, end: int | None) -> list[Alert]:
    alerts = [make_alert(onset, code=code)]
    if end is not None:
        ended = make_alert(onset, 2, Phase.END, code=code)
        alerts.append(msgspec.structs.replace(ended, detected_index=end))
    return alerts


def changes(*alerts: Alert) -> list[tuple[int, str]]:
    return [(change.start_index, change.aux) for change in rhythm_from_alerts(alerts)]


def test_without_episodes_the_rhythm_is_normal_throughout() -> None:
    assert changes() == [(0, "(N")]
    assert changes(*episode("couplet", 100, 200)) == [(0, "(N")]


def test_an_episode_begins_at_its_onset_and_ends_at_its_end() -> None:
    assert changes(*episode("ventricular_tachycardia", 1000, 2000)) == [
        (0, "(N"),
        (1000, "(VT"),
        (2000, "(N"),
    ]


def test_an_open_episode_lasts_to_the_end() -> None:
    assert changes(*episode("asystole", 1000, None)) == [(0, "(N"), (1000, "(ASYS")]


def test_the_graver_of_two_is_annotated() -> None:
    alerts = [*episode("bigeminy", 1000, 5000), *episode("ventricular_tachycardia", 2000, 3000)]
    assert changes(*alerts) == [
        (0, "(N"),
        (1000, "(B"),
        (2000, "(VT"),
        (3000, "(B"),
        (5000, "(N"),
    ]


def test_neighbours_of_one_kind_are_one_change() -> None:
    alerts = [*episode("bigeminy", 1000, 2000), *episode("bigeminy", 2000, 3000)]
    assert changes(*alerts) == [(0, "(N"), (1000, "(B"), (3000, "(N")]
