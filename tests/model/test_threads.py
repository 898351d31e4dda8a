"""One thread for small matrices, in this call of this thread; nobody else's number changes."""

import _thread
import os
import signal
import threading

import pytest
import torch
from torch import nn

import rome_widgets as rw
from rome_widgets.model.eval_mode import run_in_eval_mode
from rome_widgets.model.threads import (
    WORTH_SHARING,
    set_threads_here,
    threads_for,
)
from rome_widgets.model.undisturbed import undisturbed
from tests.helpers import tiny
from tests.helpers.interrupts import (  # noqa: F401
    count_places,
    hit_by_place,
    signals_as_before,
)
from tests.helpers.waiting import until

PROMPT, SUBJECT = "The Space Needle is in the city of", "The Space Needle"


@pytest.fixture
def three_threads():
    """This thread computes with three, whatever the machine has; new ones with two."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    set_threads_here(3)
    yield
    torch.set_num_threads(before)


def of_new_thread():
    """How many threads one computes with that begins now."""
    found = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return found[0]


def numbers():
    return torch.get_num_threads(), of_new_thread()


@pytest.mark.parametrize("size", [8, 447, 448, 1000])
def test_a_model_of_small_matrices_gets_one_thread_and_a_large_one_the_users(three_threads, size):
    blocks = [nn.Linear(size, size) for _ in range(3)]
    model = nn.Sequential(nn.Embedding(10_000, size), *blocks)
    wanted = 3 if size**2 >= WORTH_SHARING else 1
    assert threads_for(model) == wanted
    assert run_in_eval_mode(model, numbers) == (wanted, 2)
    assert numbers() == (3, 2)


def test_what_is_public_and_runs_a_model_computes_in_few_threads(
    three_threads, bundled_lm, monkeypatch
):
    """Each public operation, watched where its blocks normalise."""
    seen, layer_norm = [], nn.functional.layer_norm

    def look(*args, **kwargs):
        seen.append(torch.get_num_threads())
        return layer_norm(*args, **kwargs)

    monkeypatch.setattr(nn.functional, "layer_norm", look)
    tracer = rw.CausalTracer(bundled_lm, PROMPT, SUBJECT, samples=2)
    edit = rw.edit(bundled_lm, "{} is in the city of", SUBJECT, "Paris", settings={"steps": 2})
    operations = {
        "trace": lambda: rw.trace(bundled_lm, PROMPT, SUBJECT, samples=2, kinds=["mlp"]),
        "restore": lambda: tracer.restore([(3, 2, "mlp")]),
        "estimate": lambda: tracer.estimate(["mlp"]),
        "lens": lambda: tracer.lens(),
        "flow": lambda: tracer.flow(),
        "compare": lambda: edit.compare(PROMPT),
    }
    for operation in operations.values():
        seen.clear()
        operation()
        assert set(seen) == {1}
        assert numbers() == (3, 2)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_setting_it_here_changes_neither_new_threads_nor_those_at_work(three_threads, count):
    begun, asked, said = threading.Event(), threading.Event(), []

    def at_work():
        torch.set_num_threads(2)
        begun.set()
        asked.wait()
        said.append(torch.get_num_threads())

    thread = threading.Thread(target=at_work)
    thread.start()
    begun.wait()
    set_threads_here(count)
    asked.set()
    thread.join()
    assert said == [2]
    assert numbers() == (count, 2)


def test_a_thread_that_begins_while_we_work_computes_with_the_users_number(three_threads):
    @undisturbed
    def work(lm):
        return numbers()

    assert work(tiny.tiny_lm("gpt2")) == (1, 2)
    assert numbers() == (3, 2)


def test_a_number_that_is_set_elsewhere_meanwhile_stays(three_threads):
    def elsewhere():
        thread = threading.Thread(target=torch.set_num_threads, args=(4,))
        thread.start()
        thread.join()
        return torch.get_num_threads()

    assert run_in_eval_mode(nn.Linear(3, 2), elsewhere) == 1
    assert numbers() == (3, 4)


def test_threads_of_the_user_that_trace_at_once_keep_each_others_numbers(three_threads):
    start, found = threading.Barrier(4), []

    def trace_often():
        assert torch.get_num_threads() == 2  # from now on this thread has a number of its own
        start.wait()
        for _ in range(50):
            run_in_eval_mode(nn.Linear(3, 2), torch.get_num_threads)
            found.append(numbers())

    threads = [threading.Thread(target=trace_often) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {own for own, _ in found} == {2}
    assert numbers() == (3, 2)


def test_a_number_that_the_user_sets_while_we_work_stays(three_threads):
    """In a progress callback, for one."""
    tracer = tiny.tiny_tracer(tiny.tiny_lm("gpt2"))
    tracer.trace(progress=lambda _: torch.set_num_threads(4))
    assert numbers() == (4, 4)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked here")
def test_a_process_forked_while_a_number_is_set_sets_its_own(three_threads, monkeypatch):
    held = threading.Lock()
    held.acquire()  # as by a thread that the new process does not have
    monkeypatch.setattr("rome_widgets.model.threads._one_at_a_time", held)
    process = os.fork()
    if not process:
        signal.alarm(20)
        set_threads_here(1)
        os._exit(torch.get_num_threads())
    assert os.waitpid(process, 0)[1] == 1 << 8


@pytest.mark.parametrize("given", [None, "gpt2", nn.Linear(3, 2)])
def test_what_is_no_language_model_reaches_the_work_that_says_so(three_threads, given):
    with pytest.raises(TypeError):
        rw.trace(given, PROMPT, SUBJECT)
    assert numbers() == (3, 2)


def test_where_no_thread_can_be_started_the_number_is_set_all_the_same(three_threads, monkeypatch):
    def fail(*ignored):
        raise RuntimeError("can't start new thread at interpreter shutdown")

    with monkeypatch.context() as patch:
        patch.setattr(_thread, "start_new_thread", fail)
        set_threads_here(1)
    assert torch.get_num_threads() == 1


def test_after_an_interrupt_at_any_place_the_number_is_as_before(three_threads):
    @undisturbed
    def work(holder):
        return run_in_eval_mode(holder.model, torch.get_num_threads)

    class Holder:
        model = nn.Linear(3, 2)

    work(Holder)
    places = count_places(work, Holder)
    landed = 0
    for place in range(1, places + 1):
        landed += hit_by_place(work, Holder, place) is not None
        until(lambda: of_new_thread() == 2)  # one that was told nothing waits a second
        assert numbers() == (3, 2), place
    assert landed >= 0.9 * places > 30
