"""The live board in a terminal, by textual (extra `team`)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from typing import ClassVar, NamedTuple, Protocol, Self

from rich.text import Text
from textual.app import App, ComposeResult
from textual.widgets import DataTable, Footer, Static
from textual.worker import get_current_worker

from tocsin_agent.errors import DeliveryError
from tocsin_agent.messages.acknowledgement import Action
from tocsin_agent.team.answers import SILENCE_S, Answer, answer
from tocsin_agent.team.board.table import (
    Cells,
    action_name,
    cells,
    outcome,
    panel,
    summary,
    titles,
    urgent,
)
from tocsin_agent.team.board.ward import Line, Ward
from tocsin_agent.team.feed import AlertSeen, Item
from tocsin_agent.team.terminal import Style

_POLL_S = 0.25
_REFRESH_S = 0.5
_MOVED_S = 2.0  # so long after the selection moved by itself, no key answers
_KEYS = (("a", Action.ACCEPT), ("s", Action.SILENCE), ("g", Action.GIVE_BACK), ("r", Action.REJECT))


class Link(Protocol):
    """The part of `Receiver` that a board uses."""

    def __enter__(self) -> Self: ...
    def __exit__(self, exc_type: type[BaseException] | None, /, *_: object) -> None: ...
    def poll(self, timeout_s: float) -> list[Item]: ...  # noqa: D102
    def send(self, topic: str, payload: bytes, *, retain: bool = False) -> None: ...  # noqa: D102


class Person(NamedTuple):
    """Who answers at this board."""

    who: str
    role: str = "team"
    silence_s: float = SILENCE_S


class BoardApp(App[None]):
    """The board: a table of beds, the strip of the selected alert, and keys that answer it.

    Reason for its size: textual calls one method an event.

    Parameters
    ----------
    link : Link
        What is received, and where answers go; used by a thread of the board's own.
    style : Style
        Language, time zone and height of the strip.
    person : Person, optional
        Who answers; without it the board is read only.
    now : callable, optional
        Returns aware UTC.
    """

    CSS = """
    #table { height: 1fr; }
    #panel { height: auto; max-height: 50%; border-top: solid $accent; padding: 0 1; }
    #foot { height: auto; padding: 0 1; background: $surface; }
    """
    ENABLE_COMMAND_PALETTE: ClassVar[bool] = False

    def __init__(
        self,
        link: Link,
        style: Style,
        person: Person | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__()
        self.ward = Ward()
        self._link, self._style, self._person, self._now = link, style, person, now
        self._queue: SimpleQueue[Answer] = SimpleQueue()
        self._lines: list[Line] = []
        self._drawn: list[tuple[Cells, bool]] = []
        self._known: set[str] = set()  # urgent alerts that the bell has sounded for
        self._note = ""
        self._moved_at: datetime | None = None
        for key, action in _KEYS:
            name = action_name(action, style.language)
            self.bind(key, f"answer('{action.value}')", description=name)
        self.bind("q", "quit", description=style.language.words.key_quit)

    def compose(self) -> ComposeResult:
        """Make table, panel and foot."""
        yield DataTable[Text](id="table", cursor_type="row")
        yield Static(id="panel")
        yield Static(id="foot")
        yield Footer()

    def on_mount(self) -> None:
        """Begin to receive."""
        self._table.add_columns(*titles(self._style.language))
        self.set_interval(_REFRESH_S, self.show)
        self.run_worker(self._receive, thread=True)
        self.show()

    def on_data_table_row_highlighted(self) -> None:
        """Show the strip of the alert that was selected."""
        self._show_panel()

    def action_answer(self, value: str) -> None:
        """Answer the selected alert."""
        words, line = self._style.language.words, self._selected
        if self._person is None:
            self._note = words.read_only
        elif self._moved_at and (self._now() - self._moved_at).total_seconds() < _MOVED_S:
            self._note = words.selection_moved  # the key was meant for another alert
        elif line is None or line.alert is None:
            self._note = words.select_alert
        else:
            action = Action(value)
            person = self._person
            made = answer(
                line.site,
                line.device,
                line.alert.alert_id,
                who=person.who,
                role=person.role,
                action=action,
                at=self._now(),
                silence_s=person.silence_s if action is Action.SILENCE else None,
            )
            self._note = ""
            self.ward.sent(made, line.place, self._now())
            self._queue.put(made)
        self._show_foot()

    def show(self) -> None:
        """Draw what is known now; the selected line stays selected."""
        if not self.query("#table"):
            return  # the screen is being closed
        now, chosen = self._now(), self._selected
        self._lines = self.ward.lines(now)
        table = self._table
        drawn = [(cells(line, now, self._style), urgent(line)) for line in self._lines]
        if drawn != self._drawn:
            self._drawn = drawn
            table.clear()
            for texts, red in drawn:
                table.add_row(*(Text(text, style="bold red" if red else "") for text in texts))
        if chosen is not None and self._lines:
            row = self._row_of(chosen)
            table.move_cursor(row=row, animate=False)
            if self._lines[row].key != chosen.key:
                self._moved_at = now
        waiting = {line.key for line in self._lines if line.alert is not None and urgent(line)}
        if waiting - self._known:
            self.bell()
        self._known = waiting
        self._show_panel()
        self._show_foot()

    def _row_of(self, chosen: Line) -> int:
        """Return the row of a line that was selected, else of its bed, else the first."""
        keys = [line.key for line in self._lines]
        beds = [(line.site, line.device) for line in self._lines]
        bed = (chosen.site, chosen.device)
        if chosen.key in keys:
            return keys.index(chosen.key)
        return beds.index(bed) if bed in beds else 0

    @property
    def _table(self) -> DataTable[Text]:
        return self.query_one("#table", DataTable)

    @property
    def _selected(self) -> Line | None:
        tables = list(self.query("#table").results(DataTable))
        row = tables[0].cursor_row if tables else -1
        return self._lines[row] if 0 <= row < len(self._lines) else None

    def _show_panel(self) -> None:
        style = Style(
            width=max(40, self.size.width - 4),
            zone=self._style.zone,
            strip_rows=self._style.strip_rows,
            language=self._style.language,
        )
        self._write("panel", Text(panel(self.ward, self._selected, style)))

    def _show_foot(self) -> None:
        words = self._style.language.words
        foot = Text(summary(self._lines, self._style.language))
        if self.ward.left_out:
            text = words.left_out.format(count=self.ward.left_out)
            foot.append(f"\n{text}", style="bold red")
        if self.ward.unproven:
            text = words.unproven_left_out.format(count=self.ward.unproven)
            foot.append(f"\n{text}", style="bold red")
        if not self.ward.connected:
            foot.append(f"\n{words.lost} {self.ward.trouble}", style="bold red")
        said = self._note or outcome(self.ward.last_answer, self._now(), self._style.language)
        if said:
            foot.append(f"\n{said}", style="bold")
        self._write("foot", foot)

    def _write(self, name: str, text: Text) -> None:
        """Write into a part of the screen, unless the screen is being closed."""
        for part in self.query(f"#{name}").results(Static):
            part.update(text)

    def _take(self, items: list[Item], trouble: str) -> None:
        for item in items:
            self.ward.take(item, self._now())
        self._note = trouble or self._note
        if any(isinstance(item, AlertSeen) and item.repeated for item in items):
            self.bell()  # nobody has accepted it, and it is not silenced

    def _receive(self) -> None:
        """Receive and send, in a thread; what arrived is taken by the thread of the screen."""
        worker = get_current_worker()
        with self._link as link:
            while not worker.is_cancelled:
                items, trouble = link.poll(_POLL_S), self._send(link)
                if (items or trouble) and not worker.is_cancelled:
                    self.call_from_thread(self._take, items, trouble)

    def _send(self, link: Link) -> str:
        """Send the answers that wait; return why one could not be sent."""
        try:
            while True:
                made = self._queue.get_nowait()
                link.send(made.topic, made.payload, retain=True)
        except Empty:
            return ""
        except DeliveryError as exc:
            return str(exc)
