"""What stays of a widget without its kernel: an output of its own, written when there is news."""

import threading
from types import SimpleNamespace

import pytest

from rome_widgets.widgets import EditPanel, GenerationCompare, TraceExplorer
from rome_widgets.widgets.live import still_copy
from rome_widgets.widgets.live.still_copy import SHOWN_BELOW, SOONEST
from tests.helpers.fake_editor import NEEDLE, FakeEditor
from tests.helpers.fake_engine import FUJI, PROMPT, SUBJECT, FakeEngine


class Shell:
    """A notebook's kernel, as far as it is asked: what is published, and who sent the cell."""

    def __init__(self, allow_stdin=True):
        self.sent = []
        request = {"content": {"allow_stdin": allow_stdin}}
        self.kernel = SimpleNamespace(get_parent=lambda channel: request)
        self.display_pub = self

    def publish(self, data, metadata, *, transient, update):
        self.sent.append((data["text/html"], transient["display_id"], update))

    @property
    def last(self):
        return self.sent[-1][0]


@pytest.fixture
def kernel(monkeypatch):
    def use(**settings):
        shell = Shell(**settings)
        monkeypatch.setattr(still_copy, "kernel_shell", lambda: shell)
        return shell

    return use


def until(holds):
    """Wait for what a timer's thread does."""
    for _ in range(500):
        if holds():
            return
        threading.Event().wait(0.02)
    raise AssertionError("It did not come.")


def shown(widget):
    return widget._repr_mimebundle_()[0]


def test_beside_the_widget_a_picture_and_a_table_are_an_output_of_their_own(kernel):
    shell = kernel()
    explorer = TraceExplorer(FakeEngine(), PROMPT, SUBJECT)
    assert explorer.wait(20)
    data = shown(explorer)
    assert data["text/html"] == SHOWN_BELOW
    assert "Seattle" in data["text/plain"]
    ((html, _, update),) = shell.sent
    assert not update
    assert f'data-rw-still="{explorer._still_name}"' in html
    assert "<img" in html
    assert "strongest of" in html
    assert len(html) < 30_000


def test_outside_a_notebook_the_widget_says_everything_itself():
    explorer = TraceExplorer(FakeEngine(), PROMPT, SUBJECT)
    assert explorer.wait(20)
    html = shown(explorer)["text/html"]
    assert "<img" in html
    assert "<style" not in html


RUNS = {
    "a trace": lambda: TraceExplorer(FakeEngine(row_seconds=0.05), PROMPT, SUBJECT),
    "an edit": lambda: applied(EditPanel(FakeEditor(step_seconds=0.02), *FACT)),
    "texts": lambda: written(GenerationCompare(FakeEditor(step_seconds=0.01), [PROMPT])),
}
FACT = (NEEDLE.template, NEEDLE.subject, NEEDLE.target)
FINISHED = {"a trace": "strongest of", "an edit": "1 active edit", "texts": "<td"}


def applied(panel):
    panel.apply()
    return panel


def written(texts):
    texts.run()
    return texts


@pytest.mark.parametrize("run", RUNS)
def test_a_cell_run_straight_through_keeps_what_was_finished(kernel, run):
    shell = kernel(allow_stdin=False)
    widget = RUNS[run]()
    shown(widget)
    assert FINISHED[run] in shell.last
    assert widget.status == "done"


@pytest.mark.parametrize("run", RUNS)
def test_a_cell_of_a_person_does_not_wait_and_its_copy_follows(kernel, run):
    shell = kernel()
    widget = RUNS[run]()
    shown(widget)
    assert FINISHED[run] not in shell.sent[0][0]
    assert widget.wait(20)
    until(lambda: FINISHED[run] in shell.last)
    assert {ident for _, ident, _ in shell.sent} == {f"rome_widgets-{widget._still_name}"}
    assert [update for _, _, update in shell.sent][1:] == [True] * (len(shell.sent) - 1)


def test_why_nothing_was_traced_stays_too(kernel):
    shell = kernel(allow_stdin=False)
    shown(TraceExplorer(FakeEngine(), PROMPT, "The Spice Needle"))
    assert "is not in the prompt" in shell.last


def test_another_run_writes_the_copy_again_and_the_same_does_not(kernel):
    shell = kernel()
    explorer = TraceExplorer(FakeEngine(), PROMPT, SUBJECT)
    assert explorer.wait(20)
    shown(explorer)
    explorer.prompt, explorer.subject = FUJI, "Mount Fuji"
    explorer.run(wait=True)
    until(lambda: "Mount Fuji" in shell.last)
    count = len(shell.sent)
    explorer._still_copy.follow()
    threading.Event().wait(SOONEST * 1.5)
    assert len(shell.sent) == count


def test_news_in_quick_succession_are_few_messages(kernel):
    shell = kernel()
    panel = EditPanel(FakeEditor(), *FACT)
    record = panel.apply(wait=True)
    shown(panel)
    for step in range(40):
        panel.set_strength(record.id, 0.2 + step / 80)
        panel.wait(20)
    until(lambda: "× 0.69" in shell.last)
    assert len(shell.sent) < 12


def test_what_was_not_displayed_publishes_nothing(kernel):
    shell = kernel()
    TraceExplorer(FakeEngine(), PROMPT, SUBJECT).run(wait=True)
    assert shell.sent == []


def test_displayed_inside_an_observer_it_does_not_wait_for_itself(kernel):
    kernel(allow_stdin=False)
    explorer = TraceExplorer(FakeEngine(row_seconds=0.05), PROMPT, SUBJECT)
    with explorer._writing:
        shown(explorer)
    assert explorer.wait(20)
