"""Topics are parsed as they are built, and a name cannot be more than one level."""

from __future__ import annotations

import pytest

from tocsin_agent.messages.alert import Audience, Kind, Priority
from tocsin_agent.messages.topics import (
    Address,
    Branch,
    Topics,
    alert_filters,
    parse,
    presence_topic,
    shared,
    watch_filters,
)


def test_topics_read_what_they_write() -> None:
    topics = Topics("ward3", "bed7")
    team = topics.alert(Audience.TEAM, Kind.PHYSIOLOGICAL, Priority.HIGH)
    technical = topics.alert(Audience.TEAM, Kind.TECHNICAL, Priority.LOW)
    bedside = topics.alert(Audience.BEDSIDE, Kind.TECHNICAL, Priority.LOW)
    assert team == "tocsin/v1/ward3/bed7/alert/high"
    assert parse(team) == Address(Branch.ALERT, "ward3", "bed7", "high")
    assert technical == "tocsin/v1/ward3/bed7/technical/low"
    assert bedside == "tocsin/v1/ward3/bed7/bedside/low"
    assert parse(topics.status) == Address(Branch.STATUS, "ward3", "bed7", "")
    assert parse(presence_topic("ward3", "nurse")) == Address(Branch.PRESENCE, "ward3", "", "nurse")


@pytest.mark.parametrize(
    "topic",
    ["", "tocsin/v1", "tocsin/v1/", "tocsin/v2/a/b/status", "tocsin/v1/a/b/other", "a/b/c/d/e/f/g"],
)
def test_a_topic_outside_the_tree_is_not_parsed(topic: str) -> None:
    assert parse(topic) is None


@pytest.mark.parametrize("name", ["", "a/b", "+", "#", "a+", "x\0", "\n", "$SYS", "x" * 65])
def test_a_name_that_is_not_one_level_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="topic level"):
        Topics(name, "bed7")
    with pytest.raises(ValueError, match="topic level"):
        Topics("ward3", name)
    with pytest.raises(ValueError, match="topic level"):
        presence_topic("ward3", name)


def test_no_device_may_be_called_presence() -> None:
    with pytest.raises(ValueError, match="presence"):
        Topics("ward3", "presence")


def test_a_team_does_not_subscribe_to_the_bedside() -> None:
    assert watch_filters("team", "ward3") == [
        "tocsin/v1/ward3/+/alert/+",
        "tocsin/v1/ward3/+/technical/+",
        "tocsin/v1/ward3/+/status",
        "tocsin/v1/ward3/presence/+",
    ]
    assert "tocsin/v1/+/bed7/bedside/+" in watch_filters("bedside", device="bed7")
    assert len(watch_filters("all")) == 6  # with the further levels of the chain
    with pytest.raises(ValueError, match="topic level"):
        watch_filters("team", "#")


def test_filters_are_shared_by_a_group() -> None:
    filters = alert_filters("all", "ward3")
    assert set(filters) < set(watch_filters("all", "ward3"))
    assert shared(filters, "archive")[0] == "$share/archive/tocsin/v1/ward3/+/alert/+"
    with pytest.raises(ValueError, match="group"):
        shared(filters, "a/b")
