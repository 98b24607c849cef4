"""The models that a running agent uses: the shipped ones, and updates of them."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Self

from tocsin_agent.messages.health import ModelHealth
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
        self._failed = set[str]()  # ids of models that failed while in use
        self.models = self._load()

    @classmethod
    def from_settings(cls, settings: ModelSettings) -> Self:
        """Load the models that a configuration names; one that is refused is logged and left out.

        The monitor raises `model_failed` for a model that is left out.
        """
        store = None
        if settings.folder and settings.public_key:
            store = ModelStore(Path(settings.folder), Path(settings.public_key))
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
        """Look for updates if that was requested; return the models in use where they changed."""
        if not self._requested.is_set():
            return None
        self._requested.clear()
        models = self._load()
        if models.hashes == self.models.hashes:
            log.info("no update of the models: %s", self.ids)
            return None
        self.models = models
        return models

    def failed(self, name: str, model_id: str) -> Models | None:
        """Replace a model that failed while in use by its fallback, and roll it back if installed.

        Parameters
        ----------
        name : str
            `beats`, `vf` or `af`.
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

    def _load(self) -> Models:
        """Install the updates in the folder, and load what is installed."""
        if self._store is not None:
            self._install_offered(self._store)
        loaded = dict[str, Model | None]()
        for name, shipped in self._shipped._asdict().items():
            store = self._store
            model = store.load(name, shipped, self._refuse) if store is not None else shipped
            while model is not None and model.id in self._failed:
                model = model.fallback
            loaded[name] = model
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
