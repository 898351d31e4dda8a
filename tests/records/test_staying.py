"""What holds a model stays in its process, and says so; records go wherever they are sent."""

import copy
import pickle

import pytest

import rome_widgets as rw
from rome_widgets.errors import StaysHere
from rome_widgets.model.ledger import ledger_of
from rome_widgets.session.session import session_of
from rome_widgets.widgets import EditPanel, PredictionCompare, TraceExplorer, TraceGrid
from tests.helpers import tiny
from tests.helpers.fake_editor import FakeEditor
from tests.helpers.fake_engine import FakeEngine
from tests.helpers.records import RECORDS, make_trace, restoration_of


@pytest.fixture(scope="module")
def lm():
    return tiny.tiny_lm(scale=20)


@pytest.fixture(scope="module")
def change(lm):
    settings = {"steps": 2, "prefixes": [(3, 1)]}
    moment = "identity"
    return rw.edit(lm, "w3 {} w9", "w14", "w5", second_moment=moment, settings=settings)


STAYING = {
    "a model": lambda lm, change: lm,
    "a tracer": lambda lm, change: tiny.tiny_tracer(lm),
    "an edit": lambda lm, change: change,
    "several edits": lambda lm, change: [change],
    "a session": lambda lm, change: session_of(lm),
    "a worker": lambda lm, change: session_of(lm).worker,
    "an explorer": lambda lm, change: TraceExplorer(FakeEngine()),
    "a panel": lambda lm, change: EditPanel(FakeEditor()),
    "a grid": lambda lm, change: TraceGrid(make_trace()),
    "a comparison": lambda lm, change: PredictionCompare(),
}


@pytest.mark.parametrize("name", STAYING)
def test_what_holds_a_model_or_a_thread_refuses_in_words(lm, change, name):
    thing = STAYING[name](lm, change)
    for send in (pickle.dumps, copy.deepcopy):
        with pytest.raises(StaysHere) as refused:
            send(thing)
        assert refused.value.remedy
    if hasattr(thing, "close") and name != "a worker":
        thing.close()


def test_another_name_for_the_same_model_can_be_made_as_ever(lm, change):
    tracer = tiny.tiny_tracer(lm)
    for thing in (lm, tracer, change):
        again = copy.copy(thing)
        assert vars(again) == vars(thing)
    assert copy.copy(lm).model is lm.model
    assert copy.copy(change).id == change.id


GOING = {
    **{kind.__name__: lambda lm, change, make=make: make("x") for kind, make in RECORDS.items()},
    "a restoration of a model": lambda lm, change: tiny.tiny_tracer(lm).restore([(1, 1, "mlp")]),
    "a report": lambda lm, change: change.report,
    "comparisons": lambda lm, change: change.compare("w1"),
    "a fact": lambda lm, change: change.fact,
    "noise": lambda lm, change: rw.Noise(3.0),
    "settings": lambda lm, change: rw.RankOneSettings(),
    "a moment": lambda lm, change: rw.SecondMoment.identity(),
    "weights": lambda lm, change: lm.weights_state(),
    "an identity": lambda lm, change: lm.identity,
}


@pytest.mark.parametrize("name", GOING)
def test_a_record_comes_back_as_it_was(lm, change, name):
    record = GOING[name](lm, change)
    for again in (pickle.loads(pickle.dumps(record)), copy.deepcopy(record)):
        assert repr(again) == repr(record)


def test_a_model_that_goes_to_a_file_takes_its_weights_along_and_no_edits(lm, change):
    with change:
        again = pickle.loads(pickle.dumps(lm.model))
    assert ledger_of(again).edits == ()


ERRORS = [
    rw.errors.SubjectNotFound("found.", "wanted.", "remedy.", "suggestion"),
    rw.Cancelled("found.", restoration_of("x")),
    rw.errors.SaveFailed("found.", "wanted."),
    rw.errors.MissingExtra.drawing(),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_comes_back_as_it_was(error):
    for again in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error), copy.copy(error)):
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert (again.found, again.wanted, again.remedy) == (
            error.found,
            error.wanted,
            error.remedy,
        )
        assert getattr(again, "suggestion", None) == getattr(error, "suggestion", None)
