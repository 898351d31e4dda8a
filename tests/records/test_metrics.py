"""What the metrics count, over numbers made by hand."""

import math
import random

import pytest

from rome_widgets.records.html import table
from rome_widgets.records.metrics import (
    PROMPT_KINDS,
    SCORED,
    EditMetrics,
    KindMetrics,
    Mean,
    MetricsTotal,
    PromptScore,
    WordScore,
)


def word(probability, token_accuracy=0.0):
    return WordScore(math.log(probability), token_accuracy)


def prompt(right, other=None, token_accuracy=0.0):
    return PromptScore(word(right, token_accuracy), None if other is None else word(other))


def record(**scores):
    return EditMetrics.of(scores)


TOOK = prompt(0.8, 0.1, 1.0)
FAILED = prompt(0.1, 0.8)


def test_the_more_probable_word_succeeds_by_as_much_as_it_is_more_probable():
    assert TOOK.success is True
    assert TOOK.magnitude == pytest.approx(0.7)
    assert FAILED.success is False
    assert FAILED.magnitude == pytest.approx(-0.7)


def test_a_tie_is_a_failure_whichever_word_is_right():
    assert prompt(0.3, 0.3).success is False
    impossible = WordScore(-math.inf, 0.0)
    assert PromptScore(impossible, impossible).success is False
    assert PromptScore(impossible, impossible).magnitude == 0


@pytest.mark.parametrize("probability", [1e-9, 0.1, 1 / 3, 0.999])
def test_of_one_token_all_probabilities_are_one_number_bit_for_bit(probability):
    score = word(probability)
    assert score.joint_probability == score.probability
    longer = score._replace(n_tokens=3)
    assert longer.probability == score.probability
    assert longer.joint_probability == pytest.approx(probability**3)


def test_success_and_accuracy_are_two_things():
    """The new object may be above the true one, and a third word above both."""
    metrics = record(efficacy=[prompt(0.2, 0.1)])
    assert (metrics.efficacy.success, metrics.efficacy.accuracy) == (1, 0)
    metrics = record(efficacy=[prompt(0.2, 0.3, 1.0)])
    assert (metrics.efficacy.success, metrics.efficacy.accuracy) == (0, 1)


@pytest.mark.parametrize(("share", "likeliest"), [(1.0, True), (0.5, False), (0.0, False)])
def test_a_word_is_the_likeliest_if_all_its_tokens_are(share, likeliest):
    assert word(0.5, share).likeliest is likeliest


def test_what_was_not_asked_is_none_and_not_zero():
    assert record(efficacy=[TOOK]).neighborhood == KindMetrics(None, None, None, None, 0)
    others = record(others=[prompt(0.9, token_accuracy=1.0), prompt(0.5)]).others
    assert (others.success, others.magnitude) == (None, None)
    assert (others.accuracy, others.n_prompts) == (0.5, 2)


def test_the_order_of_prompts_and_of_records_changes_nothing():
    shuffled = random.Random(0)
    prompts = [prompt(0.1 * i + 0.05, 0.4, float(i > 5)) for i in range(9)]
    records = [record(efficacy=prompts[:i], neighborhood=prompts[i:]) for i in range(10)]
    whole, score = MetricsTotal(tuple(records)), MetricsTotal(tuple(records)).efficacy
    for _ in range(5):
        shuffled.shuffle(prompts)
        assert record(paraphrase=prompts).paraphrase == pytest.approx(
            record(paraphrase=sorted(prompts)).paraphrase
        )
        shuffled.shuffle(records)
        again = MetricsTotal(tuple(records)).efficacy
        assert again.success == pytest.approx(score.success)
        assert again.accuracy == pytest.approx(score.accuracy)
    assert whole.efficacy.n_prompts == sum(range(10))


def test_a_record_with_many_prompts_counts_once():
    total = MetricsTotal(
        (record(neighborhood=[TOOK] * 9), record(neighborhood=[FAILED]), record(efficacy=[TOOK]))
    )
    assert total.neighborhood.success.value == 0.5
    assert total.neighborhood.accuracy.value == 0.5
    assert total.neighborhood.success.n == 2
    assert total.neighborhood.n_prompts == 10


def test_the_score_of_equal_means_is_that_mean_and_of_others_below_their_mean():
    half = [TOOK, FAILED]
    same = MetricsTotal((record(**dict.fromkeys(SCORED, half)),))
    assert same.score == pytest.approx(0.5)
    uneven = MetricsTotal((record(efficacy=[TOOK], paraphrase=[TOOK], neighborhood=half),))
    assert uneven.score == pytest.approx(3 / (1 + 1 + 2))


def test_the_score_is_of_the_means_and_not_the_mean_of_scores():
    """One record that fails at paraphrases has S = 0, but the two together do not have half."""
    good = record(efficacy=[TOOK], paraphrase=[TOOK], neighborhood=[TOOK])
    bad = record(efficacy=[TOOK], paraphrase=[FAILED], neighborhood=[TOOK])
    assert MetricsTotal((bad,)).score == 0
    assert MetricsTotal((good, bad)).score == pytest.approx(3 / (1 + 2 + 1))


def test_the_papers_scores_follow_from_its_means():
    """ROME on GPT-2 XL and on GPT-J, table 4: within what its rounding leaves open."""
    for es, ps, ns, score in ((100.0, 96.4, 75.4, 89.2), (99.9, 99.1, 78.9, 91.5)):
        means = {
            kind: KindMetrics(share / 100, 0.0, 0.0, 0.0, 1)
            for kind, share in zip(SCORED, (es, ps, ns), strict=True)
        }
        found = MetricsTotal((EditMetrics(**means, others=KindMetrics.of([])),)).score
        assert 100 * found == pytest.approx(score, abs=0.1)


def test_without_a_kind_there_is_no_score():
    assert math.isnan(MetricsTotal((record(efficacy=[TOOK], paraphrase=[TOOK]),)).score)
    nothing = MetricsTotal(())
    assert math.isnan(nothing.score)
    assert math.isnan(nothing.efficacy.success.value)
    assert nothing.efficacy.success.n == 0


def test_the_interval_of_constants_is_zero_of_coins_is_known_and_of_one_record_is_none():
    assert Mean.of([0.25] * 7) == (0.25, 0, 7)
    assert Mean.of([True, None, False]) == (0.5, pytest.approx(1.96 * 0.5 / math.sqrt(2)), 2)
    one = Mean.of([0.5])
    assert (one.value, math.isnan(one.interval), one.n) == (0.5, True, 1)
    assert (str(one), f"{one:+.3f}") == ("50.0", "+0.500")
    assert f"{Mean.of([0.4, 0.6]):+.2f}" == "+0.50 ± 0.14"
    assert f"{Mean.of([]):.3f}" == ""


def test_the_interval_shrinks_with_the_root_of_the_count():
    few, many = Mean.of([0, 1] * 10), Mean.of([0, 1] * 1000)
    assert few.interval / many.interval == pytest.approx(10)


def test_records_and_totals_are_read_in_six_lines():
    one = record(efficacy=[TOOK], paraphrase=[TOOK, FAILED], others=[prompt(0.9)])
    total = MetricsTotal((one, record(efficacy=[FAILED], neighborhood=[TOOK])))
    for shown in (one, total):
        lines = repr(shown).splitlines()
        assert len(lines) == 1 + len(PROMPT_KINDS) <= 6
        assert [line.split()[0] for line in lines[1:]] == list(PROMPT_KINDS)
        html = shown._repr_html_()
        assert all(cell in html for line in lines[1:] for cell in line.split())
    assert "2 records, S " in repr(total)
    assert "50.0 ±69.3" in repr(total)


def test_a_cell_of_a_table_is_never_markup():
    assert "<b>" not in table([["<b>"]], ["<b>"], "<b>")
