"""Whichever way a fact is given it is asked in the same way; what is no fact says why."""

import pickle

import pytest

import rome_widgets as rw
from rome_widgets.errors import ArgumentError
from rome_widgets.evaluation.asked_facts import AskedFact, digest_of, read_facts
from tests.helpers import tiny

REWRITE = {
    "prompt": "w3 {} w9",
    "subject": "w14 w15",
    "target_true": {"str": "w5"},
    "target_new": {"str": "w8"},
}
KNOWN = {"prompt": "w3 w14 w15 w9", "subject": "w14 w15", "attribute": "w5"}
SAME = [
    ("w3 w14 w15 w9", "w14 w15", "w5"),
    ["w3 {} w9", "w14 w15", "w5"],
    rw.Fact("w3 {} w9", "w14 w15", "w5"),
    KNOWN,
    {"requested_rewrite": REWRITE},
]


def test_whichever_way_a_fact_is_given_it_is_asked_in_the_same_way():
    found = read_facts(tiny.shared_lm(), SAME)
    assert [fact.number for fact in found] == list(range(len(SAME)))
    for fact in found:
        assert fact.encoded.text == "w3 w14 w15 w9"
        assert (fact.encoded.ids, fact.positions) == ((3, 14, 15, 9), [1, 2])
        assert (fact.target, fact.target_id) == ("w5", 5)
    assert [fact.against_id for fact in found] == [None] * 4 + [8]


def test_a_pair_says_no_target_and_of_several_mentions_the_last_is_meant():
    fact, several = read_facts(tiny.shared_lm(), [("w3 w5", "w3"), ("w3 w5 w3 w6", "w3")])
    assert (fact.target, fact.target_id, fact.against_id) == ("", None, None)
    assert several.positions == [2]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (("w3 w5", "w9"), "w9"),
        (("w3 w5", ""), "empty"),
        (("w3 " * 30 + "w5", "w5"), "16"),
        ({"case_id": 3}, "does not state a fact"),
        (3, "subject"),
        (("w3 w5", 4), "subject"),
    ],
)
def test_what_cannot_be_read_keeps_its_place_and_says_why(given, why):
    failed, other = read_facts(tiny.shared_lm(), [given, ("w3 w5", "w3")])
    assert (failed.number, failed.status) == (0, "failed")
    assert why in failed.reason
    assert isinstance(other, AskedFact)


@pytest.mark.parametrize("facts", [[], None, 3, "w3", b"w3", KNOWN, SAME[2], {}, iter(())])
def test_what_is_no_list_of_facts_is_refused(facts):
    with pytest.raises(ArgumentError):
        read_facts(tiny.shared_lm(), facts)


def test_the_digest_is_of_what_is_asked_and_facts_can_be_sent_away():
    lm = tiny.shared_lm()
    one = read_facts(lm, SAME[:1])
    assert digest_of(one) == digest_of(read_facts(lm, SAME[3:4]))
    others = [("w3 w14 w15 w9", "w14", "w5"), ("w3 w14 w15 w8", "w14 w15", "w5"), SAME[0][:2]]
    digests = {digest_of(read_facts(lm, [each])) for each in others}
    assert len(digests - {digest_of(one)}) == len(others)
    assert pickle.loads(pickle.dumps(one)) == one
