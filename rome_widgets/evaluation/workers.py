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
from contextlib import closing
from functools import partial
from typing import Any, Generic, TypeVar

from rome_widgets.errors import ArgumentError, RomeWidgetsError, WorkersLost, said

J = TypeVar("J")
R = TypeVar("R")

HEARD_EVERY = 0.1
"""Seconds between two looks at a cancel while all workers are busy."""
MOST_FRUITLESS = 3
"""How often in a row workers may die without anything done in between."""
MOST_TRIES = 2
"""How often a worker may die of a part that was sent by itself."""


def each_alone(job: Sequence[R]) -> list[Sequence[R]]:
    """The parts of a job that is a list: its elements, each by itself."""
    return [[each] for each in job]


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
    parts: Callable[[J], Sequence[J]] = lambda job: (),
) -> Generator[tuple[J, R | None]]:
    """Every job with what `work` makes of it, as they are done.

    Where workers died again and again and nothing was done, the parts of what is left are sent one
    by one. A part whose worker dies `MOST_TRIES` times is what it dies of, and comes with None.

    Close it, if not all is taken: jobs that nobody has begun by then are never begun.

    Args:
        executor: Runs them.
        work: What is done with a job; for other processes a function of a module, or a
            `functools.partial` of one. Its first argument is how often jobs were sent before: to
            some clusters a call of equal arguments is the one that failed.
        jobs: What can be sent.
        check: Called while workers are busy, too; raises where the work should stop.
        parts: The jobs that a job consists of; none where it cannot be taken apart.

    Raises:
        WorkersLost: Workers died of every part of a job, or one fails.
        RomeWidgetsError: Whatever `work` raises of them.
    """
    waiting, fruitless = [*jobs], 0
    with closing(_Workers(executor, work, check)) as workers:
        while waiting and fruitless < MOST_FRUITLESS:
            lost: list[J] = []
            for job, future in workers.run(waiting):
                if future is None:
                    lost.append(job)
                else:
                    yield job, future.result()
            fruitless = fruitless + 1 if len(lost) == len(waiting) else 0
            # The one that its worker died of is among the first, and comes last now.
            waiting = lost[::-1]
        for job in waiting:
            yield from _one_by_one(workers, parts(job))


def _one_by_one(workers: _Workers[J, R], parts: Sequence[J]) -> Iterator[tuple[J, R | None]]:
    """Every part of a job of which workers died, and None with those of which they die, too.

    Raises:
        WorkersLost: They die of every one: so it is not the part.
    """
    deadly = []
    for part in parts:
        for _ in range(MOST_TRIES):
            ((_, future),) = workers.run([part])
            if future is not None:
                yield part, future.result()
                break
        else:
            deadly.append(part)
    if len(deadly) == len(parts):
        raise _lost_again(workers.why)
    for part in deadly:
        yield part, None


class _Workers(Generic[J, R]):
    """An executor; where it is a pool of processes, after a death another of the same making.

    Attributes:
        why: What the latest death was told by.
    """

    def __init__(
        self, executor: Executor, work: Callable[[int, J], R], check: Callable[[], object]
    ) -> None:
        self._executor, self._work, self._check = executor, work, check
        self._sent, self._ours = 0, False
        self.why: BaseException | None = None

    def run(self, jobs: Sequence[J]) -> Iterator[tuple[J, Future[R] | None]]:
        """Jobs as they end, with what holds the result; None where the worker died."""
        died, work = None, partial(self._work, self._sent)
        self._sent += 1
        with closing(_settled(self._executor, work, jobs, self._check)) as settled:
            for job, future in settled:
                loss = _loss(future)
                died = loss or died
                yield job, None if loss else future
        if died is not None:
            self.why = died
            if isinstance(self._executor, ProcessPoolExecutor) and isinstance(died, BrokenExecutor):
                self.close()
                self._executor, self._ours = _like(self._executor), True

    def close(self) -> None:
        """End the processes of a pool that we made, whatever they are at: nobody waits for it."""
        if self._ours:
            pool: Any = self._executor
            processes = [*(pool._processes or {}).values()]
            pool.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.terminate()


def _settled(
    executor: Executor,
    work: Callable[[J], R],
    jobs: Iterable[J],
    check: Callable[[], object],
) -> Generator[tuple[J, Future[R]]]:
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
