"""What a failed connection means, and what to do about it."""

from __future__ import annotations

import errno
import socket
import ssl

from tocsin_agent.errors import DeliveryError, DeliveryFault

_STRICT_RULES = {
    "Missing Authority Key Identifier": "the broker's certificate names no authority key",
    "Missing Subject Key Identifier": "the authority's certificate names no subject key",
    "Basic Constraints of CA cert not marked critical": (
        "the basic constraints of the authority are not marked critical"
    ),
    "CA cert does not include key usage extension": "the authority's certificate has no key usage",
}
"""Rules of RFC 5280 that Python 3.13 and later require of a certificate, in OpenSSL's words."""


def explain(exc: OSError | ValueError, host: str, port: int) -> DeliveryError:
    """Return the error for a connection that could not be established.

    Parameters
    ----------
    exc : OSError or ValueError
        What the operating system, TLS or the MQTT client reported.
    host : str
        Name or address of the broker.
    port : int
        Port of the broker.
    """
    where = f"{host}:{port}"
    if isinstance(exc, ssl.SSLCertVerificationError) and exc.verify_message in _STRICT_RULES:
        return DeliveryError(
            DeliveryFault.TLS,
            f"the certificate of {where} breaks a rule of RFC 5280 that Python 3.13 and later "
            f"check: {_STRICT_RULES[exc.verify_message]}. Make both certificates again, as "
            "docs/security.md says under 'A certificate authority of your own'",
        )
    if isinstance(exc, ssl.SSLCertVerificationError):
        return DeliveryError(
            DeliveryFault.TLS,
            f"the certificate of {where} is not trusted ({exc.verify_message}): check "
            "mqtt.tls.ca_file, mqtt.host and this device's clock",
        )
    if isinstance(exc, ssl.SSLError):
        return DeliveryError(
            DeliveryFault.TLS,
            f"no TLS with {where} ({exc.reason or exc}): check mqtt.port and mqtt.tls",
        )
    if isinstance(exc, socket.gaierror):
        advice = "the name is not known: check mqtt.host (or --broker) and the name service"
    elif isinstance(exc, ConnectionRefusedError):
        advice = (
            "no program listens there: start the broker, or check mqtt.host and mqtt.port "
            "(on the command line --broker)"
        )
    elif isinstance(exc, TimeoutError):
        advice = "no answer: check the uplink and the firewall"
    elif isinstance(exc, OSError) and exc.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
        advice = "no route: check the uplink"
    else:
        advice = f"{exc}: check mqtt.host and mqtt.port (or --broker), and the uplink"
    return DeliveryError(
        DeliveryFault.BROKER_UNREACHABLE, f"broker {where} is unreachable, {advice}"
    )


def lost(why: str, host: str, port: int, *, accepted: bool) -> DeliveryError:
    """Return the error for a connection that ended.

    Parameters
    ----------
    why : str
        What the MQTT client or the broker reported.
    host : str
        Name or address of the broker.
    port : int
        Port of the broker.
    accepted : bool
        True if the broker had accepted the MQTT connection before.
    """
    where = f"{host}:{port}"
    text = f"the connection to {where} was lost ({why})"
    if not accepted:
        text = (
            f"{where} closed the connection before MQTT began ({why}): check mqtt.port, "
            "mqtt.version, and mqtt.tls if that port expects TLS"
        )
    return DeliveryError(DeliveryFault.BROKER_UNREACHABLE, text)


def no_answer(host: str, port: int) -> DeliveryError:
    """Return the error for a port that accepts connections and does not speak MQTT."""
    return DeliveryError(
        DeliveryFault.BROKER_UNREACHABLE,
        f"{host}:{port} accepts connections but does not answer as an MQTT broker: check "
        "mqtt.port, and mqtt.tls if that port expects TLS",
    )
