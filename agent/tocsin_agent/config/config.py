"""The configuration: one TOML file, decoded into frozen structs that describe each key."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from tocsin_agent.config import environment, structdoc
from tocsin_agent.delivery.settings import (
    AuditSettings,
    EscalationSettings,
    OutboxSettings,
    PresenceSettings,
    ReceiptSettings,
    WaveformSettings,
)
from tocsin_agent.errors import ConfigError
from tocsin_agent.messages.topics import LEVEL_PATTERN, Topics
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_agent.monitor.settings import PatientSettings
from tocsin_agent.mqtt.settings import MqttSettings
from tocsin_agent.regular_file import read_regular
from tocsin_agent.signing.settings import SigningSettings
from tocsin_agent.sources.settings import SourceSettings
from tocsin_agent.updates.settings import ModelSettings, UpdateSettings

T = TypeVar("T", bound=msgspec.Struct)


class LogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The log on stderr."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="The lowest level that is written."),
    ] = "info"
    format: Annotated[
        Literal["text", "json"],
        Meta(
            description="A line of text (with fields, where the journal of systemd reads it), or a "
            "JSON object a line, for each message."
        ),
    ] = "text"


class MetricsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Figures for Prometheus; the presence of this table turns them on (extra `metrics`)."""

    port: Annotated[
        int, Meta(ge=0, le=65535, description="Where they are served: `/metrics`; 0: any port.")
    ] = 9464
    host: Annotated[str, Meta(min_length=1, description="An address of this machine.")] = (
        "127.0.0.1"
    )
    allow_remote: Annotated[
        bool,
        Meta(
            description="Allow an address that other machines reach: there is neither TLS nor a "
            "password."
        ),
    ] = False

    def __post_init__(self) -> None:
        try:
            address = ip_address(self.host)
        except ValueError as error:
            raise ValueError(
                f"host is {self.host!r}: write an address such as 127.0.0.1"
            ) from error
        if not (address.is_loopback or self.allow_remote):
            raise ValueError(
                f"host {self.host} can be reached by other machines: use 127.0.0.1, or set "
                "allow_remote = true"
            )


class SupervisionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a thread that stands still is replaced."""

    stall_s: Annotated[
        float,
        Meta(
            ge=2,
            le=3600,
            description="Monitoring that has not turned for this long is started again, and "
            "`monitor_stalled` raised. WatchdogSec of the service must be longer.",
        ),
    ] = 20.0


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole configuration of `tocsin run`."""

    site: Annotated[
        str,
        Meta(
            pattern=LEVEL_PATTERN,
            examples=["clinic-north"],
            description="Site name, a level of every topic: up to 64 characters, no `/`, `+`, `#`.",
        ),
    ]
    device: Annotated[
        str,
        Meta(
            pattern=LEVEL_PATTERN,
            examples=["gateway-1"],
            description="Device name, unique in its site, a level of every topic: up to 64 "
            "characters, no `/`, `+` or `#`, and not `presence`.",
        ),
    ]
    location: Annotated[str | None, Meta(description="The same as `patient.location`.")] = None
    patient: Annotated[
        PatientSettings | str,
        Meta(
            description="The patient, and what is known of them. A text in place of the section is "
            "the same as `patient.id`."
        ),
    ] = PatientSettings()
    source: Annotated[SourceSettings, Meta(description="Where the samples come from.")]
    mqtt: Annotated[MqttSettings, Meta(description="How the broker is reached.")] = MqttSettings()
    fallback: Annotated[
        MqttSettings | None,
        Meta(
            description="A second broker, with the keys of `mqtt`: used while the first cannot be "
            "reached, and left when the first accepts connections again. Receivers need a "
            "connection to both, or a bridge between them."
        ),
    ] = None
    outbox: Annotated[OutboxSettings, Meta(description="Where alerts wait for the broker.")] = (
        OutboxSettings()
    )
    presence: Annotated[
        PresenceSettings, Meta(description="Whose presence keeps alerts at the bedside.")
    ] = PresenceSettings()
    escalation: Annotated[
        EscalationSettings, Meta(description="Who is addressed while nobody accepts an alert.")
    ] = EscalationSettings()
    receipts: Annotated[
        ReceiptSettings, Meta(description="Whether receivers confirm alerts of high priority.")
    ] = ReceiptSettings()
    waveform: Annotated[WaveformSettings, Meta(description="The live ECG.")] = WaveformSettings()
    audit: Annotated[AuditSettings, Meta(description="How long the audit trail is kept.")] = (
        AuditSettings()
    )
    limits: Annotated[Limits, Meta(description="The limits of the alarms.")] = Limits()
    model: Annotated[ModelSettings, Meta(description="The models, and their updates.")] = (
        ModelSettings()
    )
    update: Annotated[UpdateSettings, Meta(description="Updates of the agent itself.")] = (
        UpdateSettings()
    )
    metrics: Annotated[
        MetricsSettings | None, Meta(description="Figures for Prometheus; unset: none.")
    ] = None
    supervision: Annotated[SupervisionSettings, Meta(description="Threads that stand still.")] = (
        SupervisionSettings()
    )
    signing: Annotated[
        SigningSettings, Meta(description="Signatures of the device and of people.")
    ] = SigningSettings()
    log: Annotated[LogSettings, Meta(description="The log on stderr.")] = LogSettings()

    def __post_init__(self) -> None:
        Topics(self.site, self.device)
        signs = self.signing.key_file is not None or self.signing.people_file is not None
        if signs and self.mqtt.version != "5":
            raise ValueError("signatures need mqtt.version = '5': they travel as a user property")
        patient = self.patient
        if isinstance(patient, str):
            patient = PatientSettings(id=patient)
        if self.location is not None and patient.location not in {None, self.location}:
            raise ValueError("`location` and `patient.location` differ: remove `location`")
        if self.location is not None:
            patient = msgspec.structs.replace(patient, location=self.location)
        # A file of an earlier version names the patient at the top: from here on there is one form.
        msgspec.structs.force_setattr(self, "patient", patient)

    @property
    def who(self) -> PatientSettings:
        """The patient, in whichever form the file has it."""
        assert isinstance(self.patient, PatientSettings)  # noqa: S101 - after __post_init__
        return self.patient


_MAX_BYTES = 1_048_576
_MAX_TEXT = 4096  # characters of one text: a path


def load_config(path: Path, environ: Mapping[str, str] | None = None) -> Config:
    """Read, decode and check a configuration file.

    Parameters
    ----------
    path : Path
        A TOML file.
    environ : mapping of str to str, optional
        The environment, whose variables `TOCSIN_…` take precedence; without it, the file alone.

    Returns
    -------
    Config
        Keys that the file leaves out have their defaults.

    Raises
    ------
    ConfigError
        The first error: file, key, value and what is expected.
    """
    raw = read_toml(path)
    if environ is None:
        return parse_config(raw, str(path))
    environment.apply(raw, environ, Config)
    try:
        return parse_config(raw, str(path))
    except ConfigError as error:
        name = environment.overrides(environ, Config).get(error.key)
        if name is None:
            raise
        raise ConfigError(f"{error} (set by the environment: {name})", error.key) from error


def load_settings(path: Path, kind: type[T]) -> T:
    """Read, decode and check a file of another command, by the same rules.

    Parameters
    ----------
    path : Path
        A TOML file.
    kind : type
        A frozen struct that describes its keys.

    Raises
    ------
    ConfigError
        As `load_config` does.
    """
    return _parse(read_toml(path), str(path), kind)


def read_toml(path: Path) -> dict[str, Any]:
    """Return the plain values of a TOML file.

    Raises
    ------
    ConfigError
        If it cannot be read, or is not TOML.
    """
    try:
        text = read_regular(path, _MAX_BYTES).decode("utf-8")
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(f"{path}: cannot read the configuration: {reason}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text at byte {error.start}") from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits; 1,000 brackets
        raise ConfigError(f"{path}: not TOML that can be read: {error}") from error


def parse_config(raw: dict[str, Any], origin: str) -> Config:
    """Decode a configuration from plain values; `origin` is named in errors.

    Raises
    ------
    ConfigError
        As `load_config` does.
    """
    return _parse(raw, origin, Config)


def _parse(raw: dict[str, Any], origin: str, kind: type[T]) -> T:
    complaint = structdoc.unknown_key(raw, kind) or _unusable_text(raw)
    if complaint is not None:
        raise ConfigError(f"{origin}: {complaint.message}", complaint.key)
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        complaint = structdoc.explain(error, raw, kind)
        raise ConfigError(f"{origin}: {complaint.message}", complaint.key) from error


def _unusable_text(raw: dict[str, Any]) -> structdoc.Complaint | None:
    """Return a complaint about the first text that could forge a log line or a topic."""
    for key, text in _texts(raw, ""):
        if len(text) > _MAX_TEXT:
            what = f"has {len(text)} characters, {_MAX_TEXT} are allowed"
        elif not text.isprintable():
            what = f"is {structdoc.shown(text)}: control characters are not allowed"
        else:
            continue
        return structdoc.Complaint(f"`{key}` {what}", key)
    return None


def _texts(value: object, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _texts(inner, f"{key}.{name}" if key else name)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, key)


def config_hash(config: Config) -> str:
    """Return the SHA-256 of the effective values, the same for files with the same meaning."""
    return hashlib.sha256(msgspec.json.encode(config, order="deterministic")).hexdigest()
