"""Records judged on a Dask cluster: many machines that see the same files."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from types import ModuleType
from typing import Any

from tocsin_agent.evaluate.judge import Judgement, Task, judge_or_say
from tocsin_dsp.errors import SourceError, SourceFault

CONNECT_S = 10.0


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
        answers; `LOST` if the scheduler goes away.
    """
    distributed = _import_distributed()
    with _connect(distributed, scheduler) as client:
        # impure: a record may have changed since another run on the same cluster
        waiting = {client.submit(judge_or_say, task, pure=False): task for task in tasks}
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
            yield task, outcome


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
