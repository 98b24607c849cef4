"""Who is monitored: section `patient` of the configuration."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from tocsin_agent.messages.context import PatientContext
from tocsin_agent.messages.topics import check_level
from tocsin_agent.monitor.alarms.context import refuse


class PatientSettings(PatientContext, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The patient, and what is known of them; a `context` message replaces what is known."""

    id: Annotated[
        str | None, Meta(description="A pseudonym that the site can resolve; not a name.")
    ] = None
    location: Annotated[
        str | None, Meta(description="Where help must go, in the words of the team.")
    ] = None
    roles: Annotated[
        tuple[str, ...],
        Meta(description="Roles that may send a `context` message; none: every one is refused."),
    ] = ("cardiologist", "team")

    def __post_init__(self) -> None:
        for role in self.roles:
            check_level(role, "role")
        if complaint := refuse(self):
            raise ValueError(complaint)
