"""The worker: one thread, latest wins, nothing ends it but being closed."""

import threading

import pytest

from rome_widgets.widgets.live.worker import Worker


@pytest.fixture
def gate():
    return threading.Event()


def test_the_thread_starts_with_the_first_job_and_is_a_daemon():
    worker, threads = Worker("x"), []
    assert not any(thread.name.endswith("worker: x") for thread in threading.enumerate())
    worker.submit("a", lambda cancelled: threads.append(threading.current_thread()))
    assert worker.wait(["a"], 10)
    assert threads[0].daemon
    assert threads[0] is not threading.current_thread()


def test_all_jobs_run_on_one_thread():
    worker, threads = Worker(), []
    for slot in range(5):
        worker.submit(slot, lambda cancelled: threads.append(threading.get_ident()))
    assert worker.wait(range(5), 10)
    assert len(threads) == 5
    assert len(set(threads)) == 1


def test_a_waiting_job_is_replaced_by_the_latest_of_its_slot(gate):
    worker, ran = Worker(), []
    worker.submit("busy", lambda cancelled: gate.wait(10))
    for number in range(20):
        worker.submit("a", lambda cancelled, number=number: ran.append(number))
    gate.set()
    assert worker.wait(["a", "busy"], 10)
    assert ran == [19]


def test_a_running_job_sees_that_it_was_superseded(gate):
    worker, seen = Worker(), []

    def first(cancelled):
        gate.wait(10)
        seen.append(cancelled())

    started = threading.Event()
    worker.submit("a", lambda cancelled: (started.set(), first(cancelled)))
    assert started.wait(10)
    worker.submit("a", lambda cancelled: seen.append(cancelled()))
    gate.set()
    assert worker.wait(["a"], 10)
    assert seen == [True, False]


def test_cancel_touches_only_its_own_slot(gate):
    worker, ran = Worker(), []
    worker.submit("busy", lambda cancelled: (gate.wait(10), ran.append(cancelled())))
    worker.submit("a", lambda cancelled: ran.append("a"))
    worker.submit("b", lambda cancelled: ran.append("b"))
    assert worker.cancel("a") is True
    assert worker.cancel("nothing") is False
    gate.set()
    assert worker.wait(["busy", "a", "b"], 10)
    assert ran == [False, "b"]


def test_slots_are_served_in_the_order_they_were_first_asked_for(gate):
    worker, ran = Worker(), []
    worker.submit("busy", lambda cancelled: gate.wait(10))
    for slot in ("a", "b", "a"):
        worker.submit(slot, lambda cancelled, slot=slot: ran.append(slot))
    gate.set()
    assert worker.wait(["a", "b"], 10)
    assert ran == ["a", "b"]


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1), KeyboardInterrupt()])
def test_no_exception_of_a_job_ends_the_thread(error, caplog):
    worker, ran = Worker(), []

    def broken(cancelled):
        raise error

    worker.submit("a", broken)
    worker.submit("b", lambda cancelled: ran.append("b"))
    assert worker.wait(["a", "b"], 10)
    assert ran == ["b"]
    assert "failed" in caplog.text


def test_wait_says_when_time_ran_out(gate):
    worker = Worker()
    worker.submit("a", lambda cancelled: gate.wait(10))
    assert worker.busy(["a"])
    assert worker.wait(["a"], 0.05) is False
    gate.set()
    assert worker.wait(["a"], 10) is True
    assert not worker.busy(["a"])


def test_a_job_that_waits_for_its_own_slot_does_not_wait_for_ever():
    worker, waited = Worker(), []
    worker.submit("a", lambda cancelled: waited.append(worker.wait(["a"])))
    assert worker.wait(["a"], 10)
    assert waited == [False]


def test_the_thread_ends_with_the_worker_and_takes_no_more(gate):
    worker, threads, ran = Worker(), [], []
    worker.submit("a", lambda cancelled: threads.append(threading.current_thread()))
    assert worker.wait(["a"], 10)
    worker.close()
    threads[0].join(10)
    assert not threads[0].is_alive()
    worker.submit("a", lambda cancelled: ran.append("a"))
    assert worker.wait(["a"], 10)
    assert ran == []
