"""`tocsin model`: updates of models in the field."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tocsin_agent.updates.settings import ModelSettings
    from tocsin_agent.updates.store import ModelStore
    from tocsin_models import Model


@click.group("model")
def command() -> None:
    """Verify, install and roll back models that a vendor has signed.

    A model is three files: beats.onnx (or vf, af, alarms), its card beats.json, and beats.sig, an
    ed25519 signature of the card. The card states SHA-256, inputs and ONNX operator set (13 to 21)
    of the model. The configuration names the vendor's public key and the folder in which installed
    models are kept. Without a key no model is accepted.

    \b
    The vendor, once:
      openssl genpkey -algorithm ed25519 -out vendor.pem
      openssl pkey -in vendor.pem -pubout -out vendor.pub.pem
    For each model, with tocsin or with openssl alone:
      tocsin model sign beats.onnx --key vendor.pem --release 7
      openssl pkeyutl -sign -rawin -inkey vendor.pem -in beats.json -out beats.sig
    On the device, with `folder` and `public_key` under [model] in the configuration:
      tocsin model install beats.onnx --config tocsin.toml
      kill -HUP PID                       the running agent uses it, without losing samples
      tocsin model rollback beats --config tocsin.toml
    Or put the three files into the folder: the agent looks there at every start and at SIGHUP.

    Exit codes: 0 done, 3 the configuration has no key or no folder, 6 the model is refused.
    """  # noqa: D301 - \b keeps click from joining the lines


_FILE = click.Path(path_type=Path, dir_okay=False)
_config = click.option(
    "--config",
    "config",
    type=_FILE,
    envvar="TOCSIN_CONFIG",
    required=True,
    help="TOML file with [model] folder and public_key; also from TOCSIN_CONFIG.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@command.command("verify")
@click.argument("file", type=_FILE)
@click.option("--public-key", type=_FILE, help="PEM file.  [default: that of the configuration]")
@click.option("--config", type=_FILE, envvar="TOCSIN_CONFIG", help="TOML file that names the key.")
@_json
def verify(file: Path, public_key: Path | None, config: Path | None, as_json: bool) -> None:
    """Check whether a model would be accepted.

    Checked are the signature, the hash, the contract and the answers of FILE (.onnx).
    """
    from tocsin_agent.updates.store import verify as verify_model

    if public_key is None:
        if config is None:
            raise click.UsageError("give --public-key, or --config with a public key")
        public_key = Path(_settings(config)[0].public_key or "")
    _print(verify_model(file, public_key), "would be accepted", as_json)


@command.command("install")
@click.argument("file", type=_FILE)
@_config
@click.option("--older", is_flag=True, help="Accept a release older than one that was in use.")
@_json
def install(file: Path, config: Path, older: bool, as_json: bool) -> None:
    """Verify a model (.onnx) and use it from the next start on.

    SIGHUP makes a running agent use it at once.

    The model before it is kept for a rollback. A power cut leaves one of the two in use. A release
    older than one that was in use on this device is refused.
    """
    model = _store(config).install(file, older=older)
    _print(model, "is installed; send SIGHUP to a running agent to use it", as_json)


@command.command("rollback")
@click.argument("name", type=click.Choice(("beats", "vf", "af", "alarms")))
@_config
@_json
def rollback(name: str, config: Path, as_json: bool) -> None:
    """Use the previous model from the next start on.

    Without a previous model, the shipped one is used. SIGHUP makes a running agent use it at once.
    """
    import msgspec

    state = _store(config).rollback(name)
    if as_json:
        click.echo(msgspec.json.encode(state).decode())
    else:
        click.echo(
            f"{name}: back to {state.current or 'the shipped model'}; send SIGHUP to a "
            "running agent to use it"
        )


@command.command("show")
@_config
@_json
def show(config: Path, as_json: bool) -> None:
    """Show the models in use.

    Shown are also the installed and the previous versions, and why one is refused.
    """
    import msgspec

    from tocsin_models import CONTRACTS, load_model
    from tocsin_models.errors import ModelError

    store = _store(config)
    shown: dict[str, dict[str, Any]] = {}
    for name, contract in CONTRACTS.items():
        state, refused = store.state(name), list[ModelError]()
        model = store.load(name, load_model(contract), refused.append)
        shown[name] = {
            "in_use": model.id if model else None,
            "installed": state.current,
            "previous": state.previous,
            "left": state.left,
            "refused": [str(error) for error in refused],
        }
    if as_json:
        click.echo(msgspec.json.encode(shown).decode())
        return
    for name, versions in shown.items():
        click.echo(
            f"{name}: {versions['in_use']} in use; installed {versions['installed'] or 'none'}, "
            f"before it {versions['previous'] or 'the shipped one'}"
        )
        for reason in versions["refused"]:
            click.echo(f"  refused: {reason}")


@command.command("sign")
@click.argument("file", type=_FILE)
@click.option("--key", type=_FILE, required=True, help="The vendor's private key: ed25519, PEM.")
@click.option(
    "--release", type=click.IntRange(min=0), help="Number of the release, written into the card."
)
def sign(file: Path, key: Path, release: int | None) -> None:
    """Sign a model.

    The card of FILE (.onnx) is signed after checking that the model can be used.
    Number the releases: a device refuses a release with a lower number than one it has used.
    """
    from tocsin_agent.updates.signature import sign as sign_model

    click.echo(f"{sign_model(file, key, release)}: signed")


def _settings(config: Path) -> tuple[ModelSettings, Path]:
    from tocsin_agent.config.config import load_config
    from tocsin_agent.errors import ConfigError

    whole = load_config(config)
    settings = whole.model
    if settings.public_key is None:
        raise ConfigError(
            f"{config}: [model] public_key is unset, and no model is accepted without it",
            "model.public_key",
        )
    return settings, Path(whole.outbox.path)


def _store(config: Path) -> ModelStore:
    from tocsin_agent.errors import ConfigError
    from tocsin_agent.updates.releases import ReleaseMemory
    from tocsin_agent.updates.store import ModelStore

    settings, outbox = _settings(config)
    if settings.folder is None:
        raise ConfigError(
            f"{config}: [model] folder is unset: installed models need a folder", "model.folder"
        )
    releases = ReleaseMemory.beside(outbox)
    return ModelStore(Path(settings.folder), Path(settings.public_key or ""), releases)


def _print(model: Model, verdict: str, as_json: bool) -> None:
    import msgspec

    if as_json:
        stated = {"name": model.contract.name, "sha256": model.sha256, "id": model.id}
        click.echo(msgspec.json.encode(stated).decode())
    else:
        click.echo(f"{model.id} {verdict}")
