"""The models that are installed on a device, in the configured folder.

::

    beats.onnx, beats.json, beats.sig    an update that the vendor put there; never changed here
    installed/beats/VERSION/             an installed version: the same three files
    installed/beats/current              a `State`: the version in use, the one before, the rejected
    releases                             a `ReleaseMemory`, elsewhere: what this device has used

`current` is replaced by a rename after all that it names is on the disk. A power cut therefore
leaves either the old state or the new one. Installed files are verified each time they are loaded.
"""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from tocsin_agent.durable_file import remove_folder, replace_file, sync_folder, write_file
from tocsin_agent.regular_file import read_regular
from tocsin_agent.updates.files import (
    SUFFIXES,
    contract_of,
    read_file,
    read_model,
    unwritable,
)
from tocsin_agent.updates.releases import ReleaseMemory
from tocsin_agent.updates.signature import check_signature
from tocsin_models import CONTRACTS, Model, check_answers
from tocsin_models.errors import ModelError, ModelFault

log = logging.getLogger(__name__)

_MAX_STATE_BYTES = 64 * 1024
MAX_REJECTED = 8
"""How many versions a `State` keeps in `left`; older ones are forgotten."""


Version = Annotated[str, Meta(pattern=r"^[0-9a-f]{16}$(?!\n)")]
"""The first 16 digits of the SHA-256 of a model: the name of a folder, so nothing else is read."""


class State(msgspec.Struct, frozen=True):
    """The versions of one model; None stands for the shipped model.

    Attributes
    ----------
    current, previous : str or None
        The version in use, and the one that a rollback returns to.
    left : tuple of str
        Versions that were rolled back. They are installed again only by `ModelStore.install`, not
        because their files are still in the folder.
    newest : int
        The highest release number that was in use. A signature proves who made a model, not when:
        an older release is refused.
    """

    current: Version | None = None
    previous: Version | None = None
    left: tuple[Version, ...] = ()
    newest: int = 0


def verify(path: Path, public_key: Path) -> Model:
    """Load a model after checking its signature, hash, contract and answers.

    Parameters
    ----------
    path : Path
        The `.onnx` file, named after what it is for (`beats.onnx`, `vf.onnx`, `af.onnx`), with its
        card and its signature beside it.
    public_key : Path
        The vendor's ed25519 public key, PEM.

    Raises
    ------
    ModelError
        The reason says which check failed.
    """
    contract = contract_of(path)
    files = read_model(path)  # once: what is verified is what is loaded
    check_signature(path, files, public_key)
    model = Model(path, contract, content=files[".onnx"], card=files[".json"])
    check_answers(model)
    return model


def version_of(model: Model) -> str:
    """Return the version of a model: the first 16 digits of its SHA-256."""
    return model.sha256[:16]


class ModelStore:
    """The models that are installed on this device.

    Parameters
    ----------
    folder : Path
        The configured folder. In a read-only folder nothing can be installed.
    public_key : Path
        The vendor's ed25519 public key, PEM; only models signed with its key are used.
    releases : ReleaseMemory, optional
        What this device has used, remembered elsewhere: the folder may be swapped for an older one.
    """

    def __init__(
        self, folder: Path, public_key: Path, releases: ReleaseMemory | None = None
    ) -> None:
        self.folder, self._key = folder, public_key
        self._releases = releases or ReleaseMemory(None)
        self._installed = folder / "installed"

    def state(self, name: str) -> State:
        """Return the versions of a model; the empty state where the file cannot be read."""
        file = self._installed / name / "current"
        try:
            return msgspec.json.decode(read_regular(file, _MAX_STATE_BYTES), type=State)
        except FileNotFoundError:
            return State()
        except (OSError, msgspec.MsgspecError, RecursionError) as error:
            log.error("%s cannot be read (%s): using the shipped model", file, error)  # noqa: TRY400
            return State()

    def install(self, path: Path, *, older: bool = False) -> Model:
        """Verify a model and make it the current one; the one before it is kept.

        Parameters
        ----------
        path : Path
            The `.onnx` file, with its card and its signature beside it.
        older : bool
            Accept a release older than one that was in use.

        Raises
        ------
        ModelError
            If the model is refused or the folder cannot be written. The current model stays.
        """
        name = contract_of(path).name
        try:
            with self._locked(), self._staged(path) as staged:
                model = verify(staged / path.name, self._key)
                newest = max(self.state(name).newest, self._releases.newest(name))
                if model.release < newest and not older:
                    raise ModelError(
                        ModelFault.OLDER,
                        f"{path.name} is release {model.release}, and release {newest} was in use "
                        "here: `tocsin model install --older` installs it all the same",
                    )
                self._adopt(name, staged, model)
        except OSError as error:
            raise unwritable(self.folder, error) from error
        log.info("installed %s", model.id)
        return model

    def rollback(self, name: str) -> State:
        """Make the previous version the current one; return the new state.

        Raises
        ------
        ModelError
            If the shipped model is in use already, or the folder cannot be written.
        """
        if self.state(name).current is None:
            raise ModelError(ModelFault.MISSING, f"{name}: the shipped model is in use already")
        try:
            with self._locked():
                state = self.state(name)
                left = (*state.left, state.current or "")[-MAX_REJECTED:]
                back = State(state.previous, None, left, state.newest)
                self._write_state(name, back)
        except OSError as error:
            raise unwritable(self.folder, error) from error
        return back

    def offered(self) -> list[Path]:
        """Return the models in the folder that have never been in use here."""
        found = []
        for name in CONTRACTS:
            path = self.folder / f"{name}.onnx"
            if path.exists():
                state, version = self.state(name), _stated_version(path)
                if version is None or version not in {state.current, state.previous, *state.left}:
                    found.append(path)
        return found

    def load(
        self, name: str, shipped: Model | None, refused: Callable[[ModelError], None]
    ) -> Model | None:
        """Return the current model; its fallback is the previous one, whose fallback is `shipped`.

        Parameters
        ----------
        name : str
            `beats`, `vf`, `af` or `alarms`.
        shipped : Model or None
            Returned where no installed version can be used.
        refused : callable
            Called with the error of each installed version that fails its checks and is left out.
        """
        state, model = self.state(name), shipped
        for version in (state.previous, state.current):
            if version is None:
                continue
            try:
                newer = verify(self._installed / name / version / f"{name}.onnx", self._key)
                self._check_use(name, version, newer)
            except ModelError as error:
                refused(error)
            else:
                newer.fallback, model = model, newer
        return model

    def _check_use(self, name: str, version: str, model: Model) -> None:
        """Refuse a model that this device did not install itself and that is older than it used."""
        if version_of(model) != version:
            raise ModelError(ModelFault.HASH, f"{name}: {version} holds {version_of(model)}")
        if not self._releases.allows(name, version, model.release):
            raise ModelError(
                ModelFault.OLDER,
                f"{name}: release {model.release} was put in place, and release "
                f"{self._releases.newest(name)} was in use here: install a newer one",
            )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes from installing at the same time."""
        self._installed.mkdir(parents=True, exist_ok=True)
        with (self._installed / "lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _staged(self, path: Path) -> Iterator[Path]:
        """Copy a model to a folder where it cannot change between the check and the use."""
        staged = self._installed / "staged"
        remove_folder(staged)
        staged.mkdir()
        try:
            for suffix in SUFFIXES:
                write_file(staged / (path.stem + suffix), read_file(path.with_suffix(suffix)))
            sync_folder(staged)
            yield staged
        finally:
            remove_folder(staged)

    def _adopt(self, name: str, staged: Path, model: Model) -> None:
        """Make a staged and verified model the current one, and remove versions not needed."""
        state, shelf, version = self.state(name), self._installed / name, version_of(model)
        shelf.mkdir(exist_ok=True)
        target = shelf / version
        remove_folder(target)  # the same version, possibly damaged
        staged.replace(target)
        sync_folder(shelf)
        if version != state.current:
            left = tuple(old for old in state.left if old != version)
            state = State(version, state.current, left, max(state.newest, model.release))
            self._write_state(name, state)
        self._releases.note(name, version, model.release)
        for old in shelf.iterdir():
            if old.is_dir() and old.name not in {state.current, state.previous}:
                remove_folder(old)

    def _write_state(self, name: str, state: State) -> None:
        shelf = self._installed / name
        replace_file(shelf / "current", msgspec.json.encode(state))


def _stated_version(path: Path) -> str | None:
    """Return the version that the card of a model states; None if the card cannot be read."""
    try:
        card = read_file(path.with_suffix(".json"))
        return str(msgspec.json.decode(card)["sha256"])[:16]
    except (ModelError, msgspec.MsgspecError, LookupError, TypeError, RecursionError):
        return None
