"""A home-made authority works, or the message names the rule that it breaks (Python 3.13)."""

from __future__ import annotations

import re
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.brokers import Mosquitto, quick
from tocsin_agent.errors import DeliveryError, DeliveryFault
from tocsin_agent.mqtt.connection import Connection
from tocsin_agent.mqtt.settings import TlsSettings

pytestmark = pytest.mark.broker

ROOT = Path(__file__).resolve().parents[2]
# As mosquitto's guide did for years.
OLD_WAY = """\
openssl req -new -x509 -days 99 -extensions v3_ca -nodes -keyout ca.key -out ca.pem -subj /CN=home
openssl req -newkey rsa:2048 -nodes -keyout broker.key -out broker.csr -subj /CN=localhost
printf 'subjectAltName=IP:127.0.0.1' > names
openssl x509 -req -in broker.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 99 \
  -extfile names -out broker.pem
"""


def documented_way() -> str:
    """Return the commands of the page, as somebody would paste them."""
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    section = page.split("A certificate authority of your own", 1)[1]
    found = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert found is not None
    return found.group(1)


@pytest.fixture
def as_python_3_13(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check certificates as Python 3.13 does, whatever Python runs this."""
    make = ssl.create_default_context

    def strict(*arguments: object, **named: object) -> ssl.SSLContext:
        context = make(*arguments, **named)  # type: ignore[arg-type]
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", strict)


def broker_with(folder: Path, commands: str) -> Iterator[Mosquitto]:
    subprocess.run(["bash", "-ec", commands], cwd=folder, check=True, capture_output=True)
    broker = Mosquitto(
        folder,
        f"listener {{port}} 127.0.0.1\nallow_anonymous true\n"
        f"certfile {folder}/broker.pem\nkeyfile {folder}/broker.key\n",
    )
    broker.start()
    yield broker
    broker.stop()


@pytest.mark.usefixtures("as_python_3_13")
def test_case_23_an_old_home_made_authority_is_refused_with_the_rule_it_breaks(
    tmp_path: Path,
) -> None:
    for broker in broker_with(tmp_path, OLD_WAY):
        settings = quick(broker.port, tls=TlsSettings(ca_file=str(tmp_path / "ca.pem")))
        with pytest.raises(DeliveryError, match=r"no key usage.*docs/security\.md") as caught:
            Connection(settings, "d").open()
        assert caught.value.reason is DeliveryFault.TLS


@pytest.mark.usefixtures("as_python_3_13")
def test_case_23_an_authority_made_as_documented_is_accepted(tmp_path: Path) -> None:
    for broker in broker_with(tmp_path, documented_way()):
        settings = quick(broker.port, tls=TlsSettings(ca_file=str(tmp_path / "ca.pem")))
        connection = Connection(settings, "d")
        connection.open()
        connection.close()
