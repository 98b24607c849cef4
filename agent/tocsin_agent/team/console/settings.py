"""The configuration of the console: one TOML file, as frozen structs that describe each key."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from tocsin_agent.messages.topics import LEVEL_PATTERN
from tocsin_agent.mqtt.settings import MqttSettings, is_this_machine

Role = Literal["viewer", "responder", "cardiologist", "admin"]


class ListenSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the page is served."""

    host: Annotated[str, Meta(min_length=1, description="An address of this machine.")] = (
        "127.0.0.1"
    )
    port: Annotated[int, Meta(ge=0, le=65535, description="0: any port.")] = 8080
    cert_file: Annotated[str | None, Meta(description="PEM file with its TLS certificate.")] = None
    key_file: Annotated[str | None, Meta(description="PEM file with the certificate's key.")] = None
    allow_plaintext: Annotated[
        bool,
        Meta(
            description="Serve other machines without TLS: for a proxy that adds it, on a network "
            "of its own."
        ),
    ] = False
    hosts: Annotated[
        tuple[str, ...],
        Meta(
            description="Names under which browsers reach the console; others are refused. None: "
            "localhost and the address."
        ),
    ] = ()

    def __post_init__(self) -> None:
        if bool(self.cert_file) != bool(self.key_file):
            raise ValueError("cert_file and key_file must be given together")
        if not (self.secure or self.local or self.allow_plaintext):
            raise ValueError(
                f"host {self.host} can be reached by other machines, and passwords would travel in "
                "the clear: give cert_file and key_file, or set allow_plaintext = true behind a "
                "proxy"
            )

    @property
    def secure(self) -> bool:
        """True where this server speaks TLS itself."""
        return self.cert_file is not None

    @property
    def local(self) -> bool:
        """True where only this machine reaches it."""
        return is_this_machine(self.host)


class ProxySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A proxy that logs people in (OIDC) and states in headers who they are."""

    addresses: Annotated[
        tuple[str, ...],
        Meta(min_length=1, description="Addresses or networks of the proxy; others are not asked."),
    ]
    user_header: Annotated[str, Meta(min_length=1, description="The header with the user.")] = (
        "X-Forwarded-User"
    )
    groups_header: Annotated[
        str, Meta(min_length=1, description="The header with the groups, separated by commas.")
    ] = "X-Forwarded-Groups"
    roles: Annotated[
        dict[str, Role],
        Meta(
            description="The role of each group; the most a person's groups give. Nobody gets in "
            "without one."
        ),
    ] = {}
    confirm_s: Annotated[
        float,
        Meta(
            ge=3,
            le=3600,
            description="A page that the proxy has not let ask for so long is logged out; it asks "
            "three times in this time.",
        ),
    ] = 15.0

    def __post_init__(self) -> None:
        for address in self.addresses:
            ip_network(address)

    @property
    def networks(self) -> list[IPv4Network | IPv6Network]:
        """The proxies."""
        return [ip_network(address) for address in self.addresses]


class AnswerRoles(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """In which role (`escalation.roles` of the devices) the answers of each role are sent."""

    responder: Annotated[str, Meta(min_length=1, max_length=64, description="Of responders.")] = (
        "team"
    )
    cardiologist: Annotated[
        str, Meta(min_length=1, max_length=64, description="Of cardiologists.")
    ] = "cardiologist"
    admin: Annotated[str, Meta(min_length=1, max_length=64, description="Of administrators.")] = (
        "team"
    )


class PeopleSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who may log in, and for how long."""

    file: Annotated[
        str | None,
        Meta(description="TOML file of `tocsin console user`; unset: nobody, but by a proxy."),
    ] = None
    proxy: Annotated[ProxySettings | None, Meta(description="Log in by a proxy.")] = None
    session_h: Annotated[float, Meta(gt=0, le=168, description="A login ends after so long.")] = 12
    idle_h: Annotated[
        float, Meta(gt=0, le=168, description="A login ends without the page for so long.")
    ] = 2
    answers_as: Annotated[
        AnswerRoles, Meta(description="The role at the devices of each role here.")
    ] = AnswerRoles()


class KeySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Signatures; they need MQTT 5."""

    trusted_file: Annotated[
        str | None,
        Meta(description="TOML file of the devices' keys: who signed each message is verified."),
    ] = None
    people_folder: Annotated[
        str | None,
        Meta(description="Folder with the private key of each person, `USER.pem`."),
    ] = None
    own_file: Annotated[
        str | None, Meta(description="PEM file with the console's key, for its receipts.")
    ] = None


class HistorySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept over a restart; it names patients, and has mode 0600."""

    file: Annotated[str, Meta(min_length=1, description="A SQLite file.")] = "console.db"
    keep_days: Annotated[float, Meta(gt=0, le=3660, description="Age of what is kept.")] = 30
    max_mb: Annotated[
        float, Meta(ge=1, description="Size of what is kept; then the oldest goes.")
    ] = 1000


class AttendanceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Leases of cardiologists who press that they are present."""

    confirm_min: Annotated[
        float, Meta(ge=1, le=240, description="Minutes until a person must press again.")
    ] = 20
    lease_s: Annotated[
        float,
        Meta(ge=5, le=600, description="Length of a lease, which the server renews meanwhile."),
    ] = 60


class PushSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Web push: calls people whose page is closed, by the push service of their browser's maker."""

    key_file: Annotated[
        str, Meta(min_length=1, description="PEM file with a private key of P-256 (VAPID).")
    ]
    contact: Annotated[
        str,
        Meta(
            pattern="^(mailto:|https://).+",
            description="`mailto:` or `https:` address of whoever runs this console, for the push "
            "services.",
        ),
    ]
    services: Annotated[
        tuple[str, ...],
        Meta(
            description="Origins of the push services that are asked; `https://*.` before a domain "
            "stands for any name below it. A browser names its service, and is refused with "
            "another one. `http:` is for this machine only."
        ),
    ] = (
        "https://fcm.googleapis.com",
        "https://updates.push.services.mozilla.com",
        "https://web.push.apple.com",
        "https://*.notify.windows.com",
    )
    medium: Annotated[bool, Meta(description="Call for medium priority, too.")] = False
    ttl_s: Annotated[
        float,
        Meta(
            ge=0, le=86_400, description="How long a service keeps a call for a phone that is off."
        ),
    ] = 300
    keep_h: Annotated[
        float,
        Meta(gt=0, le=720, description="A browser is called for so long after its page was open."),
    ] = 24

    def __post_init__(self) -> None:
        for service in self.services:
            scheme, _, host = service.partition("://")
            local = host.partition(":")[0] in {"127.0.0.1", "localhost"}
            if scheme != "https" and not (scheme == "http" and local):
                raise ValueError(f"services: {service!r}: https://HOST expected")


class ReviewSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Cases that cardiologists read in the console."""

    folder: Annotated[
        str,
        Meta(min_length=1, description="What `tocsin review export --into` wrote."),
    ]


class ConsoleSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole configuration of `tocsin console`."""

    title: Annotated[str, Meta(max_length=80, description="Name of this console.")] = "tocsin"
    site: Annotated[
        Annotated[str, Meta(pattern=LEVEL_PATTERN)] | None,
        Meta(description="Show this site alone; unset: every site."),
    ] = None
    language: Annotated[
        str, Meta(description="Language of those who choose none: `en`, `de` or `fr`.")
    ] = "en"
    client_id: Annotated[
        str, Meta(min_length=1, max_length=64, description="Unique at the broker.")
    ] = "tocsin-console"
    listen: Annotated[ListenSettings, Meta(description="Where the page is served.")] = (
        ListenSettings()
    )
    mqtt: Annotated[MqttSettings, Meta(description="How the broker is reached.")] = MqttSettings()
    people: Annotated[PeopleSettings, Meta(description="Who may log in.")] = PeopleSettings()
    keys: Annotated[KeySettings, Meta(description="Signatures.")] = KeySettings()
    history: Annotated[HistorySettings, Meta(description="What is kept.")] = HistorySettings()
    push: Annotated[PushSettings | None, Meta(description="Web push.")] = None
    review: Annotated[ReviewSettings | None, Meta(description="Review of cases.")] = None
    presence: Annotated[AttendanceSettings, Meta(description="Presence by a press.")] = (
        AttendanceSettings()
    )

    def __post_init__(self) -> None:
        if self.keys != KeySettings() and self.mqtt.version != "5":
            raise ValueError("signatures need mqtt.version = '5': they travel as a user property")
