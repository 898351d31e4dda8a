"""Figures of a record, counted by hand."""

import math

import pytest

from rome_widgets.records.metrics import PromptScore, WordScore
from rome_widgets.records.record_scores import (
    ProbeScore,
    RecordScores,
    figures_of_scores,
    token_accuracy,
)

SAID, NOT_SAID = WordScore(math.log(0.8), 1.0), WordScore(math.log(0.1), 0.0)
HALF = WordScore(math.log(0.5), 0.5, 2)
YES, NO = PromptScore(SAID, NOT_SAID), PromptScore(NOT_SAID, SAID)


def probe(*answers, group="others"):
    return ProbeScore(group, answers)


def test_the_papers_figures_are_means_over_the_prompts_of_a_kind():
    now = RecordScores({"efficacy": [YES], "paraphrase": [YES, NO, NO], "neighborhood": [NO]})
    found = figures_of_scores(now, now)
    assert (found["ES"], found["PS"], found["NS"]) == (1, pytest.approx(1 / 3), 0)
    assert found["EM"] == pytest.approx(0.7)
    assert found["PM"] == pytest.approx(-0.7 / 3)
    assert (found["EA"], found["NA"]) == (1, 0)


def test_exchanged_objects_turn_es_into_its_complement_and_em_into_its_opposite():
    one = figures_of_scores(*[RecordScores({"efficacy": [YES, YES, NO]})] * 2)
    swapped = [PromptScore(other, right) for right, other in (YES, YES, NO)]
    other = figures_of_scores(*[RecordScores({"efficacy": swapped})] * 2)
    assert one["ES"] + other["ES"] == 1
    assert one["EM"] == pytest.approx(-other["EM"])
    asked = figures_of_scores(*[RecordScores({"efficacy": [YES], "neighborhood": [NO]})] * 2)
    assert asked["NS"] == 1 - asked["ES"], "the edited prompt as its own neighbor"


def test_what_there_is_no_data_for_is_not_there():
    assert figures_of_scores(RecordScores({}), RecordScores({})) == {}
    alone = RecordScores({"efficacy": [PromptScore(HALF)]})
    assert figures_of_scores(alone, alone) == {"EA": 0.0, "zsre_efficacy": 0.5}


def test_a_word_of_n_tokens_counts_n_times():
    three = WordScore(-1.0, 2 / 3, 3)
    assert token_accuracy([three, SAID]) == 3 / 4
    assert token_accuracy([WordScore(-1.0, 1.0, 7)]) == 1
    assert token_accuracy([]) is None


def test_only_what_the_unedited_model_knew_can_be_kept():
    before = RecordScores({}, locality=(probe([SAID]), probe([NOT_SAID]), probe([SAID])))
    now = RecordScores({}, locality=(probe([SAID]), probe([SAID]), probe([NOT_SAID])))
    found = figures_of_scores(now, before)
    assert found["others_kept"] == 0.5
    assert found["zsre_specificity"] == pytest.approx(2 / 3)
    nothing = RecordScores({}, locality=(probe([NOT_SAID]),))
    assert "others_kept" not in figures_of_scores(nothing, nothing)


def test_any_name_of_each_thing_will_do_and_groups_are_apart():
    two = ProbeScore("two hops", ((NOT_SAID, SAID), (SAID,)))
    lacks = ProbeScore("two hops", ((SAID,), (NOT_SAID,)))
    other = ProbeScore("", ((NOT_SAID,),))
    assert (two.right, lacks.right) == (True, False)
    now = RecordScores({}, portability=(two, lacks, other))
    found = figures_of_scores(now, now)
    assert found["ripple:two hops"] == 0.5
    assert found["ripple_p:two hops"] == pytest.approx((0.8 + (0.8 + 0.1) / 2) / 2)
    assert found["ripple:portability"] == 0
