"""Refuses a resource that no FHIR server would take; needs the extra `fhir`.

R4 by the models of fhir.resources (of R4B, in which Bundle, Device, Flag, Observation and
Provenance are those of R4). R6 has no such models yet: DeviceAlert by the elements of
6.0.0-snapshot1, the others by the models of R5.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from tocsin_agent.extras import import_extra
from tocsin_agent.team.export.fhir import Resource

_MODELS = {"R4": "fhir.resources.R4B", "R6": "fhir.resources"}


class InvalidResourceError(ValueError):
    """A resource that breaks the rules of FHIR."""


class _Base(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Refuses elements that are not published."""


class _Coding(_Base):
    system: str
    code: Annotated[str, Meta(pattern=r"^\S+( \S+)*$(?!\n)")]
    display: str | None = None


class _Concept(_Base):
    coding: Annotated[list[_Coding], Meta(min_length=1)]
    text: Annotated[str, Meta(min_length=1)] | None = None


class _Identifier(_Base):
    system: str
    value: Annotated[str, Meta(min_length=1)]


class _Reference(_Base):
    reference: str | None = None
    type: str | None = None
    identifier: _Identifier | None = None
    display: str | None = None


class _Period(_Base):
    start: str
    end: str | None = None


class _DerivedFrom(_Base):
    observation: _Reference


class _DeviceAlert(_Base, kw_only=True):
    """The elements of DeviceAlert in 6.0.0-snapshot1 that tocsin writes.

    Reason for its size: one field an element.
    """

    resource_type: Literal["DeviceAlert"] = msgspec.field(name="resourceType")
    id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9\-.]{1,64}$(?!\n)")]
    meta: dict[str, Any] | None = None
    identifier: list[_Identifier] = []
    status: Literal["in-progress", "completed", "entered-in-error", "unknown"]
    type: _Concept
    priority: _Concept
    code: _Concept
    subject: _Reference
    occurrence: _Period
    device: _Reference
    derivedFrom: list[_DerivedFrom] = []  # noqa: N815 - as FHIR spells it
    label: Annotated[str, Meta(min_length=1)]


def check(resource: Resource, release: str) -> None:
    """Refuse a resource that is not valid.

    Parameters
    ----------
    resource : dict
    release : str
        `R4` or `R6`.

    Raises
    ------
    InvalidResourceError
        With the element and what is wrong with it.
    MissingExtraError
        Without the extra.
    """
    name = resource["resourceType"]
    try:
        if name == "DeviceAlert":
            msgspec.convert(resource, _DeviceAlert)
            return
        module = import_extra(f"{_MODELS[release]}.{name.lower()}", "fhir", "FHIR")
        getattr(module, name).model_validate(resource)
    except ValueError as exc:  # those of msgspec and of pydantic
        raise InvalidResourceError(f"{name}/{resource.get('id')}: {exc}") from exc
