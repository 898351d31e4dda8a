"""Traces and restorations as records: effects, frames, copies."""

import copy
import dataclasses
import pickle

import numpy as np
import pytest

from rome_widgets.errors import StateError
from rome_widgets.records.states import KINDS
from rome_widgets.records.trace import likeliest, recovery, top_ids
from rome_widgets.records.trace_metric import LEAST_RANGE
from rome_widgets.widgets import fallback
from rome_widgets.widgets.live.traits import describe_trace
from tests.helpers.records import make_trace, restoration_of


def test_effects_are_differences_to_the_corrupted_run():
    trace = make_trace()
    assert trace.total_effect == pytest.approx(0.8)
    np.testing.assert_allclose(trace.indirect_effect("mlp"), trace.scores["mlp"] - 0.1)


def test_a_trace_is_frozen_down_to_its_arrays():
    trace = make_trace()
    with pytest.raises(dataclasses.FrozenInstanceError):
        trace.clean = 0.5
    with pytest.raises(ValueError, match="read-only"):
        trace.scores["mlp"][0, 0] = 1


def test_transposed_scores_are_refused():
    with pytest.raises(StateError, match=r"\(3, 4\).*\(4, 3\) was wanted"):
        make_trace(scores={"mlp": np.zeros((3, 4))})


def test_a_frame_has_a_row_per_kind_position_and_layer():
    trace = make_trace()
    frame = trace.to_frame()
    assert len(frame) == 3 * 4 * 3
    row = frame[(frame.kind == "attn") & (frame.pos == 2) & (frame.layer == 1)].iloc[0]
    assert row.score == trace.scores["attn"][2, 1]
    assert row.indirect_effect == pytest.approx(row.score - 0.1)
    assert row.token == " 'c\""
    assert frame[frame.in_subject].pos.unique().tolist() == [1]


def test_a_trace_says_what_it_is_in_two_lines():
    assert len(repr(make_trace())) < 200
    assert make_trace() != make_trace()
    assert hash(make_trace())


def test_strongest_looks_at_the_subject_only():
    trace = make_trace()
    pos, layer, score = trace.strongest("mlp")
    assert (pos, layer) == (1, trace.scores["mlp"][1].argmax())
    assert score == trace.scores["mlp"][1].max()
    nothing = make_trace(scores={"mlp": np.full((4, 3), np.nan)}, recorded={})
    assert nothing.strongest("mlp") is None
    with pytest.raises(StateError, match="There is no kind '3'"):
        trace.strongest(3)


@pytest.mark.parametrize("make", [make_trace, lambda: restoration_of("x")])
@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda record: pickle.loads(pickle.dumps(record))]
)
def test_copies_are_equal_in_all_fields_and_read_only_too(make, again):
    record = make()
    copied = again(record)
    assert str(vars(copied)) == str(vars(record))
    arrays = [getattr(copied, "distributions", None), *getattr(copied, "scores", {}).values()]
    for array in filter(lambda array: array is not None, arrays):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 1


def test_a_restoration_says_when_more_tokens_are_asked_for_than_it_kept():
    few = dataclasses.replace(restoration_of("x"), token_texts={2: "x"})
    with pytest.raises(StateError, match=r"tracer.restore\(states, top=3\)"):
        few.top(3)
    with pytest.raises(StateError, match="k is 'a'"):
        few.top("a")


def test_the_likeliest_are_those_of_a_stable_sort():
    random = np.random.RandomState(0)
    for values in (random.rand(50), random.randint(4, size=50) / 4, np.zeros(50)):
        order = np.argsort(-values, kind="stable").tolist()
        for k in (1, 2, 7, 50, 99):
            assert likeliest(values, k).tolist() == order[:k]
            assert top_ids(values, order[0], k) == order[:k]
        assert top_ids(values, order[-1], 3) == [*order[:2], order[-1]]


def test_recovery_is_nan_where_nothing_was_taken_away():
    assert recovery(0.5, 0.9, 0.1) == pytest.approx(0.5)
    assert np.isnan(recovery(0.5, 0.3, 0.3))


WEAK = {"clean": 0.9995, "corrupted": 0.98}


@pytest.mark.parametrize(
    ("changes", "span"),
    [
        ({}, 0.9 - 0.1),
        (WEAK, LEAST_RANGE["probability"]),
        ({"clean": 0.02, "corrupted": 0.0005}, LEAST_RANGE["probability"]),
        ({"clean": 0.1, "corrupted": 0.3}, LEAST_RANGE["probability"]),
        ({"scores": {"mlp": np.full((4, 3), np.nan)}, "recorded": {}}, 0.8),
    ],
)
def test_the_colours_of_a_weak_trace_span_more_than_its_effect(changes, span):
    level = changes.get("corrupted", 0.1)
    trace = make_trace(**{"scores": {"mlp": np.full((4, 3), level)}, "recorded": {}} | changes)
    low, high = trace.colour_ends
    assert low == trace.corrupted
    assert high - low == pytest.approx(span)


def test_a_weak_trace_says_why_it_is_pale_wherever_it_is_shown():
    weak, strong = make_trace(**WEAK), make_trace()
    assert strong.remarks == strong.notes
    *notes, why = weak.remarks
    assert tuple(notes) == weak.notes
    assert "The total effect is 0.019" in why or "The total effect is 0.020" in why
    title = " ".join(weak.chart().to_dict()["title"]["subtitle"])
    for shown in (weak._repr_html_(), fallback.trace_table(weak), title):
        assert "its colours are pale" in shown
    assert describe_trace(weak)["notes"] == list(weak.remarks)


def test_another_metric_is_said_wherever_a_trace_is_and_ranges_are_its_own():
    scores = {kind: np.full((4, 3), -2.0) for kind in KINDS}
    numbers = {"clean": -1.0, "corrupted": -4.5, "scores": scores, "recorded": {}}
    log = make_trace(metric="logprob", **numbers)
    assert log.symbol == "log p(d)"
    assert repr(log).splitlines()[1] == "    log p('d'),"
    assert log.colour_ends == (-4.5, -1.0)
    assert (log.total_effect, log.why_pale) == (3.5, "")
    difference = {"metric": "logit_difference", "against": " e", "against_id": 3}
    other = make_trace(**difference, **numbers)
    said = "logit(d) − logit(e): clean -1.0000, corrupted -4.5000"
    for shown in (
        other._repr_html_(),
        " ".join(other.chart().to_dict()["title"]["subtitle"]),
    ):
        assert "logit(d) − logit(e): clean -1" in shown
    assert said in other._repr_html_()
    weak = make_trace(**difference, **(numbers | {"clean": -4.2, "scores": {}}))
    assert weak.colour_ends == (-4.5, -4.0)
    assert "0.5 of logit difference at least. More noise" in weak.why_pale
    assert "Another subject" in dataclasses.replace(weak, noise={"subject": "x"}).why_pale


def test_a_restoration_of_another_metric_keeps_the_probabilities():
    restored = dataclasses.replace(
        restoration_of(" Rome"), metric="logprob", measured=(-0.5, -3.5, -1.25)
    )
    assert (restored.clean, restored.corrupted, restored.score) == (-0.5, -3.5, -1.25)
    assert restored.recovery == pytest.approx(0.75)
    assert restored.probability == restored.distributions[2, 2]
    assert "log p('Rome'),\n    2 states: log p -1.2500, recovery 75%" in repr(restored)
    assert "75% of log p(Rome) -1.2500" in restored._repr_html_()


def test_another_subject_is_said_in_place_of_noise():
    trace = make_trace(samples=1, seed=None, noise={"text": "“X” in its place", "subject": "X"})
    assert "“X” in its place · tiny" in trace._repr_html_()
    assert "in place of the tokens with *: “X”" in trace.chart().to_dict()["title"]["subtitle"]
