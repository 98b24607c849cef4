"""`tocsin identity`: who a gateway is at its broker."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tocsin_agent.cli._broker_options import broker_options, settings_from
from tocsin_agent.cli.common import FiniteRange

if TYPE_CHECKING:
    from tocsin_agent.identity.certificates import Certificate

_FILE = click.Path(path_type=Path, dir_okay=False)
_folder = click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("/var/lib/tocsin/identity"),
    show_default=True,
    help="Where the keys and certificates of this gateway are.",
)


@click.group("identity")
def command() -> None:
    """Give a gateway a key and a certificate, show them, and renew them.

    The key is made on the gateway and stays there. The site signs the request for its certificate:
    over the broker for a gateway that has a one-time token, or on a stick.

    \b
    At the site, where the key of the authority is; `serve` also renews:
      tocsin identity token tokens.json --site ward3 --device bed7
      tocsin identity serve tokens.json --site ward3 --ca ca.pem --ca-key ca.key --broker HOST
    On the gateway:
      tocsin identity join --token-file FILE --broker HOST:8884 --ca-file ca.pem --config FILE
    \b
    Or on the gateway, with the stick of the site:
      tocsin identity enrol /media/stick/bed-12.toml --config /etc/tocsin/tocsin.toml
    At the site, where the key of the authority is:
      tocsin identity sign bed-12.csr --device bed-12 --ca ca.pem --ca-key ca.key
    On the gateway:
      tocsin identity install /media/stick/bed-12.pem
    When a third of the time is left, a running agent asks `serve` for the next certificate.
    Where nobody serves (`show` says that it is due, with exit code 1):
      tocsin identity renew bed-12.csr
    then sign and install again. A running agent uses the new certificate at its next connection.
    """  # noqa: D301 - \b keeps click from joining the lines


@command.command("enrol")
@click.argument("file", type=_FILE)
@_folder
@click.option(
    "--config", type=_FILE, help="Write a configuration to this file, if it is not there."
)
@click.option(
    "--request", "out", type=_FILE, help="Where the request goes.  [default: beside FILE]"
)
def enrol(file: Path, folder: Path, config: Path | None, out: Path | None) -> None:
    """Start a gateway from FILE (TOML: site, device, source, [broker] host, port, ca)."""
    from tocsin_agent.identity.enrolment import configuration, read_enrolment
    from tocsin_agent.identity.store import IdentityStore

    enrolment = read_enrolment(file)
    folder = folder.absolute()
    asked = IdentityStore(folder).enrol(enrolment.device, enrolment.broker.ca.encode())
    if config is not None:
        _write_configuration(config, configuration(enrolment, folder))
    out = out or file.with_name(f"{enrolment.device}.csr")
    _write(out, asked)
    click.echo(f"{out}: to be signed by the site")


@command.command("join")
@click.option(
    "--token-file", type=_FILE, help="File with the token of the site; asked for if missing."
)
@broker_options
@_folder
@click.option(
    "--config", type=_FILE, help="Write a configuration to this file, if it is not there."
)
@click.option("--source", default="synthetic", show_default=True, help="In that configuration.")
@click.option(
    "--agent-port",
    type=click.IntRange(1, 65535),
    default=8883,
    show_default=True,
    help="In that configuration: where the broker asks for the certificate.",
)
@click.option(
    "--wait",
    "wait_s",
    type=FiniteRange(1, 86_400),
    default=300.0,
    show_default=True,
    help="Longest wait for the site, in seconds.",
)
def join(  # noqa: PLR0917  # click passes them by name
    token_file: Path | None,
    folder: Path,
    config: Path | None,
    source: str,
    agent_port: int,
    wait_s: float,
    **broker: Any,  # noqa: ANN401
) -> None:
    """Get the first certificate of this gateway over the broker, with a one-time token.

    The token says who the gateway will be. Interrupted, the same command goes on.
    """
    from tocsin_agent.identity import online
    from tocsin_agent.identity.enrolment import Broker, Enrolment, configuration
    from tocsin_agent.identity.store import IdentityStore
    from tocsin_agent.identity.tokens import Token

    settings = settings_from(broker)
    if settings.tls is None or settings.tls.ca_file is None:
        raise click.UsageError("--ca-file is needed: it is what this gateway will trust")
    if token_file is None:
        text = str(click.prompt("Token", hide_input=True))
    else:
        text = _read(token_file).decode("ascii", "replace")
    token = Token.parse(text)
    ca, folder = _read(Path(settings.tls.ca_file)), folder.absolute()
    found = online.join(
        settings,
        token,
        IdentityStore(folder),
        ca,
        wait_s=wait_s,
        say=lambda t: click.echo(t, err=True),
    )
    click.echo(f"{found.name}: in use until {found.ends.isoformat()}")
    if config is not None:
        named = Broker(settings.host, ca.decode(), agent_port)
        enrolment = Enrolment(token.site, token.device, named, source)
        _write_configuration(config, configuration(enrolment, folder))


@command.command("token")
@click.argument("file", type=_FILE)
@click.option("--site", required=True, help="The site, as in the topics.")
@click.option("--device", required=True, help="Who the gateway will be.")
@click.option(
    "--hours", type=FiniteRange(0.01, 24 * 90), default=24.0, show_default=True,
    help="How long it can be used.",
)  # fmt: skip
def make_token(file: Path, site: str, device: str, hours: float) -> None:
    """Make a one-time token for a gateway, and print it; FILE keeps a hash of it."""
    from datetime import timedelta

    from tocsin_agent.identity.tokens import TokenFile

    click.echo(TokenFile(file, site).add(device, datetime.now(UTC) + timedelta(hours=hours)))


@command.command("revoke")
@click.argument("file", type=_FILE)
@click.option("--site", required=True, help="The site, as in the topics.")
@click.option("--device", required=True, help="Whose certificate is not renewed any more.")
def revoke(file: Path, site: str, device: str) -> None:
    """Refuse renewals of a device, and remove its tokens from FILE.

    Its certificate is valid until it ends: remove the user from the broker's access list as well.
    It is not renewed either where the device enrols again, with a new token.
    """
    from tocsin_agent.identity.tokens import TokenFile

    removed = TokenFile(file, site).revoke(device, datetime.now(UTC))
    click.echo(f"{device}: not renewed any more; {removed} tokens removed")


@command.command("serve")
@click.argument("file", type=_FILE)
@click.option("--site", required=True, help="The site, as in the topics.")
@click.option("--ca", type=_FILE, required=True, help="Certificate of the authority, PEM.")
@click.option("--ca-key", type=_FILE, required=True, help="Its private key, PEM.")
@click.option("--days", type=click.IntRange(1, 3650), default=365, show_default=True)
@broker_options
def serve(file: Path, *, site: str, ca: Path, ca_key: Path, days: int, **broker: Any) -> None:  # noqa: ANN401
    """Sign requests that come over the broker, at the site, until stopped.

    Signed is who has a token that FILE knows, has not expired and was not used by another key, and
    who has a certificate of this authority that is still valid, under the same name.
    """
    from tocsin_agent.cli.common import stopped_by_signals
    from tocsin_agent.identity import online
    from tocsin_agent.identity.desk import Desk
    from tocsin_agent.identity.tokens import TokenFile
    from tocsin_agent.messages.topics import check_level
    from tocsin_agent.runtime.logs import log_to_stderr

    try:
        check_level(site, "site")
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    settings = settings_from(broker)
    log_to_stderr("info", "text")
    desk = Desk(TokenFile(file, site), ca, ca_key, days=days)
    with stopped_by_signals() as (stop, _):
        online.serve(settings, site, desk, stop, say=lambda text: click.echo(text, err=True))


@command.command("sign")
@click.argument("file", type=_FILE)
@click.option("--device", required=True, help="Which device may have the certificate.")
@click.option("--ca", type=_FILE, required=True, help="Certificate of the authority, PEM.")
@click.option("--ca-key", type=_FILE, required=True, help="Its private key, PEM.")
@click.option("--days", type=click.IntRange(1, 3650), default=365, show_default=True)
@click.option("--out", type=_FILE, help="The certificate.  [default: FILE with .pem]")
def sign(file: Path, *, device: str, ca: Path, ca_key: Path, days: int, out: Path | None) -> None:
    """Sign the request FILE of a gateway, at the site."""
    from tocsin_agent.identity import certificates

    signed = certificates.sign(
        _read(file), _read(ca), _read(ca_key), device, days=days, now=datetime.now(UTC)
    )
    out = out or file.with_suffix(".pem")
    _write(out, signed)
    click.echo(f"{out}: {device}, until {certificates.describe(signed).ends.isoformat()}")


@command.command("install")
@click.argument("file", type=_FILE)
@_folder
def install(file: Path, folder: Path) -> None:
    """Use the certificate FILE that the site has signed."""
    from tocsin_agent.identity.store import IdentityStore

    found = IdentityStore(folder).install(_read(file), datetime.now(UTC))
    click.echo(f"{found.name}: in use until {found.ends.isoformat()}")


@command.command("renew")
@click.argument("file", type=_FILE)
@_folder
@click.option("--now", "at_once", is_flag=True, help="Also where it is not due.")
def renew(file: Path, folder: Path, at_once: bool) -> None:
    """Make a new key, and write the request for its certificate to FILE, if that is due."""
    from tocsin_agent.identity.store import IdentityStore

    store = IdentityStore(folder)
    current = store.current()
    if current is not None and not at_once and datetime.now(UTC) < current.renew_from:
        click.echo(f"not due before {current.renew_from.isoformat()}")
        return
    _write(file, store.renew())
    click.echo(f"{file}: to be signed by the site")


@command.command("show")
@_folder
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def show(context: click.Context, folder: Path, as_json: bool) -> None:
    """Show the certificate in use; exit code 1 where there is none, it is due or it has ended."""
    import json

    from tocsin_agent.identity.store import IdentityStore

    current = IdentityStore(folder).current()
    state = _state(current)
    if as_json:
        stated = {} if current is None else current._asdict() | {"renew_from": current.renew_from}
        click.echo(json.dumps({"state": state, **stated}, default=datetime.isoformat))
    elif current is None:
        click.echo(f"{folder} has no certificate: `tocsin identity --help` says how to get one")
    else:
        click.echo(f"name        {current.name}\nissuer      {current.issuer}")
        click.echo(
            f"from        {current.begins.isoformat()}\nuntil       {current.ends.isoformat()}"
        )
        click.echo(f"renew from  {current.renew_from.isoformat()}\nstate       {state}")
    context.exit(0 if state == "valid" else 1)


def _write_configuration(file: Path, text: str) -> None:
    """Write a configuration where there is none; say what was done."""
    if file.exists():
        click.echo(f"{file}: is there already, and stays as it is")
        return
    _write(file, text.encode())
    click.echo(f"{file}: written; check it with `tocsin config check {file}`")


def _state(current: Certificate | None) -> str:
    if current is None:
        return "none"
    now = datetime.now(UTC)
    if now >= current.ends:
        return "ended"
    return "due" if now >= current.renew_from else "valid"


def _read(path: Path) -> bytes:
    from tocsin_agent.errors import SigningError
    from tocsin_agent.regular_file import read_regular

    try:
        return read_regular(path, 256 * 1024)
    except OSError as error:
        raise SigningError(f"{path} cannot be read: {error.strerror}") from error


def _write(path: Path, content: bytes) -> None:
    from tocsin_agent.durable_file import replace_file
    from tocsin_agent.errors import SigningError

    try:
        replace_file(path, content)
    except OSError as error:
        raise SigningError(f"{path} cannot be written: {error.strerror}") from error
