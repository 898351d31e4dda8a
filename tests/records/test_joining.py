"""Whether a space stands between a text and the word that it goes on with."""

import pytest

from rome_widgets.records.joining import follows_at_once

KINDS = {
    "white space": (["It is ", "Answer:\n", "list:\t", "首都は\u3000"], "Rome", True),
    "nothing before": ([""], "Rome", True),
    "words": (
        ["The capital is", "It is 19", "the dogs'", "He said:", "Well,", "(1)"],
        "Rome",
        False,
    ),
    "closed quotation marks": (['"yes"', "‘yes’", "„ja“", "«oui»", "`x`"], "Rome", False),
    "opening quotation marks": (
        ['He said "', "“", "is ‘", "is «", "is '", "is `", '("'],
        "x",
        True,
    ),
    "opening brackets": (["is (", "f(", "the [", "（"], "x", True),
    "marks of a text that is set": (["The answer is **", "is _", "# *"], "Rome", True),
    "hyphens inside a word": (["New-", "and/", "Rome—", "snake_"], "case", True),
    "dashes between words": (["the answer -", "Rome —"], "Italy", False),
    "elided letters": (["They met O'", "l’", "the d'"], "Orsay", True),
    "signs of currency": (["costs $", "€", "US$"], "5", True),
    "a currency before a word": (["the sign $"], "sign", False),
    "tags": (["the user @", "the tag #"], "win", True),
    "a script that writes spaces": (["수도는", "The capital is", "Столица"], "서울", False),
    "scripts that write none": (["首都は", "法国的首都是", "他在ABC的"], "東京", True),
    "Thai": (["เมืองหลวงของไทยคือ"], "กรุงเทพ", True),
    "a Latin name in Chinese or Japanese": (
        ["首都は", "他在ABC的", "答え：", "…、"],
        "Tokyo",
        True,
    ),
    "a Latin name elsewhere": (
        ["เมืองหลวงของไทยคือ", "수도는", "In 東京 they say 東京"],
        "Tokyo",
        False,
    ),
    "a word of such a script in another": (["In Japanese Tokyo is"], "東京", False),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_text_ends_with_decides(kind):
    texts, word, at_once = KINDS[kind]
    assert [follows_at_once(text, word) for text in texts] == [at_once] * len(texts)


WORDS = {
    "closing punctuation": ([".", ",", "%", ")", "?", "…", "»", "。"], True),
    "endings": (["'s", "’s", "'ll", "n't"[1:]], True),
    "quotations and brackets": (['"Rome"', "'Rome'", "(Rome)", "¿Rome?"], False),
    "marks of their own": (["#win", "&", "@bob", "*", "§ 5", "•", "$5", "-5", "+", "🎉"], False),
}


@pytest.mark.parametrize("kind", WORDS)
def test_what_a_word_begins_with_decides(kind):
    words, at_once = WORDS[kind]
    assert [follows_at_once("it is", word) for word in words] == [at_once] * len(words)
