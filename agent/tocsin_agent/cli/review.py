"""`tocsin review`: experts judge alerts, and their answers become training data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tocsin_agent.cli._output import writing_to

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tocsin_agent.lab.review.agreement import Kappa
    from tocsin_agent.lab.review.cases import Case
    from tocsin_agent.lab.review.folder import Excerpt
    from tocsin_agent.lab.review.inputs import Kept, Monitored
    from tocsin_agent.lab.review.settling import Comparison
    from tocsin_agent.messages.alert import Alert

_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)
_FOLDER = click.Path(path_type=Path, file_okay=False)
_REVIEW = click.Path(path_type=Path, file_okay=False, exists=True)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def command() -> None:
    """Let experts review alerts, and make training data of their answers.

    \b
    tocsin review export svdb --count 200 --into review
        two readers answer in the console (review.folder), in cases/review.html, or fill
        answers/NAME.csv by any program for WFDB
    tocsin review take review anna.json --reader anna
    tocsin review agree review --reader anna --reader bela
    tocsin review publish review --reader anna --reader bela --adjudicator cleo --into set
    tocsin review report set

    docs/review.md describes the folder, the answers and the set.
    """  # noqa: D301 - \b keeps click from joining the lines


@command.command()
@click.argument("sources", nargs=-1)
@click.option("--into", "folder", type=_FOLDER, required=True, help="A new folder.")
@click.option("--count", type=click.IntRange(1, 100_000), default=200, show_default=True,
              help="Number of alerts.")  # fmt: skip
@click.option("--silent", type=click.FloatRange(0.0, 1.0), default=0.1, show_default=True,
              help="Stretches without an alert, as a share of the alerts.")  # fmt: skip
@click.option("--trail", type=_FILE, help="What `tocsin audit --json` printed: who rejected what.")
@click.option("--console", type=_FILE, help="The console's file, with the same use.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random choice.")
def export(  # noqa: PLR0917  # click passes them by name
    sources: tuple[str, ...],
    folder: Path,
    count: int,
    silent: float,
    trail: Path | None,
    console: Path | None,
    seed: int,
) -> None:
    """Write the cases that readers review into a folder.

    SOURCES are records (`svdb/800`) or databases (`svdb`), which the agent monitors again. Alerts
    that people rejected, by --trail or --console, come first, then those of which the models were
    unsure, then a random sample of the rest. Without SOURCES the documents of --trail or --console
    are reviewed by the ECG that they carry, without silent stretches.
    """
    from tocsin_agent.lab.review.cases import choose
    from tocsin_agent.lab.review.folder import ReviewFile, require_new, write_review
    from tocsin_agent.lab.review.inputs import monitor_record, strip_cases
    from tocsin_agent.lab.review.page import write_page
    from tocsin_agent.sources.files.wfdb_record import import_wfdb
    from tocsin_models import load_models

    require_new(folder)
    import_wfdb()  # before the records are monitored: that takes its time
    kept = _kept(trail, console)
    documents: dict[str, Alert] = {}
    alerts, calm, monitored = list[Any](), list[Any](), dict[str, Any]()
    if not sources:
        if trail is None and console is None:
            raise click.UsageError("name records or databases, or give --trail or --console")
        alerts, documents = strip_cases(kept)
    for record in _records(sources):
        one = monitor_record(record)
        of_alerts, without = one.cases(kept.rejected)
        alerts, calm = alerts + of_alerts, calm + without
        monitored[record] = one
    chosen = choose(alerts, calm, count, silent, seed)
    review = ReviewFile(models=load_models().hashes, seed=seed, cases=tuple(chosen))
    excerpts = list(_excerpts(chosen, monitored, documents))
    with writing_to(folder, "--into"):
        write_review(folder, review, excerpts)
        write_page(folder / "cases", excerpts)
    by_why: dict[str, int] = {}
    for case in chosen:
        by_why[case.why] = by_why.get(case.why, 0) + 1
    click.echo(", ".join(f"{why} {number}" for why, number in sorted(by_why.items())))
    click.echo(f"{folder}: give readers cases/, or name it in the console's review.folder")


@command.command()
@click.argument("folder", type=_REVIEW)
@click.argument("saved", type=_FILE)
@click.option("--reader", required=True, help="Who saved it: a pseudonym.")
def take(folder: Path, saved: Path, reader: str) -> None:
    """Take the answers that a reader saved in cases/review.html.

    They are added to what the reader has answered already, such as in the console.
    """
    from tocsin_agent.durable_file import changing
    from tocsin_agent.errors import LabError
    from tocsin_agent.lab.review.folder import (
        read_answers,
        read_readings,
        read_review,
        readers,
        write_answers,
    )
    from tocsin_agent.messages.reading import is_reader

    if not is_reader(reader):
        raise click.UsageError("--reader: letters, digits, _ and - expected, at most 32")
    cases = read_review(folder).cases
    taken, into = read_readings(saved, cases), folder / "answers"
    try:
        into.mkdir(exist_ok=True)
        with changing(into):  # the same reader may answer in the console now
            known = read_answers(folder, reader, cases) if reader in readers(folder) else {}
            answers = known | taken
            write_answers(folder, reader, cases, answers)
            (into / f"{reader}.csv").unlink(missing_ok=True)  # its answers are in the new one
    except OSError as error:
        raise LabError(f"{error.filename or into} cannot be written: {error.strerror}") from error
    click.echo(f"{folder}: {len(answers)} of {len(cases)} cases answered by {reader}")


@command.command()
@click.argument("folder", type=_REVIEW)
@click.option("--reader", "names", multiple=True, help="Two of them; all who answered by default.")
@_JSON
def agree(folder: Path, names: tuple[str, ...], as_json: bool) -> None:
    """Print how well two readers agree, and the cases on which they do not."""
    import msgspec

    found = _compared(folder, names)
    if as_json:
        stated = {
            "readers": found.readers,
            "verdicts": found.verdicts,
            "beats": found.beats,
            "agreed": [one.case.case for one in found.agreed],
            "disputed": {one.case.case: one.about for one in found.disputed},
            "unanswered": found.unanswered,
        }
        click.echo(msgspec.json.encode(stated).decode())
        return
    click.echo(f"{found.readers[0]} and {found.readers[1]}")
    click.echo(f"  verdicts  {_kappa(found.verdicts)}")
    click.echo(f"  beats     {_kappa(found.beats)}")
    for one in found.disputed:
        said = f"{one.first.verdict} / {one.second.verdict}" if one.about == "verdict" else ""
        click.echo(f"  disputed  {one.case.case}  {one.about}  {said}")
    if found.unanswered:
        click.echo(f"  not answered by both: {len(found.unanswered)}")


@command.command()
@click.argument("folder", type=_REVIEW)
@click.option("--reader", "names", multiple=True, help="As for agree.")
@click.option("--adjudicator", help="The third reader, who decides what is disputed.")
@click.option("--into", type=_FOLDER, required=True, help="A new folder.")
@click.option("--without-disputed", is_flag=True, help="Leave out what nobody decided.")
def publish(
    folder: Path,
    names: tuple[str, ...],
    adjudicator: str | None,
    into: Path,
    without_disputed: bool,
) -> None:
    """Write the settled answers as WFDB annotations with their provenance."""
    from tocsin_agent.lab.review.annotation_set import publish as write
    from tocsin_agent.lab.review.folder import read_review
    from tocsin_agent.lab.review.settling import settle

    found = _compared(folder, tuple(n for n in names if n != adjudicator), adjudicator)
    settled, open_ = settle(folder, found, adjudicator)
    if open_ and not without_disputed:
        listed = ", ".join(one.case.case for one in open_[:10])
        raise click.UsageError(
            f"{len(open_)} cases are disputed ({listed}): name an --adjudicator who answered them, "
            "or leave them out by --without-disputed"
        )
    models = read_review(folder).models
    with writing_to(into, "--into"):
        done = write(folder, into, models, found, settled, adjudicator=adjudicator)
    click.echo(f"{into}: {len(done.provenance.cases)} cases, {len(done.provenance.files)} files")


@command.command()
@click.argument("folder", type=_REVIEW)
@click.option("--model", type=_FILE, help="A model of alarms.  [default: the shipped one]")
@_JSON
def report(folder: Path, model: Path | None, as_json: bool) -> None:
    """Print what a model would have done in the stretches of a set.

    The agent monitors the records again. A stretch is `kept` where the agent raises the alarm.
    """
    import msgspec

    from tocsin_agent.lab.review.annotation_set import read_set
    from tocsin_agent.lab.review.hindsight import hindsight
    from tocsin_agent.lab.review.inputs import monitor_record

    reviewed = read_set(folder).cases
    records = sorted({one.case.record for one in reviewed} - {""})
    raised = {record: monitor_record(record, model).found for record in records}
    counts = hindsight(reviewed, raised)
    left_out = sum(not one.case.record for one in reviewed)
    if as_json:
        named = {code: c._asdict() for code, c in counts.items()}
        click.echo(msgspec.json.encode({"alarms": named, "without_record": left_out}).decode())
        return
    click.echo(f"{'alarm':<28} true kept / lost   false kept / suppressed")
    for code, c in counts.items():
        kept = f"{c.true_kept} / {c.true_lost}"
        click.echo(f"{code:<28} {kept:<18} {c.false_kept} / {c.false_suppressed}")
    if left_out:
        click.echo(f"{left_out} cases have no record: a strip is too short to monitor")


def _kept(trail: Path | None, console: Path | None) -> Kept:
    from tocsin_agent.lab.review.inputs import Kept, read_console, read_trail

    parts = [read_trail(trail)] if trail is not None else []
    parts += [read_console(console)] if console is not None else []
    alerts = {alert.alert_id: alert for part in parts for alert in part.alerts}
    return Kept(tuple(alerts.values()), frozenset().union(*(part.rejected for part in parts)))


def _records(sources: Sequence[str]) -> Iterator[str]:
    """Yield the records that are named, and those of each database that is."""
    from tocsin_agent.lab.evaluate.databases import select

    for source in sources:
        if "/" in source:
            yield source
        else:
            yield from (f"{source}/{record}" for record in select(source).records)


def _excerpts(
    chosen: Sequence[Case], monitored: dict[str, Monitored], documents: dict[str, Alert]
) -> Iterator[tuple[Case, Excerpt]]:
    from tocsin_agent.lab.review.folder import Excerpt, cut

    for case in chosen:
        if not case.record:
            strip = documents[case.alert_id].strip
            assert strip is not None  # noqa: S101 - of such the cases were made
            beats = [(beat.row, beat.label) for beat in strip.beats]
            yield case, Excerpt(strip.leads, strip.decode(), beats)
    for record, one in monitored.items():
        if of_it := [case for case in chosen if case.record == record]:
            pieces = cut(record, of_it)
            for case in of_it:
                yield case, Excerpt(*pieces[case.case], one.beats_of(case))


def _compared(folder: Path, names: tuple[str, ...], adjudicator: str | None = None) -> Comparison:
    from tocsin_agent.lab.review.folder import read_review, readers
    from tocsin_agent.lab.review.settling import compare
    from tocsin_agent.messages.printable import clean

    cases = read_review(folder).cases
    names = names or tuple(name for name in readers(folder) if name != adjudicator)
    if len(names) != 2:
        there = ", ".join(map(clean, names)) or "nobody"
        raise click.UsageError(
            f"two readers are compared, and who answered is {there}: name two by --reader"
        )
    return compare(folder, cases, *names)


def _kappa(kappa: Kappa) -> str:
    if kappa.cases == 0:
        return "nothing that both answered"
    if kappa.value is None or kappa.low is None or kappa.high is None:
        return f"kappa not defined ({kappa.cases} answers, all alike)"
    return (
        f"kappa {kappa.value:.2f} ({kappa.low:.2f} to {kappa.high:.2f}), "
        f"{100 * (kappa.observed or 0):.1f} % alike of {kappa.cases}"
    )
