"""What committer and publisher may rely on, in every alert store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from support.factories import NOON, make_alert, make_episode
from tocsin_agent.delivery.answer_store import Kept
from tocsin_agent.delivery.escalation import Escalation
from tocsin_agent.delivery.memory import MemoryStore
from tocsin_agent.delivery.outbox import Outbox
from tocsin_agent.delivery.store import PRESSURE_CODE, AlertQueue, AlertStore
from tocsin_agent.errors import DeliveryError, DeliveryFault
from tocsin_agent.messages.alert import Alert, Audience, Kind, Phase, Priority, decode_alert

Store = Outbox | MemoryStore
Opener = Callable[..., Store]

HIGH = [make_alert(n) for n in range(10, 20)]
MEDIUM = make_alert(2, priority=Priority.MEDIUM)
LOW = make_alert(1, priority=Priority.LOW)


@pytest.fixture(params=["disk", "memory"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Give what opens a new store; it takes the limits `max_pending` and `max_held`."""
    with ExitStack() as stack:

        def open_one(max_pending: int = 100, max_held: int = 100) -> Store:
            store: Store
            if request.param == "disk":
                store = Outbox(tmp_path / "o.db", max_pending=max_pending, max_held=max_held)
            else:
                store = MemoryStore(max_pending, max_held=max_held)
            stack.callback(store.close)
            return store

        yield open_one


def keys(store: AlertQueue, limit: int = 1000) -> list[tuple[str, int]]:
    return [row.key for row in store.waiting(limit)]


def keys_of(*alerts: Alert) -> list[tuple[str, int]]:
    return [alert.key for alert in alerts]


def deliver(store: AlertQueue, alerts: Sequence[Alert], audience: Audience = Audience.TEAM) -> None:
    store.mark_delivered([(alert.key, audience) for alert in alerts])


def open_episodes(store: AlertStore) -> list[Alert]:
    return store.open_documents()


# -- append -----------------------------------------------------------------------------------


def test_nothing_appended_is_nothing_new(open_store: Opener) -> None:
    store = open_store()
    assert store.append([]) == 0
    assert store.pending() == 0


def test_a_key_is_stored_once(open_store: Opener) -> None:
    store = open_store()
    assert store.append([HIGH[0], HIGH[0], HIGH[1]]) == 2
    assert store.append([HIGH[0], HIGH[2]]) == 1
    assert store.pending() == 3
    assert keys(store) == keys_of(*HIGH[:3])


def test_the_first_document_of_a_key_stays(open_store: Opener) -> None:
    store = open_store()
    store.append([make_alert(text="first")])
    assert store.append([make_alert(text="second")]) == 0
    (row,) = store.waiting(9)
    assert decode_alert(row.document).text == "first"


def test_a_delivered_key_stays_known(open_store: Opener) -> None:
    store = open_store()
    store.append([HIGH[0]])
    deliver(store, [HIGH[0]])
    assert store.pending() == 0
    assert store.append([HIGH[0]]) == 0
    assert store.waiting(9) == []


# -- order ------------------------------------------------------------------------------------


def test_the_gravest_comes_first_then_the_oldest(open_store: Opener) -> None:
    store = open_store()
    store.append([LOW, MEDIUM, HIGH[0]])
    store.append([HIGH[1]])
    rows = store.waiting(9)
    assert [row.key for row in rows] == keys_of(HIGH[0], HIGH[1], MEDIUM, LOW)
    assert [row.priority.rank for row in rows] == [0, 0, 1, 2]
    assert decode_alert(rows[0].document) == HIGH[0]
    assert (rows[0].kind, rows[0].handover) == (Kind.PHYSIOLOGICAL, False)


def test_what_is_on_its_way_is_left_out_and_the_limit_is_kept(open_store: Opener) -> None:
    store = open_store()
    store.append([LOW, MEDIUM, *HIGH[:2]])
    rows = store.waiting(2, exclude={HIGH[0].key})
    assert [row.key for row in rows] == keys_of(HIGH[1], MEDIUM)


# -- hold -------------------------------------------------------------------------------------


def test_what_is_held_is_sent_beside_what_is_stored(open_store: Opener) -> None:
    store = open_store()
    store.append([MEDIUM])
    assert store.hold([LOW, HIGH[0]]) == []
    assert store.held() == [LOW, HIGH[0]]
    assert store.unsent() == {LOW.key, HIGH[0].key}
    assert store.pending() == 3
    assert keys(store) == keys_of(HIGH[0], MEDIUM, LOW)


def test_an_alert_is_held_once(open_store: Opener) -> None:
    store = open_store()
    store.hold([HIGH[0]])
    store.hold([HIGH[0], HIGH[1]])
    assert store.held() == HIGH[:2]


def test_what_was_sent_from_memory_is_not_sent_again_from_the_store(open_store: Opener) -> None:
    store = open_store()
    store.hold(HIGH[:2])
    deliver(store, HIGH[:1])
    assert store.unsent() == {HIGH[1].key}
    assert store.held() == HIGH[:2], "it is not stored yet"
    assert keys(store) == keys_of(HIGH[1])
    store.hold(HIGH[:2])
    assert store.unsent() == {HIGH[1].key}
    store.append(HIGH[:2])
    assert store.held() == []
    assert keys(store) == keys_of(HIGH[1])
    assert store.append(HIGH[:2]) == 0


def test_memory_gives_up_the_oldest_of_the_lowest_priority(open_store: Opener) -> None:
    store = open_store(max_held=3)
    newer = make_alert(3, priority=Priority.LOW)
    assert store.hold([LOW, HIGH[0], newer]) == []
    assert store.hold([HIGH[1]]) == [LOW]
    assert store.hold([HIGH[2], HIGH[3]]) == [HIGH[0], newer]
    assert store.held() == HIGH[1:4]


# -- limits and pressure ----------------------------------------------------------------------


def test_a_full_store_removes_low_updates_first(open_store: Opener) -> None:
    updates = [make_alert(1, n, Phase.UPDATE, priority=Priority.LOW) for n in (2, 3)]
    store = open_store(max_pending=5)
    store.append([LOW, *updates, MEDIUM])
    store.append(HIGH[:2])
    assert keys(store) == keys_of(*HIGH[:2], MEDIUM, LOW, updates[1])
    assert store.dropped() == 1
    store.append(HIGH[2:5])
    assert keys(store) == keys_of(*HIGH[:5])
    assert store.dropped() == 4


def test_high_priorities_are_never_removed(open_store: Opener) -> None:
    store = open_store(max_pending=3)
    store.append(HIGH[:3])
    with pytest.raises(DeliveryError) as caught:
        store.append([HIGH[3], MEDIUM])
    assert caught.value.reason is DeliveryFault.OUTBOX_FULL
    assert keys(store) == keys_of(*HIGH[:3]), "nothing of it was stored"
    deliver(store, HIGH[:1])
    assert store.append([HIGH[3]]) == 1


def test_the_notice_of_pressure_is_never_removed(open_store: Opener) -> None:
    notice = make_alert(9, code=PRESSURE_CODE, kind=Kind.TECHNICAL, priority=Priority.LOW)
    store = open_store(max_pending=2)
    store.append([notice, LOW])
    store.append([HIGH[0]])
    assert keys(store) == keys_of(HIGH[0], notice)


def test_updates_of_pressure_are_removed_before_anything_else(open_store: Opener) -> None:
    """They come once a minute for as long as the broker is away: they must displace nothing."""
    notice = [
        make_alert(9, n, phase, code=PRESSURE_CODE, kind=Kind.TECHNICAL, priority=Priority.MEDIUM)
        for n, phase in ((1, Phase.ONSET), (2, Phase.UPDATE), (3, Phase.UPDATE))
    ]
    store = open_store(max_pending=4)
    store.append([LOW, *notice])
    store.append([HIGH[0]])
    store.append([HIGH[1]])
    assert keys(store) == keys_of(*HIGH[:2], notice[0], LOW)


def test_pressure_begins_above_80_percent_and_ends_below_50(open_store: Opener) -> None:
    store = open_store(max_pending=10)
    store.append(HIGH[:8])
    assert store.pressure() == (False, 8, 10, 0)
    store.append([MEDIUM])
    assert store.pressure() == (True, 9, 10, 0)
    deliver(store, HIGH[:4])
    assert store.pressure() == (True, 5, 10, 0)
    deliver(store, HIGH[4:5])
    assert store.pressure() == (False, 4, 10, 0)


def test_pressure_begins_when_an_alert_was_removed(open_store: Opener) -> None:
    store = open_store(max_pending=2)
    store.append([LOW, MEDIUM])
    store.pressure()
    store.append([HIGH[0]])
    deliver(store, [HIGH[0], MEDIUM])
    assert store.pressure() == (True, 0, 2, 1)
    assert store.pressure() == (False, 0, 2, 1)


# -- episodes ---------------------------------------------------------------------------------


def test_the_latest_alert_of_an_open_episode_is_kept_whoever_has_it(open_store: Opener) -> None:
    first = list(make_episode(1, updates=2, ended=False))
    closed = list(make_episode(2))
    second = list(make_episode(3, updates=0, ended=False))
    store = open_store()
    store.append([*first, *closed, *second])
    assert open_episodes(store) == [first[-1], second[0]]
    deliver(store, [*first, *closed, *second])
    assert open_episodes(store) == [first[-1], second[0]]
    store.append([make_alert(1, 4, Phase.END)])
    assert open_episodes(store) == second


def test_hand_over_queues_what_the_team_lacks_of_open_episodes(open_store: Opener) -> None:
    still_open = list(make_episode(1, updates=3, ended=False))
    closed = list(make_episode(2))
    store = open_store()
    store.append([*still_open, *closed])
    deliver(store, [*still_open, *closed], Audience.BEDSIDE)
    assert store.hand_over() == 2
    assert [(row.key, row.handover) for row in store.waiting(9)] == [
        (still_open[0].key, True),
        (still_open[-1].key, True),
    ]
    assert store.hand_over() == 0
    deliver(store, [still_open[0], still_open[-1]])
    assert store.hand_over() == 0


def test_hand_over_queues_the_end_of_what_the_team_knows(open_store: Opener) -> None:
    onset, update, end = make_episode(1)
    store = open_store()
    store.append([onset, update, end])
    deliver(store, [onset])
    deliver(store, [update, end], Audience.BEDSIDE)
    assert store.hand_over() == 1
    assert keys(store) == keys_of(end)


def test_a_hand_over_can_be_taken_back(open_store: Opener) -> None:
    (onset,) = make_episode(1, updates=0, ended=False)
    store = open_store()
    store.append([onset, HIGH[0]])
    deliver(store, [onset], Audience.BEDSIDE)
    store.hand_over()
    assert store.cancel_hand_over() == 1
    assert keys(store) == keys_of(HIGH[0])
    assert store.hand_over() == 1


def test_a_discarded_alert_is_not_sent_and_its_key_stays_known(open_store: Opener) -> None:
    store = open_store()
    store.append(HIGH[:2])
    store.discard(HIGH[0].key)
    assert keys(store) == keys_of(HIGH[1])
    assert store.append([HIGH[0]]) == 0


# -- close ------------------------------------------------------------------------------------


def test_a_closed_store_takes_nothing(open_store: Opener) -> None:
    store = open_store()
    store.close()
    store.close()
    with pytest.raises(DeliveryError, match="closed"):
        store.append([HIGH[0]])


# -- states of alerts: AnswerStore --------------------------------------------------------------


def test_what_is_committed_arrives_until_it_is_taken_in(open_store: Opener) -> None:
    store = open_store()
    store.append(HIGH[:3])
    arrived = store.answers.arrived()
    assert [decode_alert(one.document).key for one in arrived] == keys_of(*HIGH[:3])
    assert all(one.committed_at is not None for one in arrived)
    store.answers.save([], position=arrived[1].position)
    (left,) = store.answers.arrived()
    assert decode_alert(left.document).key == HIGH[2].key
    store.answers.save([], position=left.position)
    assert store.answers.arrived() == []
    store.append([HIGH[0], HIGH[4]])  # the first is known
    assert len(store.answers.arrived()) == 1


def test_states_are_kept_replaced_and_forgotten(open_store: Opener) -> None:
    store = open_store()
    machine = Escalation()
    first, second = (machine.begin(one, NOON, attended=False)[0] for one in HIGH[:2])
    store.answers.save([Kept(first, b"onset", b"latest"), Kept(second, b"", b"")])
    later = machine.pass_time(first, NOON + timedelta(seconds=40))[0]
    store.answers.save([Kept(later, b"onset", b"")], forgotten=[second.alert_id])
    assert store.answers.load() == [Kept(later, b"onset", b"")]


def test_an_alert_is_unsent_until_the_broker_has_all_of_it(open_store: Opener) -> None:
    store = open_store()
    onset, _, end = make_episode()
    store.append([onset, end])
    deliver(store, [onset])
    assert store.answers.unsent() == {onset.alert_id}
    deliver(store, [end])
    assert store.answers.unsent() == set()
    store.hold([HIGH[0]])
    assert store.answers.unsent() == {HIGH[0].alert_id}


def test_a_memo_is_kept_and_replaced(open_store: Opener) -> None:
    answers = open_store().answers
    assert answers.recall("context") is None
    answers.remember("context", b"one")
    answers.remember("context", b"two")
    answers.remember("other", b"")
    assert (answers.recall("context"), answers.recall("other")) == (b"two", b"")


def test_an_event_is_recorded_when_its_detail_changes(open_store: Opener) -> None:
    answers = open_store().answers
    recorded = [answers.record("configuration", detail) for detail in ("a", "a", "b", "a")]
    assert recorded == [True, False, True, True]
