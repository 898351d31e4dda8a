"""Pieces of work in the workers of an executor, each done once, whatever dies. No torch.

An executor of `concurrent.futures` (a pool of processes or threads, that of a Dask client) runs the
pieces in any order; who asked for them takes the results one by one, and alone writes them down.
Where a worker dies, what it had not given back is sent again. A pool of processes is broken then as
a whole, and replaced by one of the same making.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from contextlib import ExitStack
from functools import partial
from typing import Any, TypeVar

from rome_widgets.errors import ArgumentError, RomeWidgetsError, WorkersLost, said

J = TypeVar("J")
R = TypeVar("R")

HEARD_EVERY = 0.1
"""Seconds between two looks at a cancel while all workers are busy."""
MOST_FRUITLESS = 3
"""How often in a row workers may die without anything done in between."""


def an_executor(value: Any, name: str) -> Executor:
    """A check of arguments (see `records.arguments`): an executor that can have our work.

    Raises:
        ArgumentError: It is none, or a pool of forked processes: torch's threads are not there in
            a fork, which waits for them for ever.
    """
    if not isinstance(value, Executor):
        raise ArgumentError(
            f"{name} is {said(value)}.",
            "An executor of concurrent.futures was wanted.",
            "Of a Dask client it is client.get_executor().",
        )
    if isinstance(value, ProcessPoolExecutor) and _start_method(value) == "fork":
        raise ArgumentError(
            f"{name} is a pool of forked processes, in which torch stands still.",
            "Processes that begin anew were wanted.",
            'Say mp_context=multiprocessing.get_context("spawn").',
        )
    return value


def shares_memory(executor: Executor) -> bool:
    """Whether its workers are threads of this process, which use the model that is here."""
    return isinstance(executor, ThreadPoolExecutor)


def done_by(
    executor: Executor,
    work: Callable[[int, J], R],
    jobs: Sequence[J],
    check: Callable[[], object] = lambda: None,
) -> Generator[tuple[J, R]]:
    """Every job with what `work` makes of it, as they are done.

    Close it, if not all is taken: jobs that nobody has begun by then are never begun.

    Args:
        executor: Runs them.
        work: What is done with a job; for other processes a function of a module, or a
            `functools.partial` of one. Its first argument is how often jobs were sent before: to
            some clusters a call of equal arguments is the one that failed.
        jobs: What can be sent.
        check: Called while workers are busy, too; raises where the work should stop.

    Raises:
        WorkersLost: Workers died again and again and nothing was done any more, or one fails.
        RomeWidgetsError: Whatever `work` raises of them.
    """
    waiting, sent, fruitless = [*jobs], 0, 0
    with ExitStack() as of_ours:
        while waiting:
            lost: list[J] = []
            why: BaseException | None = None
            for job, future in _settled(executor, partial(work, sent), waiting, check):
                if (loss := _loss(future)) is None:
                    yield job, future.result()
                else:
                    lost, why = [*lost, job], loss
            fruitless = fruitless + 1 if len(lost) == len(waiting) else 0
            if fruitless == MOST_FRUITLESS:
                raise _lost_again(why)
            if isinstance(executor, ProcessPoolExecutor) and isinstance(why, BrokenExecutor):
                executor = _like(executor)
                of_ours.callback(executor.shutdown, wait=False, cancel_futures=True)
            # The one that its worker died of is among the first, and comes last now.
            waiting, sent = lost[::-1], sent + 1


def _settled(
    executor: Executor,
    work: Callable[[J], R],
    jobs: Iterable[J],
    check: Callable[[], object],
) -> Iterator[tuple[J, Future[R]]]:
    """Jobs as they end, however they do."""
    jobs_of: dict[Future[R], J] = {}
    try:
        for job in jobs:
            jobs_of[_sent(executor, work, job)] = job
        waiting = set(jobs_of)
        while waiting:
            check()
            ended, waiting = wait(waiting, HEARD_EVERY, FIRST_COMPLETED)
            for future in ended:
                yield jobs_of.pop(future), future
    finally:
        for future in jobs_of:
            future.cancel()


def _sent(executor: Executor, work: Callable[[J], R], job: J) -> Future[R]:
    try:
        return executor.submit(work, job)
    except BrokenExecutor as error:
        broken: Future[R] = Future()
        broken.set_exception(error)
        return broken
    except RuntimeError as error:  # Python's word for one that was shut down
        raise ArgumentError(
            f"The executor takes no work: {error}.", "One that is open was wanted."
        ) from None


def _loss(future: Future[Any]) -> BaseException | None:
    """That its worker died; None where there is a result, or an error of ours.

    Raises:
        WorkersLost: The worker is there, and cannot do it.
    """
    try:
        error = future.exception()
    except CancelledError as cancelled:
        return cancelled
    if isinstance(error, (BrokenExecutor, CancelledError)) or _is_of_dask(error):
        return error
    if isinstance(error, Exception) and not isinstance(error, RomeWidgetsError):
        raise WorkersLost(
            f"A worker cannot do its part: {type(error).__name__}: {error}.",
            "Workers with this version of rome_widgets, and what it needs, were wanted.",
        ) from error
    return None


def _is_of_dask(error: object) -> bool:
    """As its KilledWorker, of work that several workers died of."""
    return type(error).__module__.partition(".")[0] == "distributed"


def _start_method(pool: Any) -> str:
    """How a pool makes its processes, of which nothing public tells."""
    return pool._mp_context.get_start_method()


def _like(pool: Any) -> ProcessPoolExecutor:
    """A new pool that is made as this one was, likewise."""
    made = pool._max_workers, pool._mp_context, pool._initializer, pool._initargs
    return ProcessPoolExecutor(*made, max_tasks_per_child=pool._max_tasks_per_child)


def _lost_again(why: BaseException | None) -> WorkersLost:
    return WorkersLost(
        f"Workers died {MOST_FRUITLESS} times in a row, and nothing was done in between: "
        f"{type(why).__name__}: {why}",
        "Workers that outlive their work were wanted; what was done is kept where there is a log.",
        "Give them more memory, or run without an executor to see what they die of.",
    )
