"""The live board: keys answer the selected alert, and what arrives is shown."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Self

from textual.pilot import Pilot
from textual.widgets import DataTable, Static

from support.factories import NOON, make_alert, make_strip
from support.wards import ALERT_ID, active_alert, active_of
from tocsin_agent.errors import DeliveryError, DeliveryFault
from tocsin_agent.messages.acknowledgement import Acknowledgement, decode_acknowledgement
from tocsin_agent.messages.active import AlertState
from tocsin_agent.messages.alert import Audience, PresenceView
from tocsin_agent.team.board.screen import BoardApp, Person
from tocsin_agent.team.feed import AlertSeen, ConnectionSeen, Item
from tocsin_agent.team.terminal import Style


class FakeLink:
    """A broker that is given what arrives, and keeps what is sent."""

    def __init__(self, *items: Item, broken: bool = False) -> None:
        self.arriving: list[Item] = [ConnectionSeen(True, "connected"), *items]
        self.sent: list[tuple[str, Acknowledgement, bool]] = []
        self._broken = broken

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def poll(self, timeout_s: float) -> list[Item]:
        arrived, self.arriving = self.arriving, []
        if not arrived:
            time.sleep(min(timeout_s, 0.01))
        return arrived

    def send(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        if self._broken:
            raise DeliveryError(DeliveryFault.BROKER_UNREACHABLE, "no connection yet")
        self.sent.append((topic, decode_acknowledgement(payload), retain))


def play(
    link: FakeLink, script: Callable[[BoardApp, Pilot[None]], Awaitable[None]], who: str = "dr-k"
) -> None:
    async def run() -> None:
        app = BoardApp(link, Style(), Person(who) if who else None, lambda: NOON)
        async with app.run_test(size=(140, 40)) as pilot:
            await script(app, pilot)

    asyncio.run(run())


async def until(pilot: Pilot[None], condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60.0
    while not condition():
        assert time.monotonic() < deadline
        await pilot.pause(0.02)


def text_of(app: BoardApp, name: str) -> str:
    return str(app.query_one(f"#{name}", Static).render())


def rows(app: BoardApp) -> list[str]:
    table = app.query_one("#table", DataTable)
    return [" ".join(map(str, table.get_row_at(n))) for n in range(table.row_count)]


def test_beds_and_the_strip_of_the_first_are_shown() -> None:
    document = make_alert(strip=make_strip())
    link = FakeLink(
        active_of("bed7", active_alert(alert_id=document.alert_id)),
        active_of("bed8"),
        AlertSeen(document, Audience.TEAM, "t"),
    )

    async def script(app: BoardApp, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: len(rows(app)) == 2)
        assert "VENTRICULAR TACHYCARDIA" in rows(app)[0]
        assert "NOBODY" in rows(app)[0]
        assert "nothing active" in rows(app)[1]
        await until(pilot, lambda: "L1  4.0 s" in text_of(app, "panel"))
        assert "beds: 2 · open: 1 · not accepted: 1" in text_of(app, "foot")

    play(link, script)


def test_each_key_sends_its_answer_and_says_that_it_waits_for_the_device() -> None:
    link = FakeLink(active_of("bed7", active_alert()))

    async def script(app: BoardApp, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: len(rows(app)) == 1)
        await pilot.press("a", "s", "g", "r")
        await until(pilot, lambda: len(link.sent) == 4)
        assert [message.action for _, message, _ in link.sent] == [
            "accept", "silence", "give_back", "reject",
        ]  # fmt: skip
        assert {topic for topic, _, _ in link.sent} == {f"tocsin/v1/ward3/bed7/ack/{ALERT_ID}"}
        assert {(m.who, m.role, m.at) for _, m, _ in link.sent} == {("dr-k", "team", NOON)}
        assert [m.silence_s for _, m, _ in link.sent] == [None, 120.0, None, None]
        assert all(retained for _, _, retained in link.sent)
        assert len({m.id for _, m, _ in link.sent}) == 4
        assert "waiting for the device" in text_of(app, "foot")
        link.arriving.append(
            active_of("bed7", active_alert(state=AlertState.ACKNOWLEDGED, holder="dr-k"))
        )
        await until(pilot, lambda: " dr-k " in f"{rows(app)[0]} ")

    play(link, script)


def test_the_foot_names_who_is_present_at_each_site() -> None:
    held = PresenceView(True, Audience.BEDSIDE, "lease", "cardiologist", "dr-k")
    gone = PresenceView(False, Audience.TEAM, "expired", "cardiologist", "dr-k")
    link = FakeLink(active_of("bed7", presence=held), active_of("bed8", presence=held))

    async def script(app: BoardApp, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: len(rows(app)) == 2)
        await until(pilot, lambda: "ward3: dr-k is present as cardiologist" in text_of(app, "foot"))
        link.arriving += [active_of("bed7", presence=gone)]  # bed 8 has not learned of it yet
        expected = "ward3: dr-k is present as cardiologist / nobody is present"
        await until(pilot, lambda: expected in text_of(app, "foot"))
        link.arriving += [active_of("bed8", presence=gone)]
        await until(pilot, lambda: "ward3: nobody is present" in text_of(app, "foot"))

    play(link, script)


def test_thirty_beds_are_on_one_screen_and_a_key_reaches_the_last() -> None:
    beds = [active_of(f"bed{n:02}") for n in range(1, 31)]
    beds[16] = active_of(
        "bed17", active_alert(alert_id="a" * 32), active_alert(alert_id="b" * 32, since=NOON)
    )
    beds[29] = active_of("bed30", active_alert(alert_id="c" * 32, since=NOON - timedelta(hours=1)))
    link = FakeLink(*beds)

    async def script(app: BoardApp, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: len(rows(app)) == 31)
        table = app.query_one("#table", DataTable)
        assert [row[:14] for row in rows(app)[:4]] == [
            "Ward 3, bed 30", "Ward 3, bed 17", "Ward 3, bed 17", "Ward 3, bed 01",
        ]  # fmt: skip
        assert table.virtual_size.width <= 140, "no column is beyond the edge"
        assert table.size.height >= 32, "every line is in sight"
        assert "beds: 30 · open: 3 · not accepted: 3" in text_of(app, "foot")
        await pilot.press("down", "down", "a")
        await until(pilot, lambda: len(link.sent) == 1)
        assert link.sent[0][0] == f"tocsin/v1/ward3/bed17/ack/{'b' * 32}"
        await pilot.press(*["down"] * 40)
        await until(pilot, lambda: table.cursor_row == 30)
        assert "bed 29" in text_of(app, "panel")

    play(link, script)


def test_without_a_person_the_board_only_shows() -> None:
    link = FakeLink(active_of("bed7", active_alert()))

    async def script(app: BoardApp, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: len(rows(app)) == 1)
        await pilot.press("a")
        await until(pilot, lambda: "read only" in text_of(app, "foot"))
        assert link.sent == []

    play(link, script, who="")


def test_the_selection_stays_on_its_alert_when_graver_ones_arrive() -> None:
    link = FakeLink(active_of("bed7"), active_of("bed8"))

    async def script(app: BoardApp, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: len(rows(app)) == 2)
        await pilot.press("down")
        other = active_alert(alert_id="f" * 32, since=NOON - timedelta(seconds=9))
        link.arriving.append(active_of("bed7", other))
        await until(pilot, lambda: "TACHYCARDIA" in rows(app)[0])
        assert "bed 8" in text_of(app, "panel")
        await pilot.press("a")
        await until(pilot, lambda: "select an alert first" in text_of(app, "foot"))
        assert link.sent == []  # a key never answers an alert that was not selected

    play(link, script)


def test_a_key_that_was_meant_for_an_alert_that_went_away_answers_no_other() -> None:
    other = active_alert(alert_id="f" * 32, since=NOON + timedelta(seconds=9))
    link = FakeLink(active_of("bed7", active_alert()), active_of("bed8", other))

    async def script(app: BoardApp, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: len(rows(app)) == 2)
        link.arriving.append(active_of("bed7"))  # closed while a finger was above the key
        await until(pilot, lambda: "nothing active" in rows(app)[1])
        await pilot.press("a")
        await until(pilot, lambda: "the selection has changed" in text_of(app, "foot"))
        assert link.sent == []

    play(link, script)


def test_an_answer_that_cannot_be_sent_and_a_lost_broker_say_so() -> None:
    link = FakeLink(active_of("bed7", active_alert()), broken=True)

    async def script(app: BoardApp, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: len(rows(app)) == 1)
        await pilot.press("a")
        await until(pilot, lambda: "no connection yet" in text_of(app, "foot"))
        link.arriving.append(ConnectionSeen(False, "the broker is gone"))
        await until(pilot, lambda: "NO CONNECTION" in text_of(app, "foot"))

    play(link, script)
