"""Records judged on a Dask cluster: many machines that see the same files."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from tocsin_agent import __version__
from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.lab.evaluate.judge import Judgement, Task, judge_or_say

CONNECT_S = 10.0


class OtherSoftware(NamedTuple):
    """What a worker answers that is not of our software: `theirs` is what it runs."""

    theirs: str


@lru_cache(maxsize=1)  # what was imported stays, whatever becomes of the files
def software() -> str:
    """Return what judges here: the version, and a digest of the program and its models.

    The version alone would not tell two states of a working copy apart.
    """
    digest = hashlib.sha256()
    for name in _PACKAGES:
        folder = Path(str(files(name)))
        for path in sorted(folder.rglob("*")):
            if path.suffix in _CODE and "__pycache__" not in path.parts:
                digest.update(f"{name}/{path.relative_to(folder).as_posix()}\0".encode())
                digest.update(path.read_bytes())
    return f"tocsin {__version__} ({digest.hexdigest()[:12]})"


def judge_as(ours: str, task: Task) -> Judgement | str | OtherSoftware:
    """Judge a record in a worker, unless it runs another software than who asks."""
    theirs = software()
    return judge_or_say(task) if theirs == ours else OtherSoftware(theirs)


_PACKAGES = ("tocsin_agent", "tocsin_dsp", "tocsin_models")
_CODE = {".py", ".onnx", ".json"}


def judge_on(scheduler: str, tasks: Sequence[Task]) -> Iterator[tuple[Task, Judgement | str]]:
    """Judge on the workers of a Dask scheduler; yield in the order in which records end.

    What a worker had in hand when it died is judged again by another; where none is left, by the
    next that comes. A record on which workers die again and again (more often than the scheduler's
    `allowed-failures`) is said to have failed.

    Parameters
    ----------
    scheduler : str
        Its address, such as ``tcp://10.0.0.5:8786``. Only one that is trusted: Dask sends pickles.
    tasks : sequence of Task
        Their paths must name the same files on every worker, and tocsin must be installed there.

    Raises
    ------
    SourceError
        `MISSING_EXTRA` without distributed; `UNREACHABLE` if neither the scheduler nor a worker
        answers; `LOST` if the scheduler goes away; `MISMATCH` if a worker runs another tocsin: what
        it finds is not what would be found here.
    """
    distributed = _import_distributed()
    with _connect(distributed, scheduler) as client:
        # impure: a record may have changed since another run on the same cluster
        ours = software()
        _refuse_others(client, ours)
        waiting = {client.submit(judge_as, ours, task, pure=False): task for task in tasks}
        for future in distributed.as_completed(list(waiting), loop=client.loop):
            task = waiting.pop(future)
            try:
                outcome = future.result()
            except distributed.KilledWorker as error:
                outcome = f"{task.record} was given up, its workers died: {error}"
            except CancelledError as error:
                raise SourceError(
                    SourceFault.LOST, f"the Dask scheduler {scheduler} went away: start it again"
                ) from error
            if isinstance(outcome, OtherSoftware):
                raise _mismatch(ours, outcome.theirs)
            yield task, outcome


def _refuse_others(client: Any, ours: str) -> None:  # noqa: ANN401 - untyped
    """Refuse workers of another tocsin; one that comes later is refused when it answers a task."""
    for theirs in client.run(software, on_error="return").values():
        if isinstance(theirs, Exception):  # too old to be asked, or not there
            raise _mismatch(ours, f"what cannot be asked ({theirs})") from theirs
        if theirs != ours:
            raise _mismatch(ours, theirs)


def _mismatch(ours: str, theirs: str) -> SourceError:
    return SourceError(
        SourceFault.MISMATCH,
        f"a Dask worker runs {theirs}, and {ours} is here: install the same on every worker",
    )


def _connect(distributed: ModuleType, scheduler: str) -> Any:  # noqa: ANN401 - untyped
    try:
        with ThreadPoolExecutor(1) as apart:  # whoever called may run an event loop
            apart.submit(asyncio.run, _greet(distributed, scheduler)).result()
        client = distributed.Client(scheduler, timeout=CONNECT_S, set_as_default=False)
    except Exception as error:  # what is no scheduler breaks Dask anywhere: even a MemoryError
        raise SourceError(
            SourceFault.UNREACHABLE,
            f"no Dask scheduler answers at {scheduler} ({str(error) or 'it says nothing'}): "
            "start one with `dask scheduler`",
        ) from error
    try:
        client.wait_for_workers(1, timeout=CONNECT_S)
    except TimeoutError as error:
        client.close()
        raise SourceError(
            SourceFault.UNREACHABLE,
            f"the Dask scheduler {scheduler} has no worker: start some with "
            f"`dask worker {scheduler}`",
        ) from error
    return client


async def _greet(distributed: ModuleType, scheduler: str) -> None:
    """Hear from a scheduler in time; `Client` waits for ever where a port accepts and is mute."""
    arguments = distributed.Security().get_connection_args("client")
    async with asyncio.timeout(CONNECT_S):
        peer = distributed.rpc(scheduler, connection_args=arguments, timeout=CONNECT_S / 2)
        async with peer:
            await peer.identity()


def _import_distributed() -> ModuleType:
    try:
        import distributed  # noqa: PLC0415 - an extra, and slow to import
    except ImportError as error:
        raise SourceError(
            SourceFault.MISSING_EXTRA,
            "a Dask cluster needs the package distributed: pip install 'tocsin[fleet]'",
        ) from error
    return distributed  # type: ignore[no-any-return]
