"""The consent file of a site: who allowed what, for which purpose, until when. It never leaves."""

from __future__ import annotations

import hashlib
from datetime import date
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from tocsin_agent.errors import LabError

Name: TypeAlias = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$(?!\n)")]
Data: TypeAlias = Literal["episodes", "background"]
Sex: TypeAlias = Literal["f", "m", "x", "unknown"]


class Form(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A form of consent as people signed it; the same for all of them."""

    purposes: Annotated[tuple[Name, ...], Meta(min_length=1)]
    data: Annotated[tuple[Data, ...], Meta(min_length=1)]
    licence: Annotated[str, Meta(min_length=1, max_length=64)]
    text: Annotated[str, Meta(description="The file of the form, relative to this one.")]


class Person(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A person who signed a form. Nothing of this is exported but bands of age and sex."""

    patient: Annotated[
        str, Meta(min_length=1, description="As the alerts and this site name them.")
    ]
    form: Name
    given: date
    expires: date | None = None
    withdrawn: date | None = None
    born: Annotated[int, Meta(ge=1880, le=2200, description="Year of birth.")] | None = None
    sex: Sex = "unknown"
    records: Annotated[
        tuple[str, ...], Meta(description="Recordings of this person, such as `svdb/800`.")
    ] = ()
    identifiers: Annotated[
        tuple[str, ...],
        Meta(description="Names, numbers, serials of devices: `verify` looks for them."),
    ] = ()


class Consents(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The consent file."""

    schema: Literal["tocsin/consents/v1"]
    site: Annotated[str, Meta(min_length=1)]
    controller: Annotated[str, Meta(description="Who answers for the data; on the data card.")]
    contact: Annotated[str, Meta(description="Where people withdraw; on the data card.")]
    form: dict[Name, Form]
    person: tuple[Person, ...] = ()

    def allowed(self, purpose: str, on: date, revoked: frozenset[str]) -> list[Person]:
        """Return the people whose consent covers a purpose on a day, sorted by name."""
        return sorted(
            (
                person
                for person in self.person
                if person.patient not in revoked
                and purpose in self.form[person.form].purposes
                and person.given <= on
                and (person.expires is None or on < person.expires)
                and (person.withdrawn is None or on < person.withdrawn)
            ),
            key=lambda person: person.patient,
        )


def read_consents(file: Path) -> Consents:
    """Read a consent file.

    Raises
    ------
    LabError
        If it cannot be read, has an unknown key, names a form that is not there, or a person twice.
    """
    try:
        found = msgspec.toml.decode(file.read_bytes(), type=Consents)
    except (OSError, ValueError) as error:
        raise LabError(f"{file}: {error}; docs/sharing.md shows a consent file") from error
    names = [person.patient for person in found.person]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise LabError(f"{file}: {', '.join(twice)} is there twice: one consent a person")
    for person in found.person:
        if person.form not in found.form:
            raise LabError(f"{file}: {person.patient} signed {person.form!r}, which is no [form]")
    for name in found.form:
        form_hash(file, found, name)
    return found


def form_hash(file: Path, consents: Consents, name: str) -> str:
    """Return the SHA-256 of the text of a form.

    Raises
    ------
    LabError
        If it cannot be read.
    """
    text = file.parent / consents.form[name].text
    try:
        return hashlib.sha256(text.read_bytes()).hexdigest()
    except OSError as error:
        raise LabError(f"{file}: the text of the form {name} cannot be read: {error}") from error
