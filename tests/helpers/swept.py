"""Facts of a tiny model, of several lengths, and a sweep of them."""

import numpy as np

import rome_widgets as rw
from rome_widgets.records.states import KINDS
from tests.helpers import tiny

FACTS = [
    ("w3 w14 w15 w9 w26 w5 w8", "w14 w15"),
    ("w3 w5", "w3"),  # one token, and one after it
    {"prompt": "w4 {} w9 w6", "subject": "w14 w15 w2"},
    ("w4 w1 w2", "w1 w2"),  # nothing after it
    rw.Fact("{} w5 w8 w9", "w7"),
]
QUICK = {"noise": rw.Noise.absolute(2.0), "samples": 3, "window": 3}


def make_lm(family="gpt2", **options):
    """Attached once for a file; its effects are large."""
    return tiny.shared_lm(family, scale=20 if family == "llama" else 40, **options)


def sweep(lm, facts=FACTS, **options):
    return rw.sweep(lm, facts, **QUICK | {"progress": False} | options)


def trace(lm, fact, **options):
    """The same by `rw.trace`, one fact alone."""
    args = fact if isinstance(fact, tuple) else (fact,)
    return rw.trace(lm, *args, **QUICK | {"progress": False} | options)


def check_equal(lm, swept, facts=FACTS, *, atol=1e-5, **options):
    """Every cell of every fact is that of its own trace."""
    assert [fact.number for fact in swept.facts] == list(range(len(facts)))
    for given, fact in zip(facts, swept.facts, strict=True):
        alone = trace(lm, given, **options)
        assert fact.status == "traced", fact
        assert (fact.tokens, fact.subject_span) == (alone.tokens, alone.subject_span)
        assert (fact.answer, fact.answer_id) == (alone.answer, alone.answer_id)
        np.testing.assert_allclose([fact.clean, fact.corrupted], [alone.clean, alone.corrupted],
                                   atol=atol, rtol=0)  # fmt: skip
        assert set(fact.scores) == set(alone.scores)
        for kind, grid in alone.scores.items():
            np.testing.assert_allclose(fact.scores[kind], grid, atol=atol, rtol=0)


def same(one, other):
    """Bit for bit."""
    assert repr(one) == repr(other)
    assert len(one.facts) == len(other.facts)
    for left, right in zip(one.facts, other.facts, strict=True):
        assert (left.number, left.status, left.reason) == (
            right.number,
            right.status,
            right.reason,
        )
        assert repr((left.clean, left.corrupted)) == repr((right.clean, right.corrupted))
        for kind in KINDS:
            for name in ("scores", "severed"):
                here, there = getattr(left, name).get(kind), getattr(right, name).get(kind)
                assert (here is None) == (there is None)
                if here is not None:
                    np.testing.assert_array_equal(here, there, strict=True)
    return True
