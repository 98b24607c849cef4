"""The option with which a receiver chooses the language."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from tocsin_agent.team.language import Language

F = TypeVar("F", bound=Callable[..., Any])


def language_option(command: F) -> F:
    """Add the option to a command; `language_from` reads it."""
    return click.option(
        "--language",
        envvar="TOCSIN_LANGUAGE",
        metavar="CODE",
        default=None,
        help="Language of the text: en, fr or de.  [default: that of the system, else en]",
    )(command)


def language_from(code: str | None) -> Language:
    """Return the language that was chosen, or that of the system.

    Raises
    ------
    click.UsageError
        If there is no such language.
    """
    from tocsin_agent.team.language import load_language, preferred

    try:
        return load_language(code or preferred(os.environ))
    except ValueError as exc:
        raise click.UsageError(f"--language: {exc}") from exc
