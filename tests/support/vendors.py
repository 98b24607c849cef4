"""A vendor who signs models, valid and invalid ones."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

Card = dict[str, Any]


def another(content: bytes, mark: str = "b") -> bytes:
    """Return the same model with another hash: field 6 of an ONNX model is a free description."""
    text = mark.encode()
    return content + b"\x32" + bytes((len(text),)) + text


def tampered_model(path: Path) -> None:
    """Change one bit of a model file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def poisoned(content: bytes) -> bytes:
    """Replace every quantisation scale by NaN: tensors of type 1 with one packed float."""
    nan = b"\x10\x01\x22\x04\x00\x00\xc0\x7f"
    return re.sub(rb"\x10\x01\x22\x04....", nan, content, flags=re.DOTALL)


class Vendor:
    """Has a key, and writes signed releases into folders."""

    def __init__(self, folder: Path) -> None:
        self.private_key, self.public_key = folder / "vendor.pem", folder / "vendor.pub.pem"
        self._key = Ed25519PrivateKey.generate()
        self.private_key.write_bytes(
            self._key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        self.public_key.write_bytes(
            self._key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )

    def release(
        self,
        folder: Path,
        mark: str = "b",
        *,
        name: str = "beats",
        change: Callable[[bytes], bytes] = lambda content: content,
        card: Callable[[Card], object] = lambda _: None,
    ) -> Path:
        """Write a signed model; `mark` distinguishes releases."""
        folder.mkdir(parents=True, exist_ok=True)
        with resources.as_file(resources.files("tocsin_models")) as shipped:
            content = change(another((shipped / f"{name}.onnx").read_bytes(), mark))
            stated: Card = json.loads((shipped / f"{name}.json").read_text())
        stated["sha256"] = hashlib.sha256(content).hexdigest()
        card(stated)
        path = folder / f"{name}.onnx"
        path.write_bytes(content)
        path.with_suffix(".json").write_text(json.dumps(stated))
        self.sign(path)
        return path

    def sign(self, path: Path) -> None:
        """Sign the card of a model."""
        card = path.with_suffix(".json").read_bytes()
        path.with_suffix(".sig").write_bytes(self._key.sign(card))
