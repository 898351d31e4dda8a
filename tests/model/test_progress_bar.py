"""A bar appears where a call lasts and nobody else is told, and goes whatever ends the call."""

import io
import itertools
import subprocess
import sys
import threading
from typing import NamedTuple

import comm
import pytest
from tqdm.notebook import tqdm as notebook_tqdm

import rome_widgets as rw
from rome_widgets.model import progress_bar as module
from rome_widgets.model.progress_bar import Bar, progress_bar, shows_progress
from tests.helpers import tiny


class Terminal(io.StringIO):
    """A standard error that a person looks at."""

    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """What is written to it; every call lasts, and tqdm draws each step."""
    return show_on(Terminal(), monkeypatch)


def show_on(file, monkeypatch):
    """Pytest's own standard error is set again for each part of a test."""

    class EveryStep(module.tqdm):
        monitor_interval = 0

        def __init__(self, **settings):
            super().__init__(**settings, file=file, mininterval=0)

    monkeypatch.setattr(module, "LASTS", 0.0)
    monkeypatch.setattr(module, "LOOKED_AT", 0.0)
    monkeypatch.setattr(module, "_Line", EveryStep)
    return file


class Step(NamedTuple):
    done: int
    total: int
    phase: str = ""


@shows_progress("Counting", "sheep")
def count(to, *, progress=None, steps=(), fails=None):
    """Counts."""
    for step in steps or [Step(n, to) for n in range(1, to + 1)]:
        if callable(progress):
            progress(step)
    if fails:
        raise fails
    return to, progress


def test_a_bar_counts_with_the_time_left_and_is_wiped_away_at_the_end(terminal):
    assert count(3)[0] == 3
    shown = terminal.getvalue()
    assert "Counting:  33%" in shown
    assert "1/3 [" in shown
    assert "sheep/s]" in shown or "s/sheep]" in shown
    assert shown.split("\r")[-1] == ""
    assert shown.split("\r")[-2].strip() == ""


@pytest.mark.parametrize("progress", [False, [].append])
def test_nothing_is_shown_where_nobody_or_somebody_else_is_told(terminal, progress):
    assert count(3, progress=progress)[1] == progress
    assert terminal.getvalue() == ""


def test_a_function_of_the_users_hears_what_there_is_to_hear(terminal):
    heard = []
    count(2, progress=heard.append)
    assert heard == [Step(1, 2), Step(2, 2)]


def test_true_is_a_bar(terminal):
    count(3, progress=True)
    assert "3/3" in terminal.getvalue()


def test_there_is_no_bar_in_another_thread(terminal):
    thread = threading.Thread(target=count, args=(3,))
    thread.start()
    thread.join()
    assert terminal.getvalue() == ""


def test_there_is_no_bar_in_a_file(monkeypatch):
    log = show_on(io.StringIO(), monkeypatch)
    count(3)
    assert log.getvalue() == ""


def test_a_call_that_is_over_soon_shows_nothing(terminal, monkeypatch):
    monkeypatch.setattr(module, "LASTS", 2.0)
    count(3)
    assert terminal.getvalue() == ""


def test_whether_a_call_lasts_is_told_from_what_is_done(terminal, monkeypatch):
    now = 0.0
    monkeypatch.setattr(module, "LASTS", 2.0)
    monkeypatch.setattr(module, "LOOKED_AT", 0.5)
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    bar = Bar("Counting", "sheep", shown=True)
    for now, done, drawn in ((0.4, 1, False), (0.6, 4, False), (1.0, 6, False), (1.4, 6, True)):
        bar.at(done, 10)
        assert bool(terminal.getvalue()) == drawn, (now, done)
    bar.close()


def test_a_phase_lasts_from_the_end_of_the_one_before_it(terminal, monkeypatch):
    now = 0.0
    monkeypatch.setattr(module, "LASTS", 2.0)
    monkeypatch.setattr(module, "LOOKED_AT", 0.5)
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    bar = Bar("Reading", "state", shown=True)
    for now, done, phase, drawn in ((1.0, 4, "clean", False), (2.2, 2, "corrupted", True)):
        bar.at(done, 4, phase)
        assert bool(terminal.getvalue()) == drawn, (now, phase)
    bar.close()


def test_the_time_before_the_bar_appears_counts(terminal, monkeypatch):
    bar = Bar("Counting", "sheep", shown=True)
    bar._began -= 10
    bar.at(5, 10)
    assert "5/10 [00:10<00:10" in terminal.getvalue()
    bar.close()


def test_each_phase_has_its_own_bar(terminal):
    count(0, steps=[Step(1, 4, "key"), Step(4, 4, "key"), Step(1, 20, "value")])
    shown = terminal.getvalue()
    assert "Counting: key:  25%" in shown
    assert "Counting: value:   5%" in shown


def test_a_phase_that_begins_again_has_another_bar(terminal):
    count(0, steps=[Step(3, 4), Step(1, 4)])
    assert "1/4" in terminal.getvalue().split("3/4")[1]


def test_without_a_total_it_counts(terminal):
    with progress_bar(None, "Counting", "sheep") as bar:
        bar.at(7)
    assert "7sheep" in terminal.getvalue()


@pytest.mark.parametrize("fails", [KeyboardInterrupt(), ValueError("w")])
def test_what_ends_a_call_ends_its_bar_and_goes_on(terminal, fails):
    with pytest.raises(type(fails)) as raised:
        count(3, fails=fails)
    assert raised.value is fails
    assert not getattr(module._Line, "_instances", ())
    assert terminal.getvalue().split("\r")[-2].strip() == ""


def test_no_thread_of_tqdm_is_left(terminal):
    before = set(threading.enumerate())
    count(3)
    assert set(threading.enumerate()) <= before


def test_of_a_notebooks_bar_nothing_is_left(monkeypatch):
    """It is made of widgets, which ipywidgets keeps until they are closed."""
    made = []

    class Watched(notebook_tqdm):
        def __init__(self, **settings):
            super().__init__(**settings)
            made.extend(set(comms()) - before)

    def comms():
        return comm.get_comm_manager().comms

    monkeypatch.setattr(module, "LASTS", 0.0)
    monkeypatch.setattr(module, "LOOKED_AT", 0.0)
    monkeypatch.setattr(module, "_Line", Watched)
    before = set(comms())
    count(3)
    assert len(made) == 11, "a box, two labels and a bar, with layouts and styles"
    assert set(comms()) == before


def test_a_function_without_progress_cannot_show_any():
    with pytest.raises(AssertionError):
        shows_progress("Counting", "sheep")(lambda: None)


def test_missing_widgets_of_tqdm_are_nothing_to_warn_of():
    """In a kernel without ipywidgets, tqdm itself warns when it is imported."""
    code = (
        "import sys, types;"
        "sys.modules['ipykernel.zmqshell'] = types.ModuleType('zmqshell');"
        "sys.modules['IPython'] = types.SimpleNamespace(get_ipython=lambda: None);"
        "sys.modules['ipywidgets'] = None;"
        "import rome_widgets.model.language_model as it; it.torch"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], check=True, timeout=120, capture_output=True, text=True
    )
    assert "IProgress" not in run.stderr


# --------------------------------------------------------------------------- our own calls


@pytest.fixture(scope="module")
def lm():
    return tiny.tiny_lm("llama")


CALLS = {
    "Tracing": lambda lm, **said: rw.trace(lm, tiny.PROMPT, tiny.SUBJECT, samples=2, **said),
    "Editing: value": lambda lm, **said: rw.edit(
        lm, tiny.PROMPT, tiny.SUBJECT, "w5", layer=1, second_moment="identity", **said
    ),
    "Editing: layer": lambda lm, **said: rw.edit(
        lm, tiny.PROMPT, tiny.SUBJECT, "w5", layer="trace", second_moment="identity", **said
    ),
    "Searching": lambda lm, **said: a_tracer(lm).find_path(0.2, max_states=2, **said),
    "Estimating": lambda lm, **said: a_tracer(lm).estimate(**said),
    "Measuring: runs": lambda lm, **said: a_tracer(lm).flow(**said),
    "Reading: runs": lambda lm, **said: a_tracer(lm).lens(**said),
    "Reading: corrupted": lambda lm, **said: a_tracer(lm).lens(**said),
    "Restoring": lambda lm, **said: a_tracer(lm).heads(1, **said),
    "Reading: text": lambda lm, **said: an_edit(lm).perplexity(**said),
    "Attaching: checks": lambda lm, **said: rw.LanguageModel(lm.model, lm.tokenizer, **said),
    "Loading: weights": lambda lm, **said: rw.load(**said),
    "Comparing": lambda lm, **said: an_edit(lm).compare([tiny.PROMPT, "w1 w2"], generate=2, **said),
    "Comparing:": lambda lm, **said: an_edit(lm).preview([tiny.PROMPT, "w1 w2"], **said),
    "Gathering: statistics": lambda lm, **said: rw.second_moment(lm, unread_texts(), 1, **said),
    "Asking": lambda lm, **said: rw.datasets.known_to(lm, [a_fact(n) for n in (5, 6)], **said),
}


WITHOUT_RECORDS = [
    *("Estimating", "Measuring: runs", "Reading: runs", "Reading: corrupted", "Reading: text"),
    *("Attaching: checks", "Loading: weights", "Comparing", "Comparing:", "Asking"),
]
"""Of these calls: they have nothing to show on the way."""


def a_tracer(lm):
    return rw.CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, samples=2)


def an_edit(lm):
    """Made without a bar."""
    return rw.edit(
        lm, tiny.PROMPT, tiny.SUBJECT, "w5", layer=1, second_moment="identity", progress=False
    )


def a_fact(length):
    """With a prompt of so many tokens."""
    return rw.Fact("w1 " * (length - 1) + "w2", "w2", "w5")


NUMBERS = itertools.count(1)


def unread_texts():
    """Others each time: statistics of the same are kept."""
    return [" ".join(["w1"] * next(NUMBERS))] * 2


@pytest.mark.parametrize("title", CALLS)
def test_calls_of_ours_show_what_they_do_and_nothing_where_that_is_not_wanted(lm, terminal, title):
    CALLS[title](lm, progress=False)
    assert terminal.getvalue() == ""
    CALLS[title](lm)
    assert f"{title.rstrip(':')}:" in terminal.getvalue()


@pytest.mark.parametrize("title", WITHOUT_RECORDS)
def test_a_function_hears_how_far_a_call_of_ours_is_and_no_bar_is_shown(lm, terminal, title):
    heard = []
    CALLS[title](lm, progress=heard.append)
    assert terminal.getvalue() == ""
    phase = title.partition(":")[2].strip()
    done = [(each.done, each.total) for each in heard if each.phase == phase]
    assert done == sorted(done)
    assert done[-1][0] == done[-1][1]


def test_a_function_that_is_told_may_run_the_model_itself(lm):
    tracer, edit, ids = a_tracer(lm), an_edit(lm), lm.rows([lm.prompt_ids(tiny.PROMPT)])
    plain = lm.next_token_probabilities(ids)

    def ask(told):
        assert lm.next_token_probabilities(ids).equal(plain)

    for call in (tracer.estimate, tracer.flow, tracer.lens, edit.perplexity):
        alone, asked = call(progress=False), call(progress=ask)
        assert repr(alone) == repr(asked)


@pytest.mark.parametrize("title", CALLS)
def test_an_interrupt_leaves_the_model_and_takes_the_bar_away(lm, terminal, monkeypatch, title):
    def interrupt(line, n):
        raise KeyboardInterrupt

    weights = {name: weight.clone() for name, weight in lm.model.named_parameters()}
    monkeypatch.setattr(module._Line, "update", interrupt)
    with pytest.raises(KeyboardInterrupt):
        CALLS[title](lm)
    assert not module._Line._instances
    assert all(weight.equal(weights[name]) for name, weight in lm.model.named_parameters())
