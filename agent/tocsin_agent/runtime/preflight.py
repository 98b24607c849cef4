"""What a configuration names, checked before a start: nothing is written, no connection is made."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from tocsin_agent.config.config import Config, MetricsSettings
from tocsin_agent.errors import DeliveryError, MissingExtraError, SigningError, SourceError
from tocsin_agent.mqtt.password import read_password
from tocsin_agent.mqtt.settings import PASSWORD_VARIABLE, MqttSettings
from tocsin_agent.runtime.source import build_source
from tocsin_agent.signing.settings import SigningSettings
from tocsin_agent.sources.opening import kind_of
from tocsin_agent.sources.settings import SourceSettings
from tocsin_agent.updates.settings import ModelSettings, UpdateSettings
from tocsin_models.errors import ModelError

_LEAST_FREE_BYTES = 16 * 1024 * 1024
_MODULES = {
    "replay": ("wfdb",),
    "link": ("cobs", "google_crc32c"),
    "serial": ("cobs", "google_crc32c", "serial"),
    "ble": ("bleak",),
    "lsl": ("pylsl",),
}
"""What each extra of a source installs; the excerpt of `demo` is part of tocsin."""


class Problem(NamedTuple):
    """What would fail, and the key of the configuration that names it."""

    key: str
    message: str


def problems(config: Config) -> list[Problem]:
    """Return everything that the agent could not open, read or write as configured."""
    checks = (
        _of_source(config.source),
        _of_broker(config.mqtt),
        _of_broker(config.fallback, "fallback") if config.fallback is not None else (),
        _of_outbox(Path(config.outbox.path)),
        _of_models(config.model),
        _of_updates(config.update),
        _of_signing(config.signing),
        _of_metrics(config.metrics),
    )
    return [problem for check in checks for problem in check]


def problems_of_all(configs: Sequence[Config]) -> list[Problem]:
    """Return the problems of every patient of a file, each named once."""
    return list(dict.fromkeys(problem for config in configs for problem in problems(config)))


def problems_of_delivery(config: Config) -> list[Problem]:
    """Return what a running agent could not use of a broker's settings and of keys."""
    return [*_of_broker(config.mqtt), *_of_signing(config.signing)]


def _of_source(settings: SourceSettings) -> Iterator[Problem]:
    extra = kind_of(settings.uri).extra
    absent = [name for name in _MODULES.get(extra or "", ()) if find_spec(name) is None]
    if absent:
        needs = ", ".join(absent)
        yield Problem("source.uri", f"needs {needs}: pip install 'tocsin[{extra}]'")
        return
    try:
        source = build_source(settings)
        if source.finite:
            with source:
                pass
    except (SourceError, MissingExtraError) as error:
        yield Problem("source.uri", str(error))
    except (OSError, ValueError) as error:
        yield Problem("source.uri", f"cannot be opened: {error}")


def _of_broker(settings: MqttSettings, table: str = "mqtt") -> Iterator[Problem]:
    if settings.tls is not None:
        from tocsin_agent.mqtt.client import tls_context  # noqa: PLC0415 - loads paho

        try:
            tls_context(settings.tls)
        except DeliveryError as error:
            yield Problem(f"{table}.tls", str(error))
    key = f"{table}.password_file" if settings.password_file else f"{table}.username"
    try:
        password = read_password(settings.password_file)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        yield Problem(key, f"the password in {settings.password_file} cannot be used: {why}")
    else:
        if settings.username is not None and password is None:
            yield Problem(key, f"has no password: set password_file, or {PASSWORD_VARIABLE}")


def _of_outbox(path: Path) -> Iterator[Problem]:
    key = "outbox.path"
    try:
        if path.is_dir():
            yield Problem(key, f"{path} is a folder: name a file in it")
            return
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        for target in (path, folder) if path.exists() else (folder,):
            if not os.access(target, os.W_OK):
                yield Problem(key, f"{target} is not writable for this user")
                return
        space = os.statvfs(folder)
    except (OSError, ValueError) as error:
        yield Problem(key, f"{path} cannot be used: {error}")
        return
    if not folder.is_dir():
        yield Problem(key, f"{folder} is a file, not a folder")
    elif (free := space.f_bavail * space.f_frsize) < _LEAST_FREE_BYTES:
        yield Problem(key, f"{folder} has {free} bytes free: {_LEAST_FREE_BYTES} are needed")


def _of_models(settings: ModelSettings) -> Iterator[Problem]:
    def check(key: str, work: Callable[[], object]) -> Iterator[Problem]:
        try:
            work()
        except ModelError as error:
            yield Problem(key, str(error))

    if settings.public_key is not None:
        from tocsin_agent.updates.signature import (  # noqa: PLC0415 - loads onnxruntime
            load_public_key,
        )

        file = Path(settings.public_key)
        yield from check("model.public_key", lambda: load_public_key(file))
    if settings.path is not None:
        from tocsin_models import BEATS, load_model  # noqa: PLC0415 - loads onnxruntime

        model = Path(settings.path)
        yield from check("model.path", lambda: load_model(BEATS, model))
    if settings.folder is not None and not Path(settings.folder).is_dir():
        yield Problem("model.folder", f"there is no folder {settings.folder}")


def _of_updates(settings: UpdateSettings) -> Iterator[Problem]:
    if settings.folder is None:
        return
    from tocsin_agent.signing.keys import (  # noqa: PLC0415 - not needed without
        key_id,
        load_public_key,
        public_bytes,
    )

    found = set[str]()
    for name in settings.keys:
        try:
            found.add(key_id(public_bytes(load_public_key(Path(name)))))
        except (SigningError, MissingExtraError) as error:
            yield Problem("update.keys", str(error))
    if len(found) < settings.threshold:
        why = f"{len(found)} different keys can be read, and threshold is {settings.threshold}"
        yield Problem("update.keys", f"{why}: no update would be accepted")


def _of_signing(settings: SigningSettings) -> Iterator[Problem]:
    if settings.key_file is None and settings.people_file is None:
        return
    from tocsin_agent.signing.keyring import read_keyring  # noqa: PLC0415 - not needed without
    from tocsin_agent.signing.keys import load_private_key, open_to_others  # noqa: PLC0415

    try:
        if settings.key_file is not None:
            load_private_key(Path(settings.key_file))
            if open_to_others(Path(settings.key_file)):
                why = "every user can read it: chmod 600"
                yield Problem("signing.key_file", f"{settings.key_file}: {why}")
    except (SigningError, MissingExtraError) as error:
        yield Problem("signing.key_file", str(error))
    try:
        if settings.people_file is not None and not read_keyring(Path(settings.people_file)).keys:
            yield Problem("signing.people_file", f"{settings.people_file} holds no key")
    except (SigningError, MissingExtraError) as error:
        yield Problem("signing.people_file", str(error))


def _of_metrics(settings: MetricsSettings | None) -> Iterator[Problem]:
    if settings is not None and find_spec("prometheus_client") is None:
        yield Problem("metrics", "needs prometheus_client: pip install 'tocsin[metrics]'")
