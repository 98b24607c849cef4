"""A gateway starts from one file, and mosquitto accepts it by the certificate of the site."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from support.brokers import Mosquitto, authority
from tocsin_agent.cli import cli
from tocsin_agent.config.config import load_config
from tocsin_agent.errors import DeliveryError
from tocsin_agent.mqtt.connection import Connection
from tocsin_agent.mqtt.settings import TlsSettings

pytestmark = pytest.mark.broker


def call(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(cli, ["identity", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


def test_from_one_file_to_the_broker_and_through_a_renewal(tmp_path: Path) -> None:
    ca = authority(tmp_path, "site")  # of the broker, and of the gateways
    key = ca.with_suffix(".key")
    broker = Mosquitto(
        tmp_path,
        f"listener {{port}} 127.0.0.1\ncertfile {ca}\nkeyfile {key}\ncafile {ca}\n"
        "require_certificate true\nuse_identity_as_username true\nallow_anonymous false\n",
    )
    stick, folder, config = tmp_path / "bed7.toml", tmp_path / "identity", tmp_path / "t.toml"
    stick.write_text(
        'site = "ward3"\ndevice = "bed7"\n[broker]\nhost = "127.0.0.1"\n'
        f"port = {broker.port}\nca = '''\n{ca.read_text()}'''\n",
        encoding="utf-8",
    )
    call("show", "--folder", folder, code=1)
    call("enrol", stick, "--folder", folder, "--config", config)
    asked = tmp_path / "bed7.csr"
    call("sign", asked, "--device", "bed7", "--ca", ca, "--ca-key", key, "--days", 2)
    call("install", tmp_path / "bed7.pem", "--folder", folder)
    assert "bed7" in call("show", "--folder", folder)

    settings = load_config(config).mqtt
    assert settings.tls is not None
    nobody = msgspec.structs.replace(settings, tls=TlsSettings(ca_file=settings.tls.ca_file))
    broker.start()
    try:
        with pytest.raises(DeliveryError):
            Connection(nobody, "nobody").open()
        connect(Connection(settings, "bed7"))
        assert "not due" in call("renew", asked, "--folder", folder)
        first = (folder / "current" / "key.pem").read_bytes()
        call("renew", asked, "--folder", folder, "--now")
        connect(Connection(settings, "bed7"))  # with the certificate of before
        call("sign", asked, "--device", "bed7", "--ca", ca, "--ca-key", key, "--days", 2)
        call("install", tmp_path / "bed7.pem", "--folder", folder)
        assert (folder / "current" / "key.pem").read_bytes() != first
        connect(Connection(settings, "bed7"))
    finally:
        broker.stop()
    assert broker.logged(b"u'bed7'") >= 3, "the name in the certificate is the user"


def connect(connection: Connection) -> None:
    connection.open()
    connection.close()
