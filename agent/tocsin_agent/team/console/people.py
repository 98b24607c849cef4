"""Who may log in, in which role, and what a role may do: a TOML file with argon2 hashes.

The file is written by `tocsin console user`, and read again when it changes.
"""

from __future__ import annotations

import logging
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from msgspec import Meta

from tocsin_agent.errors import ConfigError
from tocsin_agent.regular_file import read_regular
from tocsin_agent.team.console.protocol import Right
from tocsin_agent.team.console.settings import Role

log = logging.getLogger(__name__)

RIGHTS: Mapping[Role, tuple[Right, ...]] = {
    "viewer": ("read",),
    "responder": ("read", "answer"),
    "cardiologist": ("read", "answer", "presence", "review"),
    "admin": ("read", "answer", "presence", "review", "audit"),
}
ROLES: tuple[Role, ...] = ("viewer", "responder", "cardiologist", "admin")
"""The role with the fewest rights first."""
MIN_PASSWORD_CHARS = 12
MAX_PASSWORD_CHARS = 1024
_MAX_BYTES = 1_048_576
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$(?!\n)")


class User(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A person of the file."""

    role: Role
    password: Annotated[str, Meta(max_length=512)]
    """An argon2 hash."""
    language: str = ""


class _File(msgspec.Struct, forbid_unknown_fields=True):
    users: dict[str, User] = {}


class People:
    """The people of a file, or nobody without one.

    Parameters
    ----------
    file : Path or None
    """

    def __init__(self, file: Path | None) -> None:
        self._file, self._hasher = file, PasswordHasher()
        self._users: dict[str, User] = {}
        self._stamp: tuple[int, int] | None = None
        # Compared with where there is no such user, so that the time does not tell who exists.
        self._nobody = self._hasher.hash(os.urandom(16).hex())
        if file is not None:
            self._users = read_people(file)

    def get(self, name: str) -> User | None:
        """Return a person; None if there is none of that name (any more)."""
        self._refresh()
        return self._users.get(name)

    def check(self, name: str, password: str) -> User | None:
        """Return the person with this name and password; slow on purpose, for a thread."""
        user = self.get(name)
        wanted = user.password if user is not None else self._nobody
        try:
            self._hasher.verify(wanted, password[:MAX_PASSWORD_CHARS])
        except (VerificationError, InvalidHashError):
            return None
        return user

    def _refresh(self) -> None:
        if self._file is None:
            return
        try:
            found = self._file.stat()
            stamp = (found.st_mtime_ns, found.st_size)
            if stamp != self._stamp:
                self._users, self._stamp = read_people(self._file), stamp
        except (OSError, ConfigError) as exc:
            log.error("%s; the people known before may log in", exc)  # noqa: TRY400


def read_people(file: Path) -> dict[str, User]:
    """Return the people of a file, by name; none if there is no such file.

    Raises
    ------
    ConfigError
        If it cannot be read or holds something else.
    """
    try:
        raw = read_regular(file, _MAX_BYTES).decode()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{file}: cannot read the people: {exc}") from exc
    try:
        users = msgspec.toml.decode(raw, type=_File).users
    except (msgspec.ValidationError, tomllib.TOMLDecodeError, RecursionError) as exc:
        raise ConfigError(f"{file}: {exc}; write it by `tocsin console user`") from exc
    for name in users:
        check_name(name)
    return users


def write_people(file: Path, users: Mapping[str, User]) -> None:
    """Write the file anew, mode 0600, by a rename."""
    lines = ["# Written by `tocsin console user`: passwords are argon2 hashes.\n"]
    for name, user in sorted(users.items()):
        lines.append(f'\n[users."{name}"]\nrole = "{user.role}"\npassword = "{user.password}"\n')
        if user.language:
            lines.append(f'language = "{user.language}"\n')
    new = file.with_name(file.name + ".new")
    new.unlink(missing_ok=True)
    new.touch(0o600)
    new.write_text("".join(lines), encoding="utf-8")
    new.replace(file)


def check_name(name: str) -> str:
    """Return a name if a person can have it.

    Raises
    ------
    ConfigError
        If not.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot be a user: use 1 to 64 letters, digits or any of . _ @ -, the first "
            "a letter or a digit"
        )
    return name


def hash_password(password: str) -> str:
    """Return the argon2 hash of a password.

    Raises
    ------
    ConfigError
        If it is too short or too long.
    """
    if not MIN_PASSWORD_CHARS <= len(password) <= MAX_PASSWORD_CHARS:
        raise ConfigError(
            f"the password has {len(password)} characters, {MIN_PASSWORD_CHARS} to "
            f"{MAX_PASSWORD_CHARS} are allowed"
        )
    return PasswordHasher().hash(password)
