"""How the broker is reached: the `mqtt` table of the configuration."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

PASSWORD_VARIABLE = "TOCSIN_MQTT_PASSWORD"  # noqa: S105  # the name of the variable


class TlsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """TLS to the broker; the presence of this table turns it on."""

    ca_file: Annotated[
        str | None,
        Meta(
            description="PEM file with the certificate authority of the broker; unset: those of "
            "the system."
        ),
    ] = None
    cert_file: Annotated[
        str | None,
        Meta(description="PEM file with the certificate of this client, if the broker wants one."),
    ] = None
    key_file: Annotated[
        str | None, Meta(description="PEM file with the key of the client certificate.")
    ] = None


class MqttSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the broker is reached."""

    host: Annotated[str, Meta(min_length=1, description="Name or address of the broker.")] = (
        "localhost"
    )
    port: Annotated[int, Meta(ge=1, le=65535, description="1883 without TLS, 8883 with it.")] = 1883
    version: Annotated[
        Literal["5", "3.1.1"], Meta(description="MQTT version that the broker speaks.")
    ] = "5"
    additions: Annotated[
        Literal["property", "document"],
        Meta(
            description="Where an alert has what tocsin 0.1.0 did not know (labels of the beats "
            "and the onset in the strip; repeat and levels of the escalation). `property`: in a "
            "user property of MQTT 5; MQTT 3.1.1 leaves it out. `document`: in the document, for "
            "receivers that ignore fields that they do not know."
        ),
    ] = "property"
    client_id: Annotated[
        str | None,
        Meta(
            description="Unique at the broker; unset: `tocsin-<site>-<device>`. Of two clients "
            "with the same id, each disconnects the other."
        ),
    ] = None
    username: Annotated[
        str | None, Meta(description="User name at the broker, if it wants one.")
    ] = None
    password_file: Annotated[
        str | None,
        Meta(
            description="File that holds the password (a trailing newline is ignored); or set "
            f"{PASSWORD_VARIABLE}. The configuration itself never holds a password."
        ),
    ] = None
    tls: Annotated[TlsSettings | None, Meta(description="TLS; unset: a plain connection.")] = None
    allow_plaintext: Annotated[
        bool,
        Meta(
            description="Allow a plain connection to another machine: whoever is on the path can "
            "read the alerts and the password, and forge both."
        ),
    ] = False
    keepalive_s: Annotated[
        int,
        Meta(
            ge=1,
            le=3600,
            description="Silence after which the connection is tested; the broker reports the "
            "device as offline after 1.5 times this.",
        ),
    ] = 15
    connect_timeout_s: Annotated[
        float, Meta(gt=0, le=120, description="Longest wait for a connection to be established.")
    ] = 5.0
    ack_timeout_s: Annotated[
        float,
        Meta(
            gt=0,
            le=600,
            description="Longest wait for an acknowledgement; then the agent drops the connection "
            "and connects again.",
        ),
    ] = 10.0
    reconnect_min_s: Annotated[
        float, Meta(gt=0, le=3600, description="First wait before connecting again.")
    ] = 1.0
    reconnect_max_s: Annotated[
        float, Meta(gt=0, le=3600, description="The wait doubles up to this.")
    ] = 30.0
    inflight: Annotated[
        int, Meta(ge=1, le=1000, description="Most alerts sent and not yet acknowledged.")
    ] = 20
    max_payload_bytes: Annotated[
        int,
        Meta(
            ge=4096,
            le=268_435_455,
            description="A larger alert is sent without its strip; a smaller limit stated by the "
            "broker (MQTT 5) takes precedence.",
        ),
    ] = 262_144
    health_s: Annotated[
        float, Meta(ge=0, le=86_400, description="Period of the health message; 0 turns it off.")
    ] = 30.0

    @property
    def local(self) -> bool:
        """True where the broker is on this machine."""
        return is_this_machine(self.host)

    def __post_init__(self) -> None:
        if (why := _no_host(self.host)) is not None:
            raise ValueError(f"host is {self.host!r}: {why}")
        if self.tls is None and not (self.local or self.allow_plaintext):
            raise ValueError(
                f"a plain connection to {self.host} lets others read and forge alerts: add "
                "[mqtt.tls], or set allow_plaintext = true"
            )
        if self.reconnect_max_s < self.reconnect_min_s:
            raise ValueError("reconnect_max_s is less than reconnect_min_s")
        if self.tls is not None and bool(self.tls.cert_file) != bool(self.tls.key_file):
            raise ValueError("tls.cert_file and tls.key_file must be given together")
        if self.password_file is not None and self.username is None:
            raise ValueError("password_file without username: a password alone is not sent")


def is_this_machine(host: str) -> bool:
    """Return whether only this machine is reached at a name or address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _no_host(host: str) -> str | None:
    """Return what is wrong with the name or address of a broker, or None."""
    if "://" in host:
        name = host.partition("://")[2].partition("/")[0]
        return f"write the name alone, such as host = {name!r}; port and tls are keys of their own"
    if host.startswith("["):
        return f"write an IPv6 address without brackets, such as {host.strip('[]')!r}"
    if host.count(":") == 1:
        name, _, port = host.partition(":")
        return f"write host = {name!r} and port = {port}"
    if not host.isprintable() or any(c.isspace() or c in "/@?#" for c in host):
        return "write a name or an address, without spaces, user or path"
    return None
