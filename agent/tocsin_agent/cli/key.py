"""`tocsin key`: the keys that sign messages, and whose are trusted."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

_FILE = click.Path(path_type=Path, dir_okay=False)
_SPAN = {"m": 60.0, "h": 3600.0, "d": 86_400.0}


@click.group("key")
def command() -> None:
    """Make keys, say whose are trusted, and revoke them.

    A device signs what it publishes, a person signs acknowledgements, leases and contexts. Each has
    a private key (a PEM file, ed25519). Who receives has a file of public keys that are trusted.

    \b
    On a device, and on the machine of a person:
      tocsin key new bed7.pem             prints the public key
    For all who receive from the device, and on each device for its people:
      tocsin key add keys.toml --name ward3/bed7 --public BASE64
      tocsin key add people.toml --name dr-k --public BASE64 --role team
    A new key in place of an old one, both trusted for two weeks; a key that was lost:
      tocsin key add people.toml --name dr-k --public BASE64
      tocsin key revoke people.toml ID --in 14d --reason replaced
      tocsin key revoke people.toml ID --reason "laptop lost"
    Running agents and receivers read the file again within seconds.
    """  # noqa: D301 - \b keeps click from joining the lines


@command.command("new")
@click.argument("file", type=_FILE)
def new(file: Path) -> None:
    """Make a key, write it to a new FILE that only you can read, and print its public key."""
    from tocsin_agent.signing.keys import new_private_key, public_bytes

    _print(public_bytes(new_private_key(file).public_key()))


@command.command("show")
@click.argument("file", type=_FILE)
def show(file: Path) -> None:
    """Show a private or public key (PEM), or the keys that a file trusts (TOML)."""
    from tocsin_agent.errors import SigningError
    from tocsin_agent.signing.keys import load_private_key, load_public_key, public_bytes

    if file.suffix == ".toml":
        _list(file)
        return
    try:
        key = load_private_key(file).public_key()
    except SigningError:
        key = load_public_key(file)
    _print(public_bytes(key))


@command.command("add")
@click.argument("file", type=_FILE)
@click.option("--name", required=True, help="The pseudonym of a person, or SITE/DEVICE.")
@click.option("--public", help="The public key: base64, as `tocsin key show` prints it.")
@click.option("--key", "pem", type=_FILE, help="Or a PEM file with the public key.")
@click.option("--role", "roles", multiple=True, help="Only in this role; may be repeated.")
def add(
    file: Path, name: str, public: str | None, pem: Path | None, roles: tuple[str, ...]
) -> None:
    """Trust a public key: append it to FILE."""
    import binascii

    from tocsin_agent.errors import SigningError
    from tocsin_agent.signing.keyring import Keyring, TrustedKey, read_keyring
    from tocsin_agent.signing.keys import load_public_key, public_bytes

    if (public is None) is (pem is None):
        raise click.UsageError("give --public, or --key")
    if pem is not None:
        raw = public_bytes(load_public_key(pem))
        public = binascii.b2a_base64(raw, newline=False).decode("ascii")
    key = TrustedKey(name=name, public=public or "", roles=roles)
    Keyring((key,))  # refuses what is none
    known = read_keyring(file) if file.exists() else Keyring()
    if key.id in known.keys:
        raise SigningError(f"{file} has the key {key.id} already")
    listed = f"roles = [{', '.join(map(_text, roles))}]\n" if roles else ""
    _append(file, f"[[key]]\nname = {_text(name)}\npublic = {_text(key.public)}\n{listed}")
    click.echo(f"{file}: {key.id} of {name} is trusted")


@command.command("revoke")
@click.argument("file", type=_FILE)
@click.argument("key")
@click.option("--in", "after", help="Trust it until then: a time such as 36h or 14d.")
@click.option("--reason", default="", help="Why.")
def revoke(file: Path, key: str, after: str | None, reason: str) -> None:
    """Refuse a key (its id), now or after a time: append that to FILE.

    Refused is all that it signs, whatever time the signature states.
    """
    from tocsin_agent.errors import SigningError
    from tocsin_agent.signing.keyring import read_keyring

    if key not in read_keyring(file).keys:
        raise SigningError(f"{file} has no key {key!r}: `tocsin key show {file}` lists them")
    at = datetime.now(UTC).replace(microsecond=0)
    if after is not None:
        found = re.fullmatch(r"(\d{1,4})([mhd])", after)
        if found is None:
            raise click.UsageError(f"--in {after!r}: a time such as 90m, 36h or 14d expected")
        at += timedelta(seconds=int(found[1]) * _SPAN[found[2]])
    why = f"reason = {_text(reason)}\n" if reason else ""
    _append(file, f"[[revoked]]\nid = {_text(key)}\nat = {at.isoformat()}\n{why}")
    click.echo(f"{file}: {key} is refused from {at.isoformat()} on")


def _list(file: Path) -> None:
    from tocsin_agent.messages.printable import clean
    from tocsin_agent.signing.keyring import read_keyring

    keyring, now = read_keyring(file), datetime.now(UTC)
    for key in keyring.keys.values():
        entry, state = keyring.revoked.get(key.id), "trusted"
        if entry is not None:
            when = "revoked since" if entry.at <= now else "trusted until"
            state = f"{when} {entry.at.isoformat()} {clean(entry.reason)}".strip()
        roles = f" ({', '.join(key.roles)})" if key.roles else ""
        click.echo(f"{key.id}  {clean(key.name + roles)}  {state}")


def _print(raw: bytes) -> None:
    import binascii

    from tocsin_agent.signing.keys import key_id

    click.echo(f"id      {key_id(raw)}")
    click.echo(f"public  {binascii.b2a_base64(raw, newline=False).decode('ascii')}")


def _text(value: str) -> str:
    """Return a TOML string: JSON's are valid in it."""
    import json

    return json.dumps(value, ensure_ascii=True)


def _append(file: Path, text: str) -> None:
    from tocsin_agent.errors import SigningError

    try:
        begun = file.exists() and file.stat().st_size > 0
        with file.open("a", encoding="utf-8") as out:
            out.write(f"\n{text}" if begun else text)
    except OSError as error:
        raise SigningError(f"{file} cannot be written: {error.strerror}") from error
