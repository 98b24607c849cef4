"""A gateway's key and certificate: one pair in use, whatever is interrupted."""

from __future__ import annotations

import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from support.brokers import authority
from support.power import PowerCut, cut_at
from tocsin_agent.errors import ConfigError, SigningError
from tocsin_agent.identity import certificates
from tocsin_agent.identity.enrolment import read_enrolment
from tocsin_agent.identity.store import IdentityStore

NOW = datetime.now(UTC)


class Site:
    """The machine that keeps the key of the authority."""

    def __init__(self, folder: Path) -> None:
        path = authority(folder, "site")
        self.ca, self.key = path.read_bytes(), path.with_suffix(".key").read_bytes()

    def sign(self, asked: bytes, name: str = "bed7", now: datetime = NOW) -> bytes:
        return certificates.sign(asked, self.ca, self.key, name, days=1, now=now)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def store(tmp_path: Path) -> IdentityStore:
    return IdentityStore(tmp_path / "identity")


def pair(store: IdentityStore) -> tuple[bytes, bytes]:
    folder = store.folder / "current"
    return (folder / "cert.pem").read_bytes(), (folder / "key.pem").read_bytes()


def test_a_key_is_for_its_owner_only_and_its_certificate_for_a_client(
    store: IdentityStore, site: Site
) -> None:
    asked = store.enrol("bed7", site.ca)
    assert store.current() is None
    found = store.install(site.sign(asked), NOW)
    certificate, key = pair(store)
    assert found.name == "bed7"
    assert stat.S_IMODE((store.folder / "current" / "key.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
    assert certificates.belong_together(certificate, key)
    parsed = x509.load_pem_x509_certificate(certificate)
    usage = parsed.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH]
    assert not parsed.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_a_renewal_is_due_when_a_third_is_left_and_changes_the_key(
    store: IdentityStore, site: Site
) -> None:
    found = store.install(site.sign(store.enrol("bed7", site.ca)), NOW)
    before = pair(store)
    assert found.ends - found.renew_from == (found.ends - found.begins) / 3
    asked = store.renew()
    assert pair(store) == before, "in use until the new certificate is here"
    assert store.renew() is not None
    store.install(site.sign(asked), NOW)
    after = pair(store)
    assert after[1] != before[1]
    assert certificates.belong_together(*after)


@pytest.mark.parametrize("what", ["other name", "other key", "ended", "no certificate"])
def test_a_wrong_certificate_is_refused_and_the_pair_in_use_stays(
    store: IdentityStore, site: Site, what: str
) -> None:
    store.install(site.sign(store.enrol("bed7", site.ca)), NOW)
    before, asked = pair(store), store.renew()
    stranger = certificates.new_key()
    make: dict[str, Callable[[], bytes]] = {
        "other name": lambda: site.sign(certificates.request(stranger, "bed8"), "bed8"),
        "other key": lambda: site.sign(certificates.request(stranger, "bed7")),
        "ended": lambda: site.sign(asked, now=NOW - timedelta(days=3)),
        "no certificate": lambda: b"bed7",
    }
    wrong = make[what]()
    with pytest.raises(SigningError):
        store.install(wrong, NOW)
    assert pair(store) == before


def test_the_site_signs_only_for_the_device_that_it_means(site: Site) -> None:
    asked = certificates.request(certificates.new_key(), "bed7")
    with pytest.raises(SigningError, match="for 'bed7', not for 'bed8'"):
        site.sign(asked, "bed8")
    with pytest.raises(SigningError, match="no request"):
        site.sign(asked[:200])


def test_a_power_cut_at_any_step_leaves_a_pair_and_the_commands_can_be_repeated(
    store: IdentityStore, site: Site
) -> None:
    store.install(site.sign(store.enrol("bed7", site.ca)), NOW)
    cuts, step = 0, 0
    while True:
        step += 1
        before = pair(store)
        with pytest.MonkeyPatch.context() as patch:
            cut_at(step, patch)
            try:
                store.install(site.sign(store.renew()), NOW)
            except PowerCut:
                cuts += 1
            else:
                break
        assert certificates.belong_together(*pair(store))
        store.install(site.sign(store.renew()), NOW)
        assert certificates.belong_together(*pair(store))
        assert pair(store)[1] != before[1]
    assert cuts > 8


def test_a_certificate_is_installed_again_after_a_cut_at_any_step(
    tmp_path: Path, site: Site
) -> None:
    step, done = 0, False
    while not done:
        step += 1
        store = IdentityStore(tmp_path / f"identity{step}")
        signed = site.sign(store.enrol("bed7", site.ca))
        with pytest.MonkeyPatch.context() as patch:
            cut_at(step, patch)
            try:
                store.install(signed, NOW)
                done = True
            except PowerCut:
                pass
        store.install(signed, NOW)
        assert certificates.belong_together(*pair(store))
    assert step > 6


@pytest.mark.parametrize(
    "text", ["", 'site = "a"', "\x00", 'site = "a/b"\ndevice = "c"\n[broker]\nhost="h"\nca=""']
)
def test_a_file_that_is_no_enrolment_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bed7.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"bed7\.toml is no enrolment"):
        read_enrolment(path)
