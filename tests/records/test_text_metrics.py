"""Entropy and likeness of texts, against values worked out by hand."""

import math
from collections import Counter

import pytest

from rome_widgets.records.text_metrics import ReferenceTexts, ngram_entropy


def entropy(words, n):
    """By its definition, counted in a loop."""
    grams = [tuple(words[at : at + n]) for at in range(len(words) - n + 1)]
    shares = [count / len(grams) for count in Counter(grams).values()]
    return -sum(share * math.log2(share) for share in shares)


@pytest.mark.parametrize("n", [3, 9, 40])
def test_distinct_words_have_the_entropy_of_their_number(n):
    text = " ".join(f"w{number}" for number in range(n))
    assert ngram_entropy(text) == pytest.approx((math.log2(n - 1) + 2 * math.log2(n - 2)) / 3)


def test_nine_distinct_words_have_the_published_value():
    assert ngram_entropy("a b c d e f g h i") == pytest.approx(2.87157, abs=1e-5)


def test_a_word_over_and_over_has_none_and_of_too_few_words_nothing_is_known():
    assert ngram_entropy("no no no no no") == 0
    assert [ngram_entropy(text) for text in ("", "one", "one two")] == [None] * 3


def test_trigrams_count_twice_as_much_as_bigrams():
    words = ["a", "b", "a", "b", "a", "c"]
    both = entropy(words, 2), entropy(words, 3)
    assert both[0] == pytest.approx(-(0.4 * math.log2(0.4) * 2 + 0.2 * math.log2(0.2)))
    assert ngram_entropy("a b a b a c") == pytest.approx((both[0] + 2 * both[1]) / 3)


def test_punctuation_is_words_of_its_own_and_accents_are_not():
    assert ngram_entropy("a,b!") == ngram_entropy("a , b !") > 0
    assert ngram_entropy("caf\u00e9 x y") == ngram_entropy("cafe\u0301 x y")


def test_likeness_is_the_cosine_of_tf_idf_as_scikit_learn_has_it():
    """idf of 3 texts: of a term in one ln(4/2) + 1, in two ln(4/3) + 1."""
    about = ReferenceTexts({"Paris": ["the Seine", "the tower"], "Rome": ["Tiber"]})
    one, two = math.log(4 / 2) + 1, math.log(4 / 3) + 1
    paris = {"the": 2 * two, "seine": one, "tower": one}
    written = {"the": two, "seine": one, "tiber": one}
    dot = sum(value * written.get(term, 0) for term, value in paris.items())
    lengths = math.hypot(*paris.values()) * math.hypot(*written.values())
    found = about.similarity("Paris", ["THE seine,", "tiber a unknown"])
    assert found == pytest.approx(dot / lengths)
    assert about.similarity("Rome", ["Tiber tiber"]) == pytest.approx(1)
    assert about.similarity("Rome", ["nothing of it"]) == 0


def test_of_an_object_without_texts_nothing_is_known():
    about = ReferenceTexts({"Paris": ["the Seine"], "Rome": ["a"]})
    assert about.similarity("Oslo", ["the Seine"]) is None
    assert about.similarity("Rome", ["the Seine"]) is None, "no term in its texts"
