"""Evaluation of records on the workers of a Dask cluster, which access the same files."""

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
from tocsin_agent.errors import LabError
from tocsin_agent.extras import import_extra
from tocsin_agent.lab.evaluate.judge import Judgement, Task, judge_or_fail

CONNECT_S = 10.0  # for the scheduler
WORKER_S = 10.0  # for a first worker


class OtherSoftware(NamedTuple):
    """The answer of a worker that runs other software than the client, as `software` states it."""

    software: str


@lru_cache(maxsize=1)  # of the code that was imported, even if the files change later
def software() -> str:
    """Return the version of this software with a digest of the program and its models.

    The version alone would not distinguish two states of a checkout.
    """
    digest = hashlib.sha256()
    for name in _PACKAGES:
        folder = Path(str(files(name)))
        for path in sorted(folder.rglob("*")):
            if path.suffix in _CODE and "__pycache__" not in path.parts:
                digest.update(f"{name}/{path.relative_to(folder).as_posix()}\0".encode())
                digest.update(path.read_bytes())
    return f"tocsin {__version__} ({digest.hexdigest()[:12]})"


def judge_with(expected: str, task: Task) -> Judgement | str | OtherSoftware:
    """Judge a record in a worker, if it runs the expected software."""
    found = software()
    return judge_or_fail(task) if found == expected else OtherSoftware(found)


_PACKAGES = ("tocsin_agent", "tocsin_dsp", "tocsin_models")
_CODE = {".py", ".onnx", ".json"}


def judge_on(scheduler: str, tasks: Sequence[Task]) -> Iterator[tuple[Task, Judgement | str]]:
    """Judge on the workers of a Dask scheduler; yield records in the order of completion.

    The records of a worker that dies are judged by another one, or, if none is left, by the next
    that connects. A record on which more workers die than the scheduler's `allowed-failures` is
    reported as failed.

    Parameters
    ----------
    scheduler : str
        Its address, such as ``tcp://10.0.0.5:8786``. It must be trusted: Dask sends pickles.
    tasks : sequence of Task
        Their paths must name the same files on every worker, and tocsin must be installed there.

    Raises
    ------
    MissingExtraError
        Without distributed.
    LabError
        If the scheduler or its workers do not answer, if the connection to the scheduler is lost,
        or if a worker runs another version of tocsin, whose results would differ from those here.
    """
    distributed = import_extra("distributed", "fleet", "a Dask cluster")
    with _connect(distributed, scheduler) as client:
        expected = software()
        _refuse_other_software(client, expected)
        # Not pure: a record may have changed since another run on the same cluster.
        waiting = {client.submit(judge_with, expected, task, pure=False): task for task in tasks}
        for future in distributed.as_completed(list(waiting), loop=client.loop):
            task = waiting.pop(future)
            try:
                outcome = future.result()
            except distributed.KilledWorker as error:
                outcome = f"{task.record} failed, its workers died: {error}"
            except CancelledError as error:
                raise LabError(
                    f"the connection to the Dask scheduler {scheduler} is lost: start it again"
                ) from error
            if isinstance(outcome, OtherSoftware):
                raise _mismatch(expected, outcome.software)
            yield task, outcome


def _refuse_other_software(client: Any, expected: str) -> None:  # noqa: ANN401 - untyped
    """Refuse workers of another version; those that connect later are refused by their answer."""
    for found in client.run(software, on_error="return").values():
        if isinstance(found, Exception):  # too old for `software`, or not installed
            raise _mismatch(expected, f"an unknown version ({found})") from found
        if found != expected:
            raise _mismatch(expected, found)


def _mismatch(expected: str, found: str) -> LabError:
    return LabError(
        f"a Dask worker runs {found}, this is {expected}: install the same version on every worker"
    )


def _connect(distributed: ModuleType, scheduler: str) -> Any:  # noqa: ANN401 - untyped
    try:
        with ThreadPoolExecutor(1) as thread:  # the caller may run an event loop
            thread.submit(asyncio.run, _shake_hands(distributed, scheduler)).result()
        client = distributed.Client(scheduler, timeout=CONNECT_S, set_as_default=False)
    except Exception as error:  # a port of another service makes Dask raise anything
        raise LabError(
            f"no Dask scheduler answers at {scheduler} ({str(error) or 'no answer'}): "
            "start one with `dask scheduler`"
        ) from error
    try:
        client.wait_for_workers(1, timeout=WORKER_S)
    except TimeoutError as error:
        client.close()
        raise LabError(
            f"the Dask scheduler {scheduler} has no worker: start some with "
            f"`dask worker {scheduler}`"
        ) from error
    return client


async def _shake_hands(distributed: ModuleType, scheduler: str) -> None:
    """Shake hands with a timeout: `Client` blocks on a port that never answers."""
    arguments = distributed.Security().get_connection_args("client")
    async with asyncio.timeout(CONNECT_S):
        peer = distributed.rpc(scheduler, connection_args=arguments, timeout=CONNECT_S / 2)
        async with peer:
            await peer.identity()
