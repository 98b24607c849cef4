"""Keys of devices and people, and the files that trust them."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from tocsin_agent.cli.key import command
from tocsin_agent.signing.envelope import Signer
from tocsin_agent.signing.keys import load_private_key, new_private_key, public_bytes


def make_key(folder: Path, name: str) -> Path:
    """Write a private key and return its file."""
    file = folder / f"{name}.pem"
    new_private_key(file)
    return file


def key_command(*arguments: object) -> str:
    """Run `tocsin key`, which must succeed, and return what it prints."""
    done = CliRunner().invoke(command, [str(one) for one in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def trust(keys: Path, name: str, private: Path, *roles: str) -> str:
    """Add the public key of a private one to a file of keys; return its id."""
    from base64 import b64encode

    raw = public_bytes(load_private_key(private).public_key())
    options = [part for role in roles for part in ("--role", role)]
    key_command("add", keys, "--name", name, "--public", b64encode(raw).decode(), *options)
    return Signer.from_file(private).id
