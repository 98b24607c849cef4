"""`tocsin pool`: share ECG with the consent of the people it is of, check a release, revoke."""

from __future__ import annotations

from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tocsin_agent.cli import ExitCode
from tocsin_agent.cli._output import writing_to

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tocsin_agent.lab.pool.consent import Consents, Person
    from tocsin_agent.lab.pool.gather import Site
    from tocsin_agent.lab.pool.items import Item

_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)
_NEW = click.Path(path_type=Path, dir_okay=False)
_FOLDER = click.Path(path_type=Path, file_okay=False)
_KEY = click.option("--key", "key_file", type=_FILE, required=True, help="The site's key.")
_LEDGER = click.option(
    "--ledger", type=_NEW, required=True, help="What was given away; stays here, with the key."
)


@click.group()
def command() -> None:
    """Pool ECG for research: what people allowed, under pseudonyms, checked, revocable.

    \b
    tocsin pool key site.key                      once; it never leaves this place
    tocsin pool export --consents consents.toml --key site.key --ledger ledger.jsonl \\
        --purpose arrhythmia-research --release 2026-11 --recipient "University X" --into out
    tocsin pool verify out --consents consents.toml
    tocsin pool revoke PATIENT --ledger ledger.jsonl --consents consents.toml

    docs/sharing.md shows a consent file, and answers the articles of the GDPR.
    """  # noqa: D301 - \b keeps click from joining the lines


@command.command()
@click.argument("file", type=_NEW)
def key(file: Path) -> None:
    """Make the key of a site, from which pseudonyms and shifted times follow.

    Whoever has it can find out which pseudonym is whose: keep it offline, and a copy elsewhere.
    Without it the next release has other pseudonyms.
    """
    from tocsin_agent.lab.pool.pseudonyms import make_key

    make_key(file)
    click.echo(f"{file}: written, mode 0600; it must never be given away")


@command.command()
@click.option("--consents", "consents_file", type=_FILE, required=True, help="TOML.")
@_KEY
@_LEDGER
@click.option("--purpose", required=True, help="One that people agreed to.")
@click.option("--release", "release_name", required=True, help="A name such as 2026-11.")
@click.option("--recipient", required=True, help="Who receives it; for the ledger alone.")
@click.option("--into", type=_FOLDER, required=True, help="A new folder.")
@click.option("--trail", type=_FILE, help="What `tocsin audit --json` printed: alerts with strips.")
@click.option("--console", type=_FILE, help="The console's file, with the same use.")
@click.option("--k", type=click.IntRange(1, 1000), default=5, show_default=True,
              help="Least number of people of one site, age band and sex.")  # fmt: skip
@click.option("--age-width", type=click.IntRange(5, 90), default=10, show_default=True,
              help="Years of an age band.")  # fmt: skip
@click.option("--withhold", is_flag=True, help="Leave out the people of smaller classes.")
def export(  # noqa: PLR0917  # click passes them by name
    consents_file: Path,
    key_file: Path,
    ledger: Path,
    purpose: str,
    release_name: str,
    recipient: str,
    into: Path,
    trail: Path | None,
    console: Path | None,
    k: int,
    age_width: int,
    withhold: bool,
) -> int:
    """Write a release of what people allowed, and check it.

    Episodes are the stretches around alarms, background is a random sample of stretches without
    one, of the recordings that the consent file names; strips of alerts come from --trail or
    --console. Exit code 4 if the check finds anything: then nothing may be given away.
    """
    from tocsin_agent.lab.pool.checking import faults
    from tocsin_agent.lab.pool.consent import read_consents
    from tocsin_agent.lab.pool.gather import Site
    from tocsin_agent.lab.pool.ledger import Given, Ledger, now
    from tocsin_agent.lab.pool.pseudonyms import read_key
    from tocsin_agent.lab.pool.release import Plan, Sharing, write_release
    from tocsin_agent.lab.review.inputs import monitor_record, read_console, read_trail
    from tocsin_models import load_models

    consents, site_key, book = read_consents(consents_file), read_key(key_file), Ledger(ledger)
    book.prepare()
    parts = [read_trail(trail)] if trail is not None else []
    parts += [read_console(console)] if console is not None else []
    documents = {alert.alert_id: alert for part in parts for alert in part.alerts}
    site = Site(site_key, list(documents.values()), monitor_record)
    plan = Plan(release_name, purpose, k, age_width, withhold, load_models().hashes)
    people = consents.allowed(purpose, datetime.now(UTC).date(), book.revoked)
    gather = partial(_items, consents, site)
    sharing = Sharing(site_key, consents_file, consents, gather)
    with writing_to(into, "--into"):
        done = write_release(into, plan, sharing, people)
    found = list(faults(into, _identifiers(consents)))
    for fault in found:
        click.echo(f"  {fault}", err=True)
    if found:
        click.echo(f"{into}: {len(found)} faults: it must not be given away", err=True)
        return ExitCode.SOURCE
    book.add(
        Given(
            at=now(),
            release=release_name,
            purpose=purpose,
            recipient=recipient,
            manifest=done.sha256,
            people=done.people,
        )
    )
    counts = ", ".join(f"{number} {kind}" for kind, number in done.manifest.items.items())
    click.echo(f"{into}: {done.manifest.people} people, {counts}, {done.manifest.hours:.2f} h")
    if done.manifest.withheld:
        click.echo(f"withheld, since fewer than {k} are alike: {done.manifest.withheld} people")
    return ExitCode.OK


@command.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--consents", "consents_file", type=_FILE,
              help="At the site: also look for each person's name and `identifiers`.")  # fmt: skip
def verify(folder: Path, consents_file: Path | None) -> int:
    """Check a release: hashes, allowed fields, headers, k-anonymity, figures of the card.

    Exit code 4 if anything is wrong.
    """
    from tocsin_agent.lab.pool.checking import faults, too_short
    from tocsin_agent.lab.pool.consent import read_consents

    words = _identifiers(read_consents(consents_file)) if consents_file is not None else []
    if short := too_short(words):
        click.echo(f"too short to be looked for: {', '.join(short)}", err=True)
    found = list(faults(folder, words))
    for fault in found:
        click.echo(f"  {fault}")
    click.echo(f"{folder}: {f'{len(found)} faults' if found else 'as released'}")
    return ExitCode.SOURCE if found else ExitCode.OK


@command.command()
@click.argument("patient")
@_LEDGER
@click.option("--consents", "consents_file", type=_FILE,
              help="Refuse a name that is not in this file: it leaves out nobody.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def revoke(patient: str, ledger: Path, consents_file: Path | None, as_json: bool) -> None:
    """Leave a person out of every later release, and list what was given away before.

    The files of all others stay the same, byte for byte. The recipients that are listed must be
    asked to delete the items (GDPR, articles 17(2) and 19).
    """
    import msgspec

    from tocsin_agent.lab.pool.consent import read_consents
    from tocsin_agent.lab.pool.ledger import Ledger, Revoked, now

    if consents_file is not None:
        known = {person.patient for person in read_consents(consents_file).person}
        if patient not in known:
            raise click.UsageError(
                f"{consents_file} has no patient {patient!r}: nothing is revoked"
            )
    book = Ledger(ledger)
    given = book.given(patient)
    if patient not in book.revoked:
        book.add(Revoked(at=now(), patient=patient))
    rows = [
        {
            "release": one.release,
            "recipient": one.recipient,
            "purpose": one.purpose,
            "given_at": one.at,
            "manifest_sha256": one.manifest,
            "items": one.people[patient],
        }
        for one in given
    ]
    if as_json:
        click.echo(msgspec.json.encode({"patient": patient, "given": rows}).decode())
        return
    click.echo(f"{patient}: left out of every later release")
    if not given:
        click.echo("nothing of this person was given away: if it was, the name is another one")
    for one in given:
        click.echo(
            f"given away: release {one.release} to {one.recipient} on {one.at:%Y-%m-%d}, "
            f"{len(one.people[patient])} items: ask them to delete"
        )
        for item in one.people[patient]:
            click.echo(f"  {item}")


def _items(consents: Consents, site: Site, person: Person) -> Iterator[Item]:
    from tocsin_agent.lab.pool.gather import items_of

    return items_of(site, person, consents.form[person.form].data)


def _identifiers(consents: Consents) -> list[str]:
    """Return what must not occur in a release: names and identifiers, and the dates of consents."""
    words: list[str] = []
    for person in consents.person:
        dates = (person.given, person.expires, person.withdrawn)
        words += [person.patient, *person.identifiers, *person.records]
        words += [day.isoformat() for day in dates if isinstance(day, date)]
    return words
