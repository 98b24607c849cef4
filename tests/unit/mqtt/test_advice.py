"""Each failure to connect says what to check, and has the right reason code."""

from __future__ import annotations

import errno
import socket
import ssl

import pytest

from tocsin_agent.errors import DeliveryFault
from tocsin_agent.mqtt.advice import explain, lost, no_answer

UNTRUSTED = ssl.SSLCertVerificationError(1, "certificate verify failed")
UNTRUSTED.verify_message = "certificate has expired"
NO_KEY_USAGE = ssl.SSLCertVerificationError(1, "certificate verify failed")
NO_KEY_USAGE.verify_message = "CA cert does not include key usage extension"
NO_TLS = ssl.SSLError(1, "wrong version number")
NO_TLS.reason = "WRONG_VERSION_NUMBER"
UNREACHABLE, TLS = DeliveryFault.BROKER_UNREACHABLE, DeliveryFault.TLS


@pytest.mark.parametrize(
    ("exc", "reason", "advice"),
    [
        (UNTRUSTED, TLS, "(certificate has expired): check mqtt.tls.ca_file"),
        (NO_KEY_USAGE, TLS, "Python 3.13 and later check: the authority's certificate has no key"),
        (NO_TLS, TLS, "check mqtt.port and mqtt.tls"),
        (socket.gaierror(-2, "unknown"), UNREACHABLE, "the name service"),
        (ConnectionRefusedError(), UNREACHABLE, "start the broker"),
        (TimeoutError(), UNREACHABLE, "the firewall"),
        (OSError(errno.EHOSTUNREACH, "no route"), UNREACHABLE, "no route: check the uplink"),
        (ValueError("Invalid host."), UNREACHABLE, "Invalid host.: check mqtt.host"),
    ],
)
def test_a_connection_that_fails_is_explained(
    exc: OSError | ValueError, reason: DeliveryFault, advice: str
) -> None:
    error = explain(exc, "broker.example", 8883)
    assert error.reason is reason
    assert "broker.example:8883" in str(error)
    assert advice in str(error)


def test_a_connection_that_ends_before_mqtt_began_may_expect_tls() -> None:
    assert "mqtt.tls if that port expects TLS" in str(lost("closed", "b", 1, accepted=False))
    assert str(lost("closed", "b", 1, accepted=True)) == "the connection to b:1 was lost (closed)"
    assert "does not answer as an MQTT broker" in str(no_answer("b", 1))
