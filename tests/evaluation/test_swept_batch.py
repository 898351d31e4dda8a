"""A batch goes together as far as it can; whatever is in the way, the numbers are the same."""

import pickle

import numpy as np
import pytest
import torch

import rome_widgets as rw
from rome_widgets.errors import NonFinite
from rome_widgets.evaluation import swept_batch
from rome_widgets.evaluation.asked_facts import read_facts
from rome_widgets.evaluation.swept_batch import SweepSettings, trace_batch
from rome_widgets.model.replay import CannotReplay
from rome_widgets.tracing.joint_runs import JointRuns
from tests.helpers.swept import FACTS, make_lm

SETTINGS = SweepSettings(
    kinds=("hidden",),
    noise=rw.Noise.absolute(2.0),
    samples=2,
    window=3,
    seed=1,
    follow="top",
    metric="probability",
    known_only=True,
    severed=("mlp",),
)


def batch(lm, facts=FACTS[:4], settings=SETTINGS):
    return trace_batch(lm, read_facts(lm, facts), settings, lambda: None)


@pytest.fixture(scope="module")
def plain():
    return batch(make_lm())


def check_same(found, plain):
    assert [fact.number for fact in found] == [fact.number for fact in plain]
    for one, other in zip(found, plain, strict=True):
        assert (one.status, one.answer_id) == (other.status, other.answer_id)
        np.testing.assert_allclose(one.scores["hidden"], other.scores["hidden"], atol=1e-5)
        np.testing.assert_allclose(one.severed["mlp"], other.severed["mlp"], atol=1e-5)


def sizes_of_batches(monkeypatch, refuse):
    """How many prompts each `JointRuns` was to have; it fails where `refuse` says how."""
    seen, make = [], JointRuns.__init__

    def made(self, lm, replay, prompts):
        seen.append([len(prompt.ids) for prompt in prompts])
        error = refuse(seen[-1])
        if error is not None:
            raise error
        make(self, lm, replay, prompts)

    monkeypatch.setattr(JointRuns, "__init__", made)
    return seen


def test_all_facts_go_together(monkeypatch, plain):
    seen = sizes_of_batches(monkeypatch, lambda lengths: None)
    check_same(batch(make_lm()), plain)
    assert seen == [[2, 3, 6, 7]]


def test_what_memory_does_not_hold_is_halved(monkeypatch, plain):
    full = torch.OutOfMemoryError("no room")
    seen = sizes_of_batches(monkeypatch, lambda lengths: full if len(lengths) > 2 else None)
    check_same(batch(make_lm()), plain)
    assert seen == [[2, 3, 6, 7], [2, 3], [6, 7]]


def test_what_cannot_stand_side_by_side_goes_by_length_and_else_alone(monkeypatch):
    lm = make_lm()
    facts = [*FACTS[:2], ("w4 w9", "w9")]
    together = batch(lm, facts)
    no = CannotReplay("no")
    seen = sizes_of_batches(monkeypatch, lambda lengths: no if len({*lengths}) > 1 else None)
    check_same(batch(lm, facts), together)
    assert seen == [[2, 2, 7], [2, 2]]
    monkeypatch.setattr(JointRuns, "__init__", lambda *_: (_ for _ in ()).throw(no))
    check_same(batch(lm, facts), together)


def test_infinity_in_one_fact_leaves_the_others_alone(monkeypatch, plain):
    monkeypatch.setattr(JointRuns, "scores", lambda *_, **__: (_ for _ in ()).throw(NonFinite("∞")))
    alone = swept_batch._Batch._trace_alone

    def failing(self, fact):
        if fact.number == 1:
            raise NonFinite("NaN in block 3.")
        return alone(self, fact)

    monkeypatch.setattr(swept_batch._Batch, "_trace_alone", failing)
    found = batch(make_lm())
    assert (found[1].status, found[1].reason) == ("failed", "NaN in block 3.")
    check_same([found[0], *found[2:]], [plain[0], *plain[2:]])


def test_what_a_worker_gets_and_gives_can_be_sent():
    again = pickle.loads(pickle.dumps(SETTINGS))
    assert again == SETTINGS
