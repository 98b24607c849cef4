"""Updates of models in the field: signed, checked before use, undone when they fail.

A model is three files: `NAME.onnx`, its card `NAME.json`, and `NAME.sig`, the 64 bytes of an
ed25519 signature (RFC 8032) of the card. The card states the SHA-256 of the `.onnx`, so that the
signature vouches for both. What is installed lies under the configured folder:

    beats.onnx, beats.json, beats.sig    put there by the vendor; never changed here
    installed/beats/VERSION/             what was accepted, as it came
    installed/beats/current              which version is in use, which was before, which were left

`current` is replaced by a rename once all that it names is on the disk, so that a power cut leaves
either the old state or the new one. Whatever is found there later is checked again when it is
loaded; if nothing holds, the shipped model does.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import msgspec
import numpy as np

from tocsin_agent.messages.alert import Phase
from tocsin_agent.runtime.stream import StreamReport
from tocsin_models import AF, BEATS, VF, Model, Models, load_models
from tocsin_models.errors import ModelError, ModelFault
from tocsin_models.runner import Contract

log = logging.getLogger(__name__)

CONTRACTS = {contract.name: contract for contract in (BEATS, VF, AF)}
_SUFFIXES = (".onnx", ".json", ".sig")
_LEFT = 8  # versions that are remembered as left
_PROBES = 16


class State(msgspec.Struct, frozen=True):
    """Which versions of a model there are; None is the shipped one.

    A version in `left` was rolled back: it is not installed again unless a person says so. Nor is a
    release older than `newest`, the newest that was ever in use: a signature says who, not when.
    """

    current: str | None = None
    previous: str | None = None
    left: tuple[str, ...] = ()
    newest: int = 0


def verify(path: Path, public_key: Path) -> Model:
    """Check a model file: signature, hash, contract, and that it answers sensibly.

    Parameters
    ----------
    path : Path
        The `.onnx` file, named after what it is for (`beats.onnx`, `vf.onnx`, `af.onnx`), with its
        card and its signature beside it.
    public_key : Path
        The vendor's ed25519 key, PEM.

    Raises
    ------
    ModelError
        Saying which of these failed.
    """
    contract = _contract(path)
    _check_signature(path, public_key)
    model = Model(path, contract)
    _check_answers(model, contract)
    return model


def sign(path: Path, private_key: Path, release: int | None = None) -> Path:
    """Sign a model for the field; return the signature's path.

    Parameters
    ----------
    path, private_key : Path
    release : int, optional
        Written into the card first: devices refuse a lower number than they have seen.

    Raises
    ------
    ModelError
        If the model is not fit for this version, or the key is none.
    """
    _need_cryptography()
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - an extra
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415

    contract = _contract(path)
    _check_answers(Model(path, contract), contract)
    try:
        key = serialization.load_pem_private_key(_read(private_key), password=None)
    except (ValueError, TypeError) as error:
        raise ModelError(
            ModelFault.SIGNATURE, f"{private_key} is no private key: {error}"
        ) from error
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise ModelError(ModelFault.SIGNATURE, f"{private_key} is no ed25519 key: {_MAKE_A_KEY}")
    signature = path.with_suffix(".sig")
    try:
        if release is not None:
            card = msgspec.json.decode(_read(path.with_suffix(".json"))) | {"release": release}
            stated = msgspec.json.format(msgspec.json.encode(card), indent=2)
            path.with_suffix(".json").write_bytes(stated + b"\n")
        signature.write_bytes(key.sign(_read(path.with_suffix(".json"))))
    except OSError as error:
        raise _unwritable(signature, error) from error
    return signature


class ModelStore:
    """The models that were installed on this device.

    Parameters
    ----------
    folder : Path
        The configured folder; may be read-only, and then nothing can be installed.
    public_key : Path
        The vendor's key, PEM: nothing is used that it does not vouch for.
    """

    def __init__(self, folder: Path, public_key: Path) -> None:
        self.folder, self._key = folder, public_key
        self._installed = folder / "installed"

    def state(self, name: str) -> State:
        """Return which versions there are; a state that cannot be read counts as none."""
        file = self._installed / name / "current"
        try:
            return msgspec.json.decode(file.read_bytes(), type=State)
        except FileNotFoundError:
            return State()
        except (OSError, msgspec.MsgspecError) as error:
            log.error("%s cannot be read (%s): going on with the shipped model", file, error)  # noqa: TRY400
            return State()

    def install(self, path: Path, *, older: bool = False) -> Model:
        """Check a model and make it the one in use, the one before it being kept.

        Parameters
        ----------
        path : Path
        older : bool
            A person wants it though a newer release was in use here.

        Raises
        ------
        ModelError
            If it is refused, or the folder cannot be written; what was in use is in use still.
        """
        name = _contract(path).name
        try:
            with self._locked(), self._staged(path) as staged:
                model = verify(staged / path.name, self._key)
                newest = self.state(name).newest
                if model.release < newest and not older:
                    raise ModelError(
                        ModelFault.OLDER,
                        f"{path.name} is release {model.release}, and {newest} was in use here: "
                        "`tocsin model install --older` takes it all the same",
                    )
                self._adopt(name, staged, model)
        except OSError as error:
            raise _unwritable(self.folder, error) from error
        log.info("installed %s", model.id)
        return model

    def rollback(self, name: str) -> State:
        """Go back to the version before, or to the shipped one.

        Raises
        ------
        ModelError
            If the shipped one is in use, or the folder cannot be written.
        """
        if self.state(name).current is None:
            raise ModelError(ModelFault.MISSING, f"{name}: the shipped model is in use already")
        try:
            with self._locked():
                state = self.state(name)
                left = (*state.left, state.current or "")[-_LEFT:]
                back = State(state.previous, None, left, state.newest)
                self._write_state(name, back)
        except OSError as error:
            raise _unwritable(self.folder, error) from error
        return back

    def offered(self) -> list[Path]:
        """Return the models that the vendor put into the folder and that were never in use."""
        found = []
        for name in CONTRACTS:
            path = self.folder / f"{name}.onnx"
            if path.exists():
                state, version = self.state(name), _version_of(path)
                if version is None or version not in {state.current, state.previous, *state.left}:
                    found.append(path)
        return found

    def load(
        self, name: str, shipped: Model | None, refused: Callable[[ModelError], None]
    ) -> Model | None:
        """Return the model in use, each falling back on the one before it, the last on `shipped`.

        Parameters
        ----------
        name : str
        shipped : Model or None
        refused : callable
            Told of a version that no longer holds; it is passed over.
        """
        state, model = self.state(name), shipped
        for version in (state.previous, state.current):
            if version is None:
                continue
            try:
                newer = verify(self._installed / name / version / f"{name}.onnx", self._key)
            except ModelError as error:
                refused(error)
            else:
                newer.fallback, model = model, newer
        return model

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep another process from installing meanwhile."""
        self._installed.mkdir(parents=True, exist_ok=True)
        with (self._installed / "lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _staged(self, path: Path) -> Iterator[Path]:
        """Copy a model to where nobody else changes it between check and use."""
        staged = self._installed / "staged"
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir()
        try:
            for suffix in _SUFFIXES:
                _write(staged / (path.stem + suffix), _read(path.with_suffix(suffix)))
            _sync(staged)
            yield staged
        finally:
            shutil.rmtree(staged, ignore_errors=True)

    def _adopt(self, name: str, staged: Path, model: Model) -> None:
        state, shelf, version = self.state(name), self._installed / name, _version(model)
        shelf.mkdir(exist_ok=True)
        place = shelf / version
        shutil.rmtree(place, ignore_errors=True)  # the same one, perhaps damaged
        staged.replace(place)
        _sync(shelf)
        if version != state.current:
            left = tuple(old for old in state.left if old != version)
            state = State(version, state.current, left, max(state.newest, model.release))
            self._write_state(name, state)
        for old in shelf.iterdir():
            if old.is_dir() and old.name not in {state.current, state.previous}:
                shutil.rmtree(old, ignore_errors=True)

    def _write_state(self, name: str, state: State) -> None:
        shelf = self._installed / name
        _write(shelf / "current.new", msgspec.json.encode(state))
        (shelf / "current.new").replace(shelf / "current")
        _sync(shelf)


class FieldModels:
    """The models of a running agent: what is shipped, and what was installed since.

    Parameters
    ----------
    beats_path : Path or None
        The beat model where it is not the shipped one.
    store : ModelStore or None
        None: there are no updates.

    Attributes
    ----------
    models : Models
        Those in use.
    refused : str
        Why the last file that was refused was; empty while none was.
    on_change : callable
        Told of the models whenever others come into use.
    """

    def __init__(self, beats_path: Path | None, store: ModelStore | None) -> None:
        self.refused = ""
        self.on_change: Callable[[Models], None] = lambda _: None
        self._store = store
        self._shipped = load_models(beats_path, self._refuse)
        self._asked = threading.Event()
        self._failed_at_work = set[str]()
        self.models = self._look()

    def ask(self) -> None:
        """Have the folder looked at before the next block; any thread, any signal handler."""
        self._asked.set()

    def take(self) -> Models | None:
        """Return the models to go on with, if that was asked for and they are others."""
        if not self._asked.is_set():
            return None
        self._asked.clear()
        models = self._look()
        if models.hashes == self.models.hashes:
            log.info("no other models: %s", self.ids)
            return None
        self.models = models
        self.on_change(models)
        return models

    def heard(self, heard: StreamReport) -> None:
        """Hear of a model that failed at work: what it fell back on is in use from now on."""
        for alert in heard.alerts:
            if alert.code == "model_failed" and alert.phase is Phase.ONSET:
                self._failed(alert.evidence.measured)

    def _failed(self, said: Mapping[str, float | str]) -> None:
        name = str(said["model"])
        model: Model | None = getattr(self.models, name)
        if model is None or model.id != said.get("failed"):
            return
        self._failed_at_work.add(model.id)
        self.models = self.models._replace(**{name: model.fallback})
        self.on_change(self.models)
        if self._store is None or self._store.state(name).current != _version(model):
            return
        try:
            self._store.rollback(name)
        except ModelError as error:
            log.error("%s; it will be tried again after a restart", error)  # noqa: TRY400
        else:
            log.warning("%s is rolled back", model.id)

    @property
    def ids(self) -> dict[str, str]:
        """`name@hash` of each in use, by name."""
        return {name: model.id for name, model in self.models._asdict().items() if model}

    def health(self) -> dict[str, object]:
        """Tell what is in use, and what was refused."""
        return {"in_use": self.ids, "refused": self.refused}

    def _look(self) -> Models:
        """Install what the vendor offers, and load what is installed."""
        if self._store is None:
            return self._shipped
        for path in self._store.offered():
            try:
                self._store.install(path)
            except ModelError as error:
                self._refuse(error)
        loaded = dict[str, Model | None]()
        for name, shipped in self._shipped._asdict().items():
            model = self._store.load(name, shipped, self._refuse)
            while model is not None and model.id in self._failed_at_work:
                model = model.fallback
            loaded[name] = model
        return Models(**loaded)

    def _refuse(self, error: ModelError) -> None:
        self.refused = str(error)
        log.error("%s; going on without it", error)


_MAKE_A_KEY = "make one with `openssl genpkey -algorithm ed25519 -out vendor.pem`"


def _contract(path: Path) -> Contract:
    contract = CONTRACTS.get(path.stem)
    if contract is None or path.suffix != ".onnx":
        known = " or ".join(f"{name}.onnx" for name in CONTRACTS)
        raise ModelError(
            ModelFault.CONTRACT, f"{path}: a model is named after what it is for, {known}"
        )
    return contract


def _version(model: Model) -> str:
    return model.sha256[:16]


def _version_of(path: Path) -> str | None:
    """Return the version that a card speaks of; None if there is no telling."""
    try:
        return str(msgspec.json.decode(path.with_suffix(".json").read_bytes())["sha256"])[:16]
    except (OSError, msgspec.MsgspecError, LookupError, TypeError):
        return None


def _check_signature(path: Path, public_key: Path) -> None:
    _need_cryptography()
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - an extra
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415

    try:
        key = serialization.load_pem_public_key(_read(public_key))
    except ValueError as error:
        raise ModelError(ModelFault.SIGNATURE, f"{public_key} is no public key: {error}") from error
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise ModelError(ModelFault.SIGNATURE, f"{public_key} is no ed25519 key: {_MAKE_A_KEY}")
    try:
        key.verify(_read(path.with_suffix(".sig")), _read(path.with_suffix(".json")))
    except InvalidSignature as error:
        raise ModelError(
            ModelFault.SIGNATURE,
            f"{path.stem}.sig is no signature of {path.stem}.json by the holder of {public_key}: "
            "ask the vendor for the three files anew",
        ) from error


def _need_cryptography() -> None:
    if find_spec("cryptography") is None:
        raise ModelError(
            ModelFault.MISSING_EXTRA,
            "signatures of models need cryptography: pip install 'tocsin[update]'",
        )


def _check_answers(model: Model, contract: Contract) -> None:
    """Ask what is known to have sensible answers: chance, nothing, and the absurd."""
    draws = np.random.default_rng(4)
    inputs = [draws.normal(0.0, 1.0, (_PROBES, *shape)) for shape in contract.inputs.values()]
    for values in inputs:
        values[-2:] = np.array((0.0, 4.0)).reshape(2, *[1] * (values.ndim - 1))
    together = model.classify(*inputs)
    singly = [model.classify(*(x[i : i + 1] for x in inputs)) for i in range(_PROBES)]
    if not (together == np.concatenate(singly)).all():
        raise ModelError(ModelFault.OUTPUT, f"{model.name} answers a batch other than its members")
    sums = together.sum(axis=1)
    several = len(contract.labels) > 1
    if (together < 0).any() or (together > 1).any() or (several and abs(sums - 1).max() > 0.01):
        raise ModelError(ModelFault.OUTPUT, f"{model.name} answers what are no probabilities")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(ModelFault.MISSING, f"cannot read {path}: {error.strerror}") from error


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Have the disk know what the folder holds."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unwritable(path: Path, error: OSError) -> ModelError:
    return ModelError(
        ModelFault.UNWRITABLE, f"{path} cannot be written ({error.strerror}): nothing has changed"
    )
