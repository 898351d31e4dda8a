"""Work in other threads, processes and hosts is done once, whatever dies on its way."""

import multiprocessing
import os
import random
import threading
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor

import pytest

import rome_widgets as rw
from rome_widgets.errors import ArgumentError, Cancelled, NonFinite, StaysHere, WorkersLost
from rome_widgets.evaluation import sweep as module
from rome_widgets.evaluation.workers import MOST_FRUITLESS, MOST_TRIES, an_executor, done_by
from tests.helpers.counts import WORKER_KILLS
from tests.helpers.executors import KILL, SPAWN, Dying, cluster, pool
from tests.helpers.gates import write_gate
from tests.helpers.naps import nap
from tests.helpers.swept import FACTS, make_lm, same, sweep

NAME = "sweep.log"


class Idle(Executor):
    """Never begins anything."""

    def __init__(self):
        self.given = []

    def submit(self, call, /, *args):
        self.given.append(Future())
        return self.given[-1]


def double(sent, job):
    return 2 * job


def total(sent, job):
    return sum(job)


def fails(sent, job):
    raise NonFinite("a fact") if job else ZeroDivisionError("a slip")


def test_what_a_dead_worker_had_is_sent_again_and_comes_once():
    executor = Dying(lambda call, job: call % 3 == 1)
    assert sorted(done_by(executor, double, range(7))) == [(n, 2 * n) for n in range(7)]
    assert len(executor.asked) > 7


def test_what_workers_die_of_comes_last_and_is_given_up_in_the_end():
    done, executor = [], Dying(lambda call, job: job == 0)
    with pytest.raises(WorkersLost, match="3 times in a row"):
        done.extend(done_by(executor, double, range(5)))
    assert sorted(done) == [(n, 2 * n) for n in range(1, 5)]
    assert executor.asked.count((0,)) == 1 + MOST_FRUITLESS


def test_the_part_that_workers_die_of_comes_with_nothing_and_the_others_are_done():
    executor = Dying(lambda call, job: 0 in job)
    found = done_by(executor, total, [[1], [2, 0, 3]], parts=lambda job: [[each] for each in job])
    assert list(found) == [([1], 1), ([2], 2), ([3], 3), ([0], None)]
    assert executor.asked.count(([0],)) == MOST_TRIES
    with pytest.raises(WorkersLost, match="nothing was done"):
        list(done_by(executor, total, [[0]], parts=lambda job: [job]))


def test_a_fact_that_workers_die_of_is_recorded_and_the_sweep_goes_on(monkeypatch):
    lm, deadly = make_lm(), 1
    monkeypatch.setattr(module, "shares_memory", lambda executor: True)
    executor = Dying(lambda call, batch: any(fact.number == deadly for fact in batch))
    found = sweep(lm, FACTS[:3], kinds="mlp", executor=executor)
    assert [fact.status for fact in found.facts] == ["traced", "failed", "traced"]
    assert "worker died" in found.facts[deadly].reason


def test_processes_of_a_pool_that_we_made_end_at_a_cancel():
    with ProcessPoolExecutor(1, SPAWN) as given:
        before = {*multiprocessing.active_children()}
        first = given.submit(os.getpid).result()
        os.kill(first, KILL)
        ours = []

        def check():
            now = {*multiprocessing.active_children()} - before
            if others := [each for each in now if each.pid != first]:
                ours.extend(others)
                raise Cancelled("Cancelled.")

        with pytest.raises(Cancelled):
            list(done_by(given, nap, [None], check))
    end = time.monotonic() + 30
    while any(each.exitcode is None for each in ours) and time.monotonic() < end:
        time.sleep(0.05)  # not joined: the pool has a thread that reaps it
    assert [each for each in ours if each.exitcode is None] == []


def test_an_error_of_ours_comes_as_it_is_and_another_in_our_words():
    everything_runs = Dying(lambda call, job: False)
    with pytest.raises(NonFinite, match="a fact"):
        list(done_by(everything_runs, fails, [1]))
    with pytest.raises(WorkersLost, match="ZeroDivisionError: a slip"):
        list(done_by(everything_runs, fails, [0]))


def test_a_cancel_takes_back_what_was_not_begun():
    executor, looks = Idle(), iter([None, None])

    def check():
        if next(looks, "stop"):
            raise Cancelled("Cancelled.")

    with pytest.raises(Cancelled):
        list(done_by(executor, double, range(3), check))
    assert [each.cancelled() for each in executor.given] == [True] * 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no os.fork on Windows")
def test_a_pool_that_forks_is_refused():
    with pytest.raises(ArgumentError, match="spawn"):
        an_executor(ProcessPoolExecutor(1, multiprocessing.get_context("fork")), "executor")


def test_an_executor_that_takes_no_work_is_refused():
    closed = ThreadPoolExecutor(1)
    closed.shutdown()
    for executor, words in ((closed, "takes no work"), (2, "get_executor"), (Executor, "wanted")):
        with pytest.raises(ArgumentError, match=words):
            sweep(make_lm(), FACTS[:1], kinds="mlp", executor=executor)


def test_threads_use_the_model_that_is_here(monkeypatch):
    lm = make_lm()
    monkeypatch.setattr(module, "MOST_FACTS", 2)
    with ThreadPoolExecutor(2) as threads:
        found = sweep(lm, executor=threads)
        stop = threading.Event()
        with pytest.raises(Cancelled) as caught:
            sweep(lm, executor=threads, cancel=stop, progress=lambda step: stop.set())
    assert same(found, sweep(lm))
    assert len(caught.value.partial.facts) < len(FACTS)


def test_a_model_that_others_cannot_load_stays_here():
    with ProcessPoolExecutor(1, SPAWN) as pool, pytest.raises(StaysHere, match="made in memory"):
        sweep(make_lm(), FACTS[:1], kinds="mlp", executor=pool)


# ------------------------------------------------------------- processes that are killed


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """A model that every process can load."""
    folder = tmp_path_factory.mktemp("model")
    make_lm().save_pretrained(folder)
    return rw.load(folder, device="cpu")


def count_kills(lm, executor_of, folder, kills):
    """Sweep and kill a worker once some batches are done; how many facts came out wrong."""
    options = {"facts": FACTS * 4, "kinds": "mlp"}
    whole = sweep(lm, path=folder / "whole", **options)
    wanted = sorted((folder / "whole" / NAME).read_bytes().splitlines())
    lost = doubled = 0
    for number in range(kills):
        after = random.Random(number).randrange(1, len(FACTS) * 2)
        path = folder / str(number)
        with executor_of() as (executor, workers):

            def kill(step, *, workers=workers, after=after):
                if step.done == after:
                    os.kill(workers()[0], KILL)

            found = sweep(lm, path=path, executor=executor, progress=kill, **options)
        kept = sorted((path / NAME).read_bytes().splitlines())
        lost += len(set(wanted) - set(kept))
        doubled += len(kept) - len(set(kept))
        assert same(found, whole)
    return {"workers killed": kills, "facts lost": lost, "facts doubled": doubled}


@pytest.mark.parametrize("executor_of", [pool, cluster])
def test_whenever_a_worker_is_killed_no_fact_is_lost_or_doubled(
    loaded, executor_of, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "MOST_FACTS", 1)
    figures = count_kills(loaded, executor_of, tmp_path, WORKER_KILLS)
    write_gate(f"killed_workers_{executor_of.__name__}", figures)
    assert (figures["facts lost"], figures["facts doubled"]) == (0, 0)
