"""The options of commands that sign what they send, or verify what they show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from tocsin_agent.signing.envelope import Signer
    from tocsin_agent.signing.keyring import KeyFile

F = TypeVar("F", bound=Callable[..., Any])

_FILE = click.Path(path_type=Path, dir_okay=False)

sign_option = click.option(
    "--sign-with",
    type=_FILE,
    envvar="TOCSIN_SIGN_WITH",
    default=None,
    help="PEM file with the private key that signs what is sent; see `tocsin key`.",
)
keys_option = click.option(
    "--keys",
    "keys_file",
    type=_FILE,
    envvar="TOCSIN_KEYS",
    default=None,
    help="TOML file of trusted keys: say who signed each message, and mark or refuse the rest.",
)


def signer_from(file: Path | None) -> Signer | None:
    """Return the signer of a key file; None without one."""
    if file is None:
        return None
    from tocsin_agent.signing.envelope import Signer

    return Signer.from_file(file)


def keys_from(file: Path | None) -> KeyFile | None:
    """Return the trusted keys of a file; None without one.

    Raises
    ------
    SigningError
        If it cannot be used now; a file that becomes bad later leaves the last good keys.
    """
    if file is None:
        return None
    from tocsin_agent.signing.keyring import KeyFile, read_keyring

    read_keyring(file)
    return KeyFile(file)
