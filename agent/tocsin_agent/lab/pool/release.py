"""A release: the folder that is given away.

::

    manifest.json                 what, why, under which forms of consent, hashes, versions, licence
    DATA-CARD.md                  the same in plain words, for the people whose ECG it is
    people/PERSON/person.json     bands of age and sex
    people/PERSON/ITEM.hea .dat   ECG of an episode or of a sample of background
    people/PERSON/ITEM.beats      the agent's labels
    people/PERSON/ITEM.json       the allow-listed rest (`pool.items`)

PERSON and ITEM are pseudonyms by the key of the site. A file of a person depends on nothing of
another person: without one person, the files of all others are the same, byte for byte.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta

from tocsin_agent import __version__
from tocsin_agent.errors import LabError
from tocsin_agent.lab.annotate import MNEMONICS, Mark, write_marks
from tocsin_agent.lab.excerpt_file import write_excerpt
from tocsin_agent.lab.pool.anonymity import class_of, small_classes
from tocsin_agent.lab.pool.consent import Consents, Name, Person, form_hash
from tocsin_agent.lab.pool.items import (
    Hex,
    Item,
    ItemFile,
    PersonFile,
    age_band,
    beats_of,
    item_file,
    lead_names,
)
from tocsin_agent.lab.pool.pseudonyms import ORIGIN, SiteKey, shift

MANIFEST, CARD, PEOPLE, ANNOTATOR = "manifest.json", "DATA-CARD.md", "people", "beats"
_MTIME = 946_684_800  # 2000-01-01, of every file


class FormUsed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A form of consent under which people are in a release."""

    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")]
    licence: Annotated[str, Meta(max_length=64)]
    people: int


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`manifest.json`."""

    schema: Literal["tocsin/pool/v1"] = "tocsin/pool/v1"
    release: Name
    purpose: Name
    site: Hex
    k: Annotated[int, Meta(ge=1)]
    age_width: Annotated[int, Meta(ge=1)]
    people: int
    withheld: Annotated[int, Meta(description="People of classes smaller than k.")]
    items: dict[str, int]
    hours: float
    forms: dict[Name, FormUsed]
    software: Annotated[str, Meta(pattern=r"^tocsin [0-9][0-9A-Za-z.+-]*$(?!\n)")]
    models: dict[Name, Annotated[str, Meta(pattern=r"^[0-9a-f]{6,64}$(?!\n)")]]
    files: dict[str, Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")]]


class Plan(NamedTuple):
    """What a release is to be.

    Parameters
    ----------
    release, purpose : str
    k : int
        Least number of people of one site, age band and sex.
    age_width : int
        Years of a band.
    withhold : bool
        Leave out the people of smaller classes, instead of refusing.
    models : mapping
        Hashes of the models by name.
    """

    release: str
    purpose: str
    k: int
    age_width: int
    withhold: bool
    models: Mapping[str, str]


class Written(NamedTuple):
    """A release that was written: its manifest and, for the ledger, whose items are in it."""

    manifest: Manifest
    sha256: str
    people: dict[str, tuple[str, ...]]


ItemsOf = Callable[[Person], Iterable[Item]]


class Sharing(NamedTuple):
    """A site that shares.

    Parameters
    ----------
    key : SiteKey
    file : Path
        The consent file.
    consents : Consents
        Its content.
    items_of : callable
        Gives the items of a person; called once for each who is in the release.
    """

    key: SiteKey
    file: Path
    consents: Consents
    items_of: ItemsOf


def write_release(folder: Path, plan: Plan, site: Sharing, people: Sequence[Person]) -> Written:
    """Write a release into a new folder, mode 0700; whole, or not at all.

    Parameters
    ----------
    folder : Path
    plan : Plan
    site : Sharing
    people : sequence of Person
        Whose consent covers it.

    Raises
    ------
    LabError
        If the folder is there, nobody is in it, or a class of people with items is too small.
    """
    if folder.exists() and any(folder.iterdir()):
        raise LabError(f"{folder} is not empty: name a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        written = _write(made, plan, site, people)
        # Otherwise times and order of files would say in which order the site keeps its people.
        for path in made.rglob("*"):
            os.utime(path, (_MTIME, _MTIME))
        made.rename(folder)
    except BaseException:
        shutil.rmtree(made)
        raise
    os.utime(folder, (_MTIME, _MTIME))
    return written


def _write(folder: Path, plan: Plan, site: Sharing, people: Sequence[Person]) -> Written:
    key, consents = site.key, site.consents
    stated = {person.patient: person_file(person, consents, plan, key) for person in people}
    allowed = _of_large_classes(stated, plan)
    items: dict[str, list[ItemFile]] = {}
    for person in sorted(people, key=lambda person: stated[person.patient].person):
        if person.patient in allowed:
            written = _write_person(folder, plan, site, person, stated[person.patient])
            if written:
                items[person.patient] = written
    # Whoever has no item hides nobody: classes are counted again.
    kept = _of_large_classes({name: stated[name] for name in items}, plan)
    if not kept:
        raise LabError(
            f"nobody may be in this release: no consent covers {plan.purpose}, nobody of them has "
            "an item, or all are withheld"
        )
    for name in set(items) - kept:
        shutil.rmtree(folder / PEOPLE / stated[name].person)
    found = [item for name in kept for item in items[name]]
    manifest = Manifest(
        release=plan.release,
        purpose=plan.purpose,
        site=key.name("site", consents.site),
        k=plan.k,
        age_width=plan.age_width,
        people=len(kept),
        withheld=len(people) - len(allowed) + len(items) - len(kept),
        items={
            kind: sum(item.kind == kind for item in found) for kind in ("episode", "background")
        },
        hours=round(sum(item.samples / item.rate_hz for item in found) / 3600, 3),
        forms=_forms(site.file, consents, [one for one in people if one.patient in kept]),
        software=f"tocsin {__version__}",
        models=dict(plan.models),
        files={},
    )
    (folder / CARD).write_text(data_card(manifest, consents), encoding="utf-8")
    manifest = msgspec.structs.replace(manifest, files=hashes(folder))
    content = _json(manifest)
    (folder / MANIFEST).write_bytes(content)
    names = {name: tuple(sorted(item.item for item in items[name])) for name in sorted(kept)}
    return Written(manifest, hashlib.sha256(content).hexdigest(), names)


def _of_large_classes(stated: Mapping[str, PersonFile], plan: Plan) -> set[str]:
    """Return the people whose class has at least k, of those who are given."""
    small = small_classes(stated.values(), plan.k)
    if small and not plan.withhold:
        raise LabError(
            f"{len(small)} classes of site, age and sex have fewer than {plan.k} people with ECG "
            f"({sum(small.values())} people): coarser bands by --age-width, or --withhold them"
        )
    return {name for name, person in stated.items() if class_of(person) not in small}


def _write_person(
    folder: Path, plan: Plan, site: Sharing, person: Person, stated: PersonFile
) -> list[ItemFile]:
    """Write the items of a person, and return what is stated about each."""
    into = folder / PEOPLE / stated.person
    written = []
    for item in _ordered(site.items_of(person)):
        into.mkdir(parents=True, exist_ok=True)
        written.append(write_item(into, item, plan.purpose, person.patient, site.key))
    if written:
        (into / "person.json").write_bytes(_json(stated))
    return written


def person_file(person: Person, consents: Consents, plan: Plan, key: SiteKey) -> PersonFile:
    """Return what a release states about a person; the age is that at the consent."""
    return PersonFile(
        person=key.name("person", plan.purpose, person.patient),
        site=key.name("site", consents.site),
        age_band=age_band(person.born, person.given.year, plan.age_width),
        sex=person.sex,
    )


def write_item(into: Path, item: Item, purpose: str, patient: str, key: SiteKey) -> ItemFile:
    """Write an item and return what is stated about it."""
    name = key.name("item", purpose, patient, item.kind, item.source)
    # The recordings of a person that state a date share one shift: intervals between them stay.
    recording = "" if item.at is not None else item.source.split("@")[0]
    began = item.at if item.at is not None else ORIGIN + timedelta(seconds=item.offset_s)
    at = began + shift(key, purpose, patient, recording)
    stated = item_file(item, name, key.name("person", purpose, patient), at)
    write_excerpt(into, name, item.rate_hz, lead_names(item.leads), item.samples_mv)
    marks = [Mark(row, MNEMONICS[label]) for row, label in beats_of(item)]
    write_marks(name, into, ANNOTATOR, marks, rate_hz=item.rate_hz)
    (into / f"{name}.json").write_bytes(_json(stated))
    return stated


def hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a release but the manifest, by path."""
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file != folder / MANIFEST
    }


def data_card(manifest: Manifest, consents: Consents) -> str:
    """Return the data card: what was shared, in words for the people whose ECG it is."""
    licences = ", ".join(sorted({form.licence for form in manifest.forms.values()}))
    episodes, background = manifest.items["episode"], manifest.items["background"]
    return f"""# Data card: release {manifest.release}

**What is in it.** Short pieces of heart recordings (ECG) of {manifest.people} people: {episodes}
around an alarm, {background} without one, {manifest.hours:.1f} hours in all. Beside each piece: the
kind of alarm, the heart rate, the labels of the heartbeats, an age band of {manifest.age_width}
years, and the sex.

**What is not in it.** No name, address, number, date or time of day, place, device, or text that
anybody wrote. Times are moved into the 22nd century, by another amount for each person.

**What it is for.** {manifest.purpose}. Only people who agreed to this in writing are in it.

**Can somebody recognise me?** By the files alone, nobody should be able to: at least {manifest.k}
people share each combination of place, age band and sex. Who already holds another ECG of yours
could compare the two: a heartbeat is as personal as a voice. That is why the law counts these data
as personal, and whoever receives them must protect them.

**Licence.** {licences}.

**I no longer want this.** Write to {consents.contact}. You need give no reason. You are left out of
every later release; we name those who received your recordings before, and ask them to delete them.

**Who is responsible.** {consents.controller}.

**How to check it.** `tocsin pool verify` recomputes the figures of this card and looks for anything
that should not be here.
"""


def _ordered(items: Iterable[Item]) -> list[Item]:
    return sorted(items, key=lambda item: (item.kind, item.source))


def _forms(file: Path, consents: Consents, people: Sequence[Person]) -> dict[str, FormUsed]:
    return {
        name: FormUsed(
            sha256=form_hash(file, consents, name),
            licence=consents.form[name].licence,
            people=sum(person.form == name for person in people),
        )
        for name in sorted({person.form for person in people})
    }


def _json(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value, order="deterministic"), indent=1) + b"\n"
