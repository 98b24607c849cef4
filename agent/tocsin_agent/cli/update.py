"""`tocsin update`: updates of the agent itself."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tocsin_agent.runtime.agent_update import AgentUpdate


@click.group("update")
def command() -> None:
    """Update the agent itself, where it may not stop monitoring for long.

    A bundle holds a whole version, signed by the keys that the configuration names. It is unpacked
    beside the version in use and compared with it: both analyse the last minute of the running
    agent's samples and a scripted patient, and nothing of that is sent. Then the running agent ends
    and the new one starts. It is kept if it is healthy, without a fault, for update.healthy_s;
    otherwise the version before starts again by itself.

    \b
    The vendor, in the folder of the project:
      tocsin key new vendor.pem
      dpkg-deb -x tocsin_0.2.0_amd64.deb tree
      tocsin update make tree/opt/tocsin/lib/python3.11/site-packages --release 7 \\
             --expires 2027-06-30 --out tocsin-0.2.0.bundle
      tocsin update sign tocsin-0.2.0.bundle --key vendor.pem
    The device, with `folder` and `keys` under [update] in the configuration:
      tocsin update agent tocsin-0.2.0.bundle
      tocsin update status
      tocsin update back

    Exit codes: 0 done, 3 the configuration has no folder or no keys, 7 refused, or left again.
    """  # noqa: D301 - \b keeps click from joining the lines


_FILE = click.Path(path_type=Path, dir_okay=False)
_config = click.option(
    "--config",
    "config",
    type=_FILE,
    envvar="TOCSIN_CONFIG",
    default=Path("/etc/tocsin/tocsin.toml"),
    show_default=True,
    help="The file that the agent runs with; also from TOCSIN_CONFIG.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_older = click.option(
    "--older", is_flag=True, help="Accept a release older than one that was in use."
)
_one_way = click.option(
    "--one-way",
    is_flag=True,
    help="Accept a version whose outbox the one in use cannot read: there is no way back.",
)


@command.command("agent")
@click.argument("bundle", type=_FILE)
@_config
@_older
@_one_way
@click.option(
    "--accept-differences",
    is_flag=True,
    help="Accept that it misses or delays alarms of high priority in the comparison, or beats.",
)
@click.option(
    "--offline", is_flag=True, help="No agent runs now: try the version at the next start."
)
def agent(  # noqa: PLR0917 - click passes them by name
    bundle: Path,
    config: Path,
    older: bool,
    one_way: bool,
    accept_differences: bool,
    offline: bool,
) -> None:
    """Check BUNDLE, compare it with the version in use, and use it if it stays healthy.

    It takes two to three minutes; monitoring is interrupted for some seconds. Differences in the
    comparison are printed, and are in the audit trail.
    """
    from tocsin_agent.runtime.agent_update import Allowed
    from tocsin_agent.updates.bundle import open_bundle

    with open_bundle(bundle) as file:  # before root becomes the agent's user, who may not read it
        allowed = Allowed(older, one_way, accept_differences, offline)
        manifest = _update(config).run(file, allowed)
    click.echo(f"{manifest.name} {'is installed' if offline else 'is in use'}")


@command.command("verify")
@click.argument("bundle", type=_FILE)
@_config
@_older
@_one_way
@_json
def verify(bundle: Path, config: Path, older: bool, one_way: bool, as_json: bool) -> None:
    """Check whether BUNDLE would be accepted, and change nothing."""
    import msgspec

    from tocsin_agent.runtime.agent_update import Allowed
    from tocsin_agent.updates.bundle import open_bundle

    with open_bundle(bundle) as file:
        manifest = _update(config).check(file, Allowed(older, one_way))
    if as_json:
        stated = {n: getattr(manifest, n) for n in ("version", "release", "python", "machine")}
        click.echo(msgspec.json.encode(stated | {"expires": manifest.expires}).decode())
    else:
        click.echo(f"{manifest.name} would be accepted; it expires on {manifest.expires:%Y-%m-%d}")


@command.command("status")
@_config
@_json
def status(config: Path, as_json: bool) -> None:
    """Show which version is in use, which one is tried, and why one was left."""
    import msgspec

    from tocsin_agent import __version__
    from tocsin_agent.runtime.launch import unusable
    from tocsin_agent.updates.slot_state import NAMES, PACKAGE
    from tocsin_agent.updates.slots import Slots

    settings = _update(config).settings
    slots = Slots(Path(settings.folder or ""))
    state = slots.state()
    faults = {name: unusable(slots, name, settings) for name in NAMES if slots.path(name).exists()}
    versions = {name: _version(slots.path(name)) for name in faults} | {PACKAGE: __version__}
    if as_json:
        shown = msgspec.to_builtins(state) | {"versions": versions, "unusable": faults}
        click.echo(msgspec.json.encode(shown).decode())
        return
    for name, version in versions.items():
        use = [
            word
            for word, slot in (
                ("in use", state.confirmed),
                ("before it", state.previous),
                ("tried", state.trial.slot if state.trial else ""),
                ("runs", state.running),
            )
            if slot == name
        ]
        fault = f"; cannot be used: {faults[name]}" if faults.get(name) else ""
        click.echo(f"{name}: {version}: {', '.join(use) or 'not used'}{fault}")
    if state.left:
        click.echo(f"the last trial was left: {state.left}")


@command.command("back")
@_config
def back(config: Path) -> None:
    """Use the version before the one in use again; it must stay healthy, too."""
    slot = _update(config).back()
    click.echo(f"{slot} is in use")


@command.command("make")
@click.argument("site", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option(
    "--release", type=click.IntRange(1), required=True, help="Number of the release; it counts up."
)
@click.option(
    "--expires",
    type=click.DateTime(["%Y-%m-%d"]),
    required=True,
    help="It is not accepted afterwards; a version in use does not expire.",
)
@click.option(
    "--least-release",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="The lowest release that it may follow; the package counts as 0.",
)
@click.option("--plain", is_flag=True, help="Do not compress it: what carries it does.")
@click.option("--out", type=_FILE, required=True, help="The bundle to write.")
def make(  # noqa: PLR0917 - click passes them by name
    site: Path, release: int, expires: datetime, least_release: int, plain: bool, out: Path
) -> None:
    """Make a bundle of SITE: the site-packages of the Debian package, or of another environment.

    It states for which Python and processor the compiled modules in SITE were built.
    """
    from datetime import UTC

    from tocsin_agent.updates.bundle import make as make_bundle

    level = None if plain else 6
    made = make_bundle(site, out, release, expires.replace(tzinfo=UTC), least_release, level)
    click.echo(
        f"{out}: {made.name} for Python {made.python} on {made.machine}, "
        f"{made.unpacked_bytes >> 20} MB unpacked; sign it: tocsin update sign {out} --key KEY"
    )


@command.command("sign")
@click.argument("bundle", type=_FILE)
@click.option("--key", type=_FILE, required=True, help="A private key: ed25519, PEM.")
def sign(bundle: Path, key: Path) -> None:
    """Add a signature to BUNDLE: the vendor's, or that of the site."""
    from tocsin_agent.updates.bundle import sign as sign_bundle

    sign_bundle(bundle, key)
    click.echo(f"{bundle}: signed")


def _version(folder: Path) -> str:
    """Return what the manifest of a slot states, verified or not."""
    from tocsin_agent.errors import UpdateError
    from tocsin_agent.updates.bundle import MANIFEST
    from tocsin_agent.updates.manifest import decode

    try:
        return decode((folder / MANIFEST).read_bytes()).name
    except (OSError, UpdateError):
        return "unknown"


def _update(file: Path) -> AgentUpdate:
    import os

    from tocsin_agent.cli.common import become_the_user, outbox_folder
    from tocsin_agent.config.several import common_outbox, load_patients
    from tocsin_agent.errors import ConfigError
    from tocsin_agent.runtime.agent_update import AgentUpdate

    become_the_user(file)
    configs = load_patients(file, os.environ)
    if configs[0].update.folder is None:
        raise ConfigError(
            f"{file}: [update] folder is unset, and the agent is not updated without it",
            "update.folder",
        )
    asked = common_outbox(configs)
    folder = outbox_folder(asked)
    outboxes = [folder / config.outbox.path for config in configs]

    def say(text: str) -> None:
        click.echo(text, err=True)

    return AgentUpdate(configs, file, folder / asked, outboxes, say)
