"""The models that a running agent uses: the shipped ones, and updates of them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection
from pathlib import Path
from typing import Self

from tocsin_agent.messages.health import ModelHealth
from tocsin_agent.updates.releases import ReleaseMemory
from tocsin_agent.updates.settings import ModelSettings
from tocsin_agent.updates.store import ModelStore, version_of
from tocsin_models import Model, Models, load_models
from tocsin_models.errors import ModelError

log = logging.getLogger(__name__)


class FieldModels:
    """The models in use, and their updates.

    Parameters
    ----------
    shipped : Models
        Used where no update is installed.
    store : ModelStore, optional
        The updates; without one, models do not change but for `failed`.

    Attributes
    ----------
    models : Models
        The models in use.
    refused : str
        Why the last model file that was refused was; empty where none was.
    """

    def __init__(self, shipped: Models, store: ModelStore | None = None) -> None:
        self.refused = ""
        self._shipped, self._store = shipped, store
        self._requested = threading.Event()
        self._worker: threading.Thread | None = None
        self._loaded: Models | None = None
        self._failed = set[str]()  # ids of models that failed while in use
        self.models = self._load()

    @classmethod
    def from_settings(cls, settings: ModelSettings, outbox: Path | None = None) -> Self:
        """Load the models that a configuration names; one that is refused is logged and left out.

        The monitor raises `model_failed` for a model that is left out. The releases that were used
        are remembered beside `outbox`.
        """
        store = None
        if settings.folder and settings.public_key:
            releases = ReleaseMemory.beside(outbox) if outbox is not None else None
            store = ModelStore(Path(settings.folder), Path(settings.public_key), releases)
        refused: list[ModelError] = []
        path = Path(settings.path) if settings.path else None
        field = cls(load_models(path, refused.append), store)
        for error in refused:
            log.error("%s; the model is not used", error)
            field.refused = field.refused or str(error)
        return field

    def request_update(self) -> None:
        """Let the next call of `update` look for updates; any thread, also a signal handler."""
        self._requested.set()

    def update(self) -> Models | None:
        """Look for updates if that was requested; return the models in use where they changed.

        Files are read and verified in a thread of their own, and this returns at once: a later call
        returns what that thread has loaded.
        """
        if self._worker is None:
            if self._requested.is_set():
                self._requested.clear()
                self._worker = threading.Thread(target=self._load_aside, daemon=True)
                self._worker.start()
            return None
        if self._worker.is_alive():
            return None
        self._worker, loaded = None, self._loaded
        if loaded is None:
            return None
        # A model may have failed in use while its update was verified.
        models = Models(*(_without(self._failed, model) for model in loaded))
        if models.hashes == self.models.hashes:
            log.info("no update of the models: %s", self.ids)
            return None
        self.models = models
        return models

    @property
    def busy(self) -> bool:
        """True while an update is requested or being verified."""
        return self._requested.is_set() or self._worker is not None

    def failed(self, name: str, model_id: str) -> Models | None:
        """Replace a model that failed while in use by its fallback, and roll it back if installed.

        Parameters
        ----------
        name : str
            `beats`, `vf`, `af` or `alarms`.
        model_id : str
            The id of the model that failed.

        Returns
        -------
        Models or None
            The models in use from now on; None where the failed model is no longer in use.
        """
        model: Model | None = getattr(self.models, name)
        if model is None or model.id != model_id:
            return None
        self._failed.add(model_id)
        self.models = self.models._replace(**{name: model.fallback})
        if self._store is not None and self._store.state(name).current == version_of(model):
            try:
                self._store.rollback(name)
            except ModelError as error:
                log.error("%s; it will be used again after a restart", error)  # noqa: TRY400
            else:
                log.warning("rolled back %s", model_id)
        return self.models

    @property
    def ids(self) -> dict[str, str]:
        """`name@hash` of each model in use, by name."""
        return {name: model.id for name, model in self.models._asdict().items() if model}

    def health(self) -> ModelHealth:
        """Return the models in use and the last refusal, for the health message."""
        return ModelHealth(in_use=self.ids, refused=self.refused)

    def _load_aside(self) -> None:
        self._loaded = None
        try:
            self._loaded = self._load()
        except Exception as error:  # nothing may end the monitoring
            log.exception("looking for updates of the models")
            self.refused = str(error)

    def _load(self) -> Models:
        """Install the updates in the folder, and load what is installed."""
        if self._store is not None:
            self._install_offered(self._store)
        loaded = dict[str, Model | None]()
        for name, shipped in self._shipped._asdict().items():
            store = self._store
            model = store.load(name, shipped, self._refuse) if store is not None else shipped
            loaded[name] = _without(self._failed, model)
        return Models(**loaded)

    def _install_offered(self, store: ModelStore) -> None:
        for path in store.offered():
            try:
                store.install(path)
            except ModelError as error:
                self._refuse(error)

    def _refuse(self, error: ModelError) -> None:
        self.refused = str(error)
        log.error("%s; the model is not used", error)


class SharedModels(FieldModels):
    """The models of one patient of several: loaded once, replaced where they fail for this one.

    Parameters
    ----------
    common : FieldModels
        Loads the models and their updates for all patients; somebody else calls its `update`.
    """

    def __init__(self, common: FieldModels) -> None:
        self._common, self._seen = common, common.models
        super().__init__(common.models)

    def update(self) -> Models | None:
        """Return the models in use where the common ones have changed."""
        if self._common.models is self._seen:
            return None
        self._seen = self._shipped = self._common.models
        self.models = self._load()
        return self.models

    def health(self) -> ModelHealth:
        """Return the models that this patient uses, and the last file that was refused."""
        return ModelHealth(in_use=self.ids, refused=self._common.refused)


def _without(failed: Collection[str], model: Model | None) -> Model | None:
    """Return the model, or the first of its fallbacks that has not failed."""
    while model is not None and model.id in failed:
        model = model.fallback
    return model
