"""Several patients in one file: a table `[[patient]]` each, over common sections.

A `[[patient]]` has the keys of `[patient]`, the name of its `device`, and its own `source`; it may
have `limits`, `mqtt` and `signing`, whose keys take precedence over those of the common sections.
Each patient becomes a `Config` of its own, so that everything else knows one patient only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tocsin_agent.config import environment
from tocsin_agent.config.config import Config, load_config, parse_config, read_toml
from tocsin_agent.errors import ConfigError

MAX_PATIENTS = 64
OWN = ("source", "limits", "mqtt", "signing")
"""Sections that a patient may have; their keys take precedence over the common ones."""


def load_patients(path: Path, environ: Mapping[str, str] | None = None) -> tuple[Config, ...]:
    """Read a configuration of one patient, or of several.

    Parameters
    ----------
    path : Path
        A TOML file.
    environ : mapping of str to str, optional
        The environment, whose variables `TOCSIN_…` take precedence over the common sections.

    Returns
    -------
    tuple of Config
        One a patient, in the order of the file; each with an outbox of its own.

    Raises
    ------
    ConfigError
        The first error: file, patient, key, value and what is expected.
    """
    raw = read_toml(path)
    patients = raw.get("patient")
    if not isinstance(patients, list):
        return (load_config(path, environ),)
    del raw["patient"]
    if environ is not None:
        environment.apply(raw, environ, Config)
        if "patient" in raw:
            raise ConfigError(f"{path}: a variable TOCSIN_PATIENT_… sets none of several patients")
    _check_common(raw, len(patients), path)
    found = tuple(_one(raw, own, n, path) for n, own in enumerate(patients, start=1))
    _check_names(found, path)
    return found


def common_outbox(configs: Sequence[Config]) -> Path:
    """Return the outbox that the common section names: beside it is what is of no patient alone."""
    first = configs[0]
    path = Path(first.outbox.path)
    return path.with_name(path.stem.removesuffix(f"-{first.device}") + path.suffix)


def _check_common(raw: dict[str, Any], count: int, path: Path) -> None:
    if not 1 <= count <= MAX_PATIENTS:
        raise ConfigError(f"{path}: {count} tables [[patient]]: 1 to {MAX_PATIENTS} expected")
    for key in ("device", "location"):
        if key in raw:
            raise ConfigError(f"{path}: `{key}` belongs into each [[patient]]", key)
    for section in ("mqtt", "fallback"):
        if isinstance(common := raw.get(section), dict) and "client_id" in common:
            raise ConfigError(
                f"{path}: `{section}.client_id` would be the same for all patients, and each would "
                f"disconnect the others: leave it out, or set it in each [patient.{section}]",
                f"{section}.client_id",
            )


def _one(common: dict[str, Any], own: object, number: int, path: Path) -> Config:
    """Return the configuration of one patient."""
    if not isinstance(own, dict):
        raise ConfigError(f"{path}: [[patient]] {number} is no table", "patient")
    raw = {**common, "patient": {k: v for k, v in own.items() if k not in (*OWN, "device")}}
    for section in OWN:
        if (keys := own.get(section)) is None:
            continue
        if not isinstance(keys, dict):
            raise ConfigError(f"{path}: `patient.{section}` of [[patient]] {number} is no table")
        shared = common.get(section, {})
        if isinstance(shared, dict):  # else it is named as wrong below
            raw[section] = {**shared, **keys}
    if "device" not in own:
        raise ConfigError(
            f"{path}: [[patient]] {number} has no `device`, the level of its topics", "device"
        )
    raw["device"] = own["device"]
    config = parse_config(raw, f"{path}, [[patient]] {number} ({own['device']})")
    outbox = Path(config.outbox.path)
    of_patient = outbox.with_name(f"{outbox.stem}-{config.device}{outbox.suffix}")
    raw["outbox"] = {**common.get("outbox", {}), "path": str(of_patient)}
    return parse_config(raw, str(path))


def _place(uri: str) -> str | None:
    """Return what a source reads, without its settings; None for a scripted patient."""
    return None if uri.startswith("synthetic") else uri.partition("?")[0]


def _check_names(configs: tuple[Config, ...], path: Path) -> None:
    """Raise if two patients would be one to receivers, to the broker or on disk."""
    names: dict[str, list[str | None]] = {
        "device": [config.device for config in configs],
        "mqtt.client_id": [config.mqtt.client_id for config in configs],
        "outbox.path": [config.outbox.path.casefold() for config in configs],
        # Two readers of one device take each other's samples; one recording has the same alerts.
        "source.uri": [_place(config.source.uri) for config in configs],
    }
    for key, of_patients in names.items():
        stated = [name for name in of_patients if name is not None]
        for name in stated:
            if stated.count(name) > 1:
                raise ConfigError(f"{path}: two [[patient]] have the {key} {name!r}", key)
