"""Executors whose workers die."""

import multiprocessing
import os
import signal
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager

SPAWN = multiprocessing.get_context("spawn")
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # on Windows this one kills


class Dying(Executor):
    """Runs at once what it is given, but for the calls in which its worker dies."""

    def __init__(self, dies):
        self.dies, self.asked, self.calls = dies, [], []

    def submit(self, call, /, *args):
        self.asked.append(args)
        self.calls.append(call)
        future = Future()
        if self.dies(len(self.asked), *args):
            future.set_exception(BrokenExecutor("a worker died"))
        else:
            try:
                future.set_result(call(*args))
            except Exception as error:
                future.set_exception(error)
        return future


@contextmanager
def pool():
    """A pool, and what gives the ids of its processes."""
    with ProcessPoolExecutor(1, SPAWN) as made:
        yield made, lambda: list(made._processes)


@contextmanager
def cluster():
    """The same of a Dask cluster of two."""
    import distributed  # takes a second

    options = {"threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(n_workers=2, **options) as local, distributed.Client(local) as us:
        yield us.get_executor(), lambda: list(us.run(os.getpid).values())
