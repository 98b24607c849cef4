"""A bundle is accepted as the vendor made it, and refused in any other form."""

from __future__ import annotations

import io
import os
import platform
import random
import sys
import tarfile
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from support.agent_bundles import EXPIRES, bundle, small_site
from support.vendors import Vendor
from tocsin_agent.errors import UpdateError, UpdateFault
from tocsin_agent.updates import bundle as bundles
from tocsin_agent.updates import manifest as manifests
from tocsin_agent.updates.manifest import File, Manifest

NOW = datetime.now(UTC)
Change = Callable[[tarfile.TarFile], object]


class Shop:
    """A vendor and a site, and the bundle that both have signed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("vendor", "site"):
            (folder / name).mkdir()
        self.vendor, self.site = Vendor(folder / "vendor"), Vendor(folder / "site")
        self.tree = small_site(folder / "tree")
        self.path = folder / "new.bundle"
        bundle(self.tree, self.path, self.vendor.private_key, self.site.private_key)
        self.keys = [self.vendor.public_key, self.site.public_key]

    def verify(self, threshold: int = 2, now: datetime = NOW, path: Path | None = None) -> Manifest:
        with bundles.open_bundle(path or self.path) as file:
            return bundles.verify(file, self.keys, threshold, now)

    def unpacked(self, manifest: Manifest) -> Path:
        target = self.folder / "slot"
        with bundles.open_bundle(self.path) as file:
            bundles.unpack(file, manifest, target)
        return target

    def forged(self, change: Callable[[Manifest], Manifest], payload: bytes | None = None) -> Path:
        """Return a bundle of another content, signed as it should be: the vendor erred."""
        with bundles.open_bundle(self.path) as file:
            parts = bundles.read_parts(file)
            file.seek(parts.payload)
            stated = msgspec.json.decode(parts.manifest, type=Manifest)
            content = payload if payload is not None else file.read(stated.payload.size)
        stated = change(
            msgspec.structs.replace(stated, payload=bundles._hashed(io.BytesIO(content)))
        )
        bundles._write(self.path, msgspec.json.encode(stated), b"[]", io.BytesIO(content))
        for signer in (self.vendor, self.site):
            bundles.sign(self.path, signer.private_key)
        return self.path


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def refused(shop: Shop, why: UpdateFault, **how: object) -> str:
    with pytest.raises(UpdateError) as caught:
        shop.verify(**how)  # type: ignore[arg-type]
    assert caught.value.reason is why
    return str(caught.value)


def test_a_bundle_is_unpacked_as_it_was_made(shop: Shop) -> None:
    manifest = shop.verify()
    assert (manifest.version, manifest.release) == ("9.0", 1)
    assert (manifest.machine, manifest.python) == (
        platform.machine(),
        "{}.{}".format(*sys.version_info),
    )
    folder = shop.unpacked(manifest)
    for path in shop.tree.rglob("*"):
        if path.is_file():
            again = folder / bundles.SITE / path.relative_to(shop.tree)
            assert again.read_bytes() == path.read_bytes()
    assert bundles.verify_unpacked(folder, shop.keys, 2) == manifest


def test_tar_can_read_a_bundle_and_equal_input_gives_an_equal_one(shop: Shop) -> None:
    with tarfile.open(shop.path) as archive:
        assert archive.getnames() == ["manifest.json", "signatures.json", "payload"]
    first = shop.path.read_bytes()
    bundle(shop.tree, shop.path, shop.vendor.private_key, shop.site.private_key)
    assert shop.path.read_bytes() == first


def test_a_compressed_bundle_is_unpacked_too(shop: Shop) -> None:
    bundles.make(shop.tree, shop.path, 1, EXPIRES, level=1)
    for signer in (shop.vendor, shop.site):
        bundles.sign(shop.path, signer.private_key)
    manifest = shop.verify()
    assert manifest.compression == "xz"
    assert bundles.verify_unpacked(shop.unpacked(manifest), shop.keys, 2) == manifest


def test_as_many_keys_as_configured_must_have_signed(shop: Shop, tmp_path: Path) -> None:
    bundle(shop.tree, shop.path, shop.vendor.private_key)
    assert shop.verify(threshold=1)
    assert "1 of the 2 keys" in refused(shop, UpdateFault.SIGNATURE)
    bundles.sign(shop.path, shop.vendor.private_key)
    refused(shop, UpdateFault.SIGNATURE)  # the same key twice is one
    shop.keys = [shop.vendor.public_key, shop.vendor.public_key]
    refused(shop, UpdateFault.SIGNATURE)
    (tmp_path / "other").mkdir()
    shop.keys = [Vendor(tmp_path / "other").public_key]
    refused(shop, UpdateFault.SIGNATURE, threshold=1)
    shop.keys = [tmp_path / "none.pem"]
    assert "none.pem" in refused(shop, UpdateFault.SIGNATURE, threshold=1)


def test_an_expired_bundle_is_refused_by_a_clock_that_was_set(shop: Shop) -> None:
    after = EXPIRES + timedelta(seconds=1)
    assert "expired on" in refused(shop, UpdateFault.EXPIRED, now=after)
    assert shop.verify(now=datetime(2000, 1, 1, tzinfo=UTC)), "this clock cannot tell"
    folder = shop.unpacked(shop.verify())
    assert bundles.verify_unpacked(folder, shop.keys, 2), "a version in use does not expire"


@pytest.mark.parametrize("change", [{"machine": "riscv64"}, {"python": "3.99"}])
def test_a_version_for_another_machine_is_refused(shop: Shop, change: dict[str, str]) -> None:
    shop.forged(lambda stated: msgspec.structs.replace(stated, **change))
    assert "and here is" in refused(shop, UpdateFault.UNFIT)


def test_a_bundle_of_a_later_format_says_what_to_do(shop: Shop) -> None:
    shop.forged(lambda stated: stated)
    content = shop.path.read_bytes()
    with bundles.open_bundle(shop.path) as file:
        manifest = bundles.read_parts(file).manifest
    later = msgspec.json.decode(manifest) | {"format": 2, "new": True}
    with pytest.raises(UpdateError, match="install the package") as caught:
        manifests.decode(msgspec.json.encode(later))
    assert caught.value.reason is UpdateFault.UNFIT
    assert content


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a//b", "a/./b", "a/..", "a\\b", "a\nb", ""])
def test_a_path_out_of_the_slot_is_refused(shop: Shop, path: str) -> None:
    stated = shop.verify()
    named = msgspec.to_builtins(stated) | {"files": {path: [1, "0" * 64]}}
    with pytest.raises(UpdateError) as caught:
        manifests.decode(msgspec.json.encode(named))
    assert caught.value.reason is UpdateFault.UNREADABLE


def _archive(fill: Change) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        fill(archive)
    return content.getvalue()


def _add(name: str, content: bytes = b"", **fields: object) -> Change:
    def fill(archive: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        for field, value in fields.items():
            setattr(info, field, value)
        archive.addfile(info, io.BytesIO(content))

    return fill


@pytest.mark.parametrize(
    "fill",
    [
        _add("../out", b"x"),
        _add("/tmp/out", b"x"),  # noqa: S108
        _add("data/a", b"a" * 999),
        _add("data/a", b"b" * 1000),
        _add("data/a", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        _add("data/a", type=tarfile.LNKTYPE, linkname="../../out"),
        _add("data/a", type=tarfile.CHRTYPE),
        _add("data", type=tarfile.DIRTYPE),
        lambda archive: [_add("data/a", b"a" * 1000)(archive) for _ in range(2)],
        lambda _: None,
    ],
)
def test_a_payload_that_is_not_as_signed_writes_nothing_outside(shop: Shop, fill: Change) -> None:
    shop.forged(lambda stated: stated, _archive(fill))
    manifest = shop.verify()
    with pytest.raises(UpdateError) as caught:
        shop.unpacked(manifest)
    assert caught.value.reason is UpdateFault.UNREADABLE
    outside = {path.name for path in shop.folder.iterdir()}
    assert outside <= {"vendor", "site", "tree", "new.bundle", "slot"}


def test_any_change_of_any_byte_is_refused_before_anything_is_unpacked(shop: Shop) -> None:
    content, rng = shop.path.read_bytes(), random.Random(3)
    checked = shop.verify()
    for at in rng.sample(range(len(content)), 150):
        changed = bytearray(content)
        changed[at] ^= 1 << rng.randrange(8)
        shop.path.write_bytes(changed)
        with suppress(UpdateError):
            assert shop.verify() == checked, "only padding and unused fields of a header"
    for size in (0, 1, 511, 512, 1024, len(content) // 2):
        shop.path.write_bytes(content[:size])
        refused(shop, UpdateFault.UNREADABLE)


def test_what_is_no_file_is_refused_at_once(shop: Shop) -> None:
    os.mkfifo(shop.folder / "pipe")
    for path in (shop.folder / "pipe", shop.folder / "none", shop.folder, Path("/dev/zero")):
        refused(shop, UpdateFault.UNREADABLE, path=path)


def test_headers_that_lie_about_their_size_take_no_memory(shop: Shop) -> None:
    info = tarfile.TarInfo("manifest.json")
    info.size = 7 << 30
    shop.path.write_bytes(info.tobuf(tarfile.GNU_FORMAT))
    refused(shop, UpdateFault.UNREADABLE)
    shop.path.write_bytes(_archive(_add("manifest.json", type=tarfile.XHDTYPE)))
    refused(shop, UpdateFault.UNREADABLE)


@pytest.mark.parametrize("what", ["changed", "missing", "more", "link", "unsigned", "hidden"])
def test_an_unpacked_version_is_checked_whole(shop: Shop, what: str) -> None:
    folder = shop.unpacked(shop.verify())
    site = folder / bundles.SITE
    target = site / "data/a"
    if what == "changed":
        target.chmod(0o600)
        target.write_text("b" * 1000)
    elif what == "missing":
        target.unlink()
    elif what == "more":
        (site / "sitecustomize.py").write_text("print('hello')")
    elif what == "link":
        target.unlink()
        target.symlink_to(shop.tree / "data/a")
    elif what == "hidden":
        (site / "linked").symlink_to("/tmp")  # noqa: S108
    else:
        (folder / bundles.SIGNATURES).write_text("[]")
    with pytest.raises(UpdateError):
        bundles.verify_unpacked(folder, shop.keys, 2)


def test_only_an_agent_for_one_machine_is_packed(shop: Shop) -> None:
    def why() -> str:
        with pytest.raises(UpdateError) as caught:
            bundles.make(shop.tree, shop.path, 1, EXPIRES)
        return str(caught.value)

    (shop.tree / "slow.cpython-311-riscv64-linux-gnu.so").write_text("")
    assert "3.11 on riscv64" in why()
    (shop.tree / "slow.cpython-311-riscv64-linux-gnu.so").unlink()
    (shop.tree / "link").symlink_to("/etc/passwd")
    assert "no regular file" in why()
    (shop.tree / "link").unlink()
    (shop.tree / "tocsin_agent/__init__.py").unlink()
    assert "no agent" in why()


def test_a_payload_larger_than_stated_is_not_written(shop: Shop) -> None:
    payload = _archive(_add("data/a", bytes(5_000_000)))
    shop.forged(
        lambda stated: msgspec.structs.replace(stated, files={"data/a": File(1000, "0" * 64)}),
        payload,
    )
    with pytest.raises(UpdateError, match="not as signed"):
        shop.unpacked(shop.verify())
