"""One encoding of the prompt; the subject found by overlap; labels that are only text."""

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rome_widgets.errors import ContextTooLong, PromptError, SubjectNotFound, VocabMismatch
from rome_widgets.model.tokens import (
    answer_ids,
    encode_prompt,
    encode_with_offsets,
    find_subject,
    printable,
    subject_at,
    token_text,
)
from tests.helpers import tiny
from tests.helpers.counts import STRINGS

TOKENIZERS = pytest.mark.parametrize("name", tiny.TOKENIZERS)
NATURAL = [name for name in tiny.TOKENIZERS if name != "words"]


def encode(name, text, subject, **limits):
    return encode_prompt(tiny.TOKENIZERS[name](), text, subject, **limits)


@TOKENIZERS
def test_the_span_covers_the_subject_and_nothing_else_has_to(name):
    text, subject = (
        ("w3 w14 w15 w9", "w14 w15")
        if name == "words"
        else (
            "I saw The Space Needle there",
            "The Space Needle",
        )
    )
    encoded = encode(name, text, subject)
    start, stop = encoded.subject_span
    assert subject in "".join(encoded.tokens[start:stop])
    assert subject.split()[0] not in "".join(encoded.tokens[:start])
    assert subject.split()[-1] not in "".join(encoded.tokens[stop:])


@pytest.mark.parametrize("name", NATURAL)
@pytest.mark.parametrize("subject", ["Café", "東京", "приве́т", "👩‍🚀", "naïve"])
def test_a_subject_whose_characters_are_split_over_tokens_is_found(name, subject):
    encoded = encode(name, f"I like {subject} a lot", subject)
    start, stop = encoded.subject_span
    ids, offsets = encode_with_offsets(tiny.TOKENIZERS[name](), f"I like {subject} a lot")
    assert start > 0
    assert stop < len(ids)
    covered = {c for a, b in offsets[start:stop] for c in range(a, b)}
    assert set(range(7, 7 + len(subject))) <= covered


@given(st.text("ab 東é", min_size=1, max_size=12), st.text("ab東é", min_size=1, max_size=3))
@settings(max_examples=STRINGS, deadline=None)
def test_the_last_occurrence_equals_brute_force(text, subject):
    places = [i for i in range(len(text)) if text[i : i + len(subject)] == subject]
    if not text.strip() or not places:
        return
    (start, stop), notes = find_subject(text, subject)
    assert (start, stop) == (places[-1], places[-1] + len(subject))
    assert bool(notes) == (len(places) > 1)
    if notes:
        assert f"{len(places)} times" in notes[0]


def test_a_span_of_characters_names_another_occurrence():
    encoded = encode("words", "w3 w3 w5", (0, 2))
    assert encoded.subject_span == (0, 1)
    assert encoded.notes == ()


@TOKENIZERS
def test_words_at_positions_have_those_positions(name):
    """They corrupt the same positions again, and what shares a character with them."""
    text = "w3 w14 w3 w5" if name == "words" else "I saw The Space Needle there"
    tokenizer = tiny.TOKENIZERS[name]()
    offsets = encode_with_offsets(tokenizer, text)[1]
    seen = [i for i, (a, b) in enumerate(offsets) if text[a:b].strip()]
    for start, last in itertools.combinations_with_replacement(seen, 2):
        subject, (first, end) = subject_at(tokenizer, text, start, last + 1)
        assert subject == text[first:end] == subject.strip()
        found, stop = encode(name, text, (first, end)).subject_span
        assert {offsets[i] for i in range(found, stop)} == set(offsets[start : last + 1])
        assert found <= start <= last < stop
    assert len(seen) > 2


@pytest.mark.parametrize("span", [(-1, 1), (2, 2), (3, 2), (0, 99)])
def test_positions_outside_the_prompt_have_no_words(span):
    with pytest.raises(PromptError, match="are not in the prompt"):
        subject_at(tiny.TOKENIZERS["words"](), "w3 w14 w5", *span)


def test_a_bos_alone_is_no_subject():
    with pytest.raises(PromptError, match="No visible text"):
        subject_at(tiny.TOKENIZERS["metaspace with byte fallback"](), "Seattle is", 0, 1)


@TOKENIZERS
def test_the_subject_may_be_the_whole_prompt(name):
    text = "w3 w14" if name == "words" else "Seattle"
    encoded = encode(name, text, text)
    assert encoded.subject_span[1] == len(encoded.ids)
    assert "last token" in encoded.notes[0]


def test_a_bos_is_a_position_of_its_own():
    encoded = encode("metaspace with byte fallback", "Seattle is", "Seattle")
    assert encoded.tokens[0] == "<s>"
    assert encoded.subject_span[0] == 1
    assert encoded.notes == ()
    tokenizer = tiny.TOKENIZERS["byte-level with BOS"]()
    assert encode_with_offsets(tokenizer, "Seattle")[1][0] == (0, 0)


@TOKENIZERS
def test_white_space_around_a_subject_is_not_corrupted(name):
    text, subject = ("w3 w14 w9", "w14") if name == "words" else ("See Seattle now", "Seattle")
    bare = encode(name, text, subject)
    for spaced in (f"{subject} ", f" {subject}", f" {subject} "):
        assert encode(name, text, spaced).subject_span == bare.subject_span
        assert encode(name, text, spaced).subject == subject


def test_a_prompt_that_ends_in_white_space_is_noted():
    assert "ends in white space" in encode("words", "w3 w4 ", "w3").notes[0]


def test_special_token_text_is_encoded_as_text():
    encoded = encode("byte-level", "The <|endoftext|> Needle", "Needle")
    assert 0 not in encoded.ids
    assert any("'<|endoftext|>' in the prompt was read as plain" in n for n in encoded.notes)


PIECES = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), min_size=1, max_size=12)


@pytest.mark.parametrize("name", [n for n in NATURAL if "byte-level" in n])
@given(text=PIECES)
@example(text="a  b")
@example(text="x\n y")
@example(text="a   b c")
@settings(max_examples=STRINGS, deadline=None)
def test_labels_of_whole_characters_join_to_the_printable_text(name, text):
    if not text.strip():
        return
    tokenizer = tiny.TOKENIZERS[name]()
    ids, offsets = encode_with_offsets(tokenizer, text)
    encoded = encode_prompt(tokenizer, text, text)
    joined = "".join(encoded.tokens)
    assert "\ufffd" not in joined or "\ufffd" in text
    whole = [i for i, (a, b) in enumerate(offsets) if a < b]
    shared = any(offsets[i][1] > offsets[j][0] for i, j in itertools.pairwise(whole))
    if not shared and whole == list(range(len(ids))):
        assert joined == printable(text)


def test_bytes_that_are_no_whole_character_are_shown_as_bytes():
    tokenizer = tiny.TOKENIZERS["byte-level"]()
    shown = encode("byte-level", "say 𝔘 now", "𝔘").tokens
    assert any("⟨" in label for label in shown)
    assert not any("\ufffd" in label for label in shown)
    assert token_text(tokenizer, tokenizer.convert_tokens_to_ids("ð")) == "⟨F0⟩"


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("a\nb", "a⏎b"),
        ("\x00", "␀"),
        ("\x7f", "␡"),
        ("\u202eabc", "⟨U+202E⟩abc"),
        ("\u200b", "⟨U+200B⟩"),
        ("<script>", "<script>"),
    ],
)
def test_printable(raw, shown):
    assert printable(raw) == shown


@TOKENIZERS
def test_ids_beyond_the_vocabulary_are_named(name):
    tokenizer = tiny.TOKENIZERS[name]()
    assert token_text(tokenizer, len(tokenizer) + 5) == f"⟨id {len(tokenizer) + 5}⟩"


@pytest.mark.parametrize("name", NATURAL)
def test_an_answer_gets_its_space_once(name):
    tokenizer = tiny.TOKENIZERS[name]()
    text = "The Space Needle is in the city of"
    plain = answer_ids(tokenizer, text, "Seattle")
    assert plain == answer_ids(tokenizer, text, " Seattle")
    assert "".join(token_text(tokenizer, i) for i in plain) == " Seattle"
    trailing = answer_ids(tokenizer, text + " ", "Seattle")
    assert "  " not in "".join(token_text(tokenizer, i) for i in trailing)


@pytest.mark.parametrize(
    ("word", "spaced"),
    [
        ("$5", True),
        ('"Hello"', True),
        ("(Paris)", True),
        ("Paris", True),
        (".", False),
        (")", False),
    ],
)
def test_a_space_goes_before_words_and_opening_signs_only(word, spaced):
    tokenizer = tiny.TOKENIZERS["byte-level"]()
    first = token_text(tokenizer, answer_ids(tokenizer, "it costs", word)[0])
    assert first.startswith(" ") == spaced


def test_an_answer_after_a_space_gets_no_second_one():
    tokenizer = tiny.TOKENIZERS["byte-level"]()
    text = "The Space Needle is in the city of "
    assert answer_ids(tokenizer, text, " Seattle") == answer_ids(tokenizer, text, "Seattle")


def test_a_script_without_spaces_gets_none():
    tokenizer = tiny.TOKENIZERS["byte-level"]()
    joined = list(answer_ids(tokenizer, "首都は", "東京"))
    assert not token_text(tokenizer, joined[0]).startswith(" ")


class _Slow:
    """A tokenizer without offsets: one token per two letters, words apart."""

    is_fast = False
    bos_token_id = 1
    all_special_ids = (1,)

    def tokenize(self, text):
        return [w[i : i + 2] for w in text.split() for i in range(0, len(w), 2)]

    def convert_tokens_to_ids(self, pieces):
        return [2 + sum(map(ord, piece)) for piece in pieces]

    def build_inputs_with_special_tokens(self, ids):
        return [1, *ids]

    def convert_ids_to_tokens(self, token_id):
        return "<s>" if token_id == 1 else "??"

    def __len__(self):
        return 100_000


def test_a_tokenizer_without_offsets_finds_the_subject_by_prefixes():
    encoded = encode_prompt(_Slow(), "see abcd now", "abcd")
    assert [token.strip() for token in encoded.tokens] == ["<s>", "se", "e", "ab", "cd", "no", "w"]
    assert encoded.subject_span == (3, 5)


# --------------------------------------------------------------------------- refusals

EMPTY = ["", " ", "\n", "\t", "  \n ", "\u00a0", "\u3000", "\r\n", "\x0b", "\u2003"]


@pytest.mark.parametrize("text", EMPTY)
def test_an_empty_prompt_is_refused_before_any_forward(text):
    with pytest.raises(PromptError, match="The prompt is empty"):
        encode("words", text, "w3")


@pytest.mark.parametrize("subject", EMPTY)
def test_an_empty_subject_is_refused(subject):
    with pytest.raises(PromptError, match="The subject is empty"):
        encode("words", "w3 w4", subject)


@pytest.mark.parametrize("text", ["w3 \ud800", "\udfff"])
def test_a_lone_surrogate_is_refused(text):
    with pytest.raises(PromptError, match="lone surrogate"):
        encode("words", text, "w3")


@pytest.mark.parametrize("prompt", [None, 3, b"w3", ["w3"]])
def test_what_is_not_text_is_refused(prompt):
    with pytest.raises(PromptError, match="not text"):
        encode("words", prompt, "w3")


@pytest.mark.parametrize(
    ("text", "subject", "offered"),
    [
        ("The Space Needle is in", "space needle", "Space Needle"),
        ("The Space Needle is in", "Space Neddle", "Space Needle"),
        ("I like Café Noir", "Cafe\u0301 Noir", "Café Noir"),
        ("The Space Needle is in", " The Space Needle ", "The Space Needle"),
    ],
)
def test_an_absent_subject_is_refused_with_the_nearest_match(text, subject, offered):
    with pytest.raises(SubjectNotFound) as caught:
        encode("byte-level", text, subject)
    assert caught.value.remedy == f"Did you mean {offered!r}?"


def test_a_hopeless_subject_gets_a_plain_remedy():
    with pytest.raises(SubjectNotFound, match="Copy the subject out of the prompt"):
        encode("byte-level", "The Space Needle", "Zanzibar")


@pytest.mark.parametrize("span", [(-1, 2), (3, 3), (0, 99), (5, 2), (1.0, 2.0), "x", (1,), (2, 3)])
def test_a_span_outside_the_text_is_refused(span):
    with pytest.raises((PromptError, SubjectNotFound)):
        encode("words", "w3 w4 w5", span)


@pytest.mark.parametrize("n", [15, 16])
def test_as_many_tokens_as_positions_are_fine(n):
    assert len(encode("words", " ".join(["w3"] * n), "w3", max_tokens=16).ids) == n


def test_one_token_too_many_is_refused_with_the_numbers():
    with pytest.raises(ContextTooLong, match=r"17 tokens.*at most 16.*by 1 tokens"):
        encode("words", " ".join(["w3"] * 17), "w3", max_tokens=16)


def test_an_id_without_an_embedding_is_refused():
    with pytest.raises(VocabMismatch, match="id 28, but the model embeds only 20"):
        encode("words", "w3 w28", "w3", n_embeddings=20)


def test_a_text_longer_than_the_model_is_encoded_without_alarm(caplog):
    """Who runs it cuts it or refuses; transformers would speak of indexing errors."""
    import rome_widgets as rw

    lm = rw.load(device="cpu")
    assert len(lm.encode_text("The Space Needle is in Seattle. " * 40)) > lm.n_positions
    assert "longer than" not in caplog.text
