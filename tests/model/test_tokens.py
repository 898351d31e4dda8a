"""One encoding of the prompt; the subject found by overlap; labels that are only text."""

import copy
import itertools
import pickle

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

import rome_widgets as rw
from rome_widgets.errors import (
    ContextTooLong,
    PromptError,
    SubjectNotFound,
    UnsupportedModel,
    VocabMismatch,
)
from rome_widgets.model.tokens import (
    answer_ids,
    encode_prompt,
    encode_with_offsets,
    find_in_prompt,
    printable,
    read_prompt,
    read_prompts,
    read_text,
    replaced,
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


def test_special_tokens_written_in_a_text_are_special_tokens_and_a_note_says_so():
    encoded = encode("byte-level", "The <|endoftext|> Needle", "Needle")
    assert encoded.ids.count(0) == 1
    assert "'<|endoftext|>' in the prompt was read as a special token." in encoded.notes


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


@pytest.mark.parametrize("name", NATURAL)
@pytest.mark.parametrize(
    ("text", "word", "together"),
    [
        ("the city of ", "Seattle", "the city of Seattle"),
        ("the city of", " Seattle \n", "the city of Seattle"),
        ('it is "', "Seattle", 'it is "Seattle'),
        ("it is:\n", "Seattle", "it is:\nSeattle"),
        ("New-", "Seattle", "New-Seattle"),
        ("수도는", "서울", "수도는 서울"),
    ],
)
def test_prompt_and_answer_read_as_one_text_without_a_space_too_many(name, text, word, together):
    """Those that put a space before every text put none before an answer read by itself."""
    tokenizer = tiny.TOKENIZERS[name]()
    ids = read_text(tokenizer, text).ids + answer_ids(tokenizer, text, word)
    assert tokenizer.decode(ids, skip_special_tokens=True).removeprefix(" ") == together


@pytest.mark.parametrize("kind", tiny.CHATS)
def test_no_space_stands_beside_a_special_token(kind):
    tokenizer = tiny.CHATS[kind]()
    text = "<|start|>Where is Rome?<|end|>"
    ids = read_text(tokenizer, text).ids + answer_ids(tokenizer, text, "Italy")
    assert tokenizer.decode(ids).endswith("<|end|>Italy")


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


# --------------------------------------------------------------------- messages, ids, ends

CHATS = pytest.mark.parametrize("kind", tiny.CHATS)
MESSAGES = [
    {"role": "system", "content": "You are Rome's guide."},
    {"role": "user", "content": "Where is The Space Needle?"},
]
WORDS = st.text("Rome <|end|>é東\n{}'", max_size=20)


def spoken(texts, last):
    roles = ["user", "assistant"] * len(texts)
    messages = [{"role": r, "content": t} for r, t in zip(roles, texts, strict=False)]
    return [*messages, {"role": last, "content": "The Space Needle is in"}]


@CHATS
@given(st.lists(WORDS, max_size=3), st.sampled_from(["user", "assistant"]))
@settings(max_examples=max(10, STRINGS // 10), deadline=None)
def test_messages_have_the_ids_that_transformers_gives_them(kind, texts, last):
    tokenizer, messages = tiny.CHATS[kind](), spoken(texts, last)
    goes_on = last == "assistant"
    wanted = tokenizer.apply_chat_template(
        messages,
        tokenize=True,
        add_generation_prompt=not goes_on,
        continue_final_message=goes_on,
    )["input_ids"]
    prompt = read_prompt(tokenizer, messages)
    encoded = encode_prompt(tokenizer, prompt, "The Space Needle")
    assert list(encoded.ids) == wanted == list(prompt.ids)
    start, stop = encoded.subject_span
    assert "".join(encoded.tokens[start:stop]).strip() == "The Space Needle"
    assert encoded.text == prompt == tokenizer.decode(wanted)
    assert (read_text(tokenizer, str(prompt)).ids == wanted) == prompt.plain


@CHATS
@given(WORDS)
@settings(max_examples=max(10, STRINGS // 10), deadline=None)
def test_a_text_has_the_ids_that_its_tokenizer_gives_it_but_for_doubled_starts_and_ends(kind, text):
    tokenizer = tiny.CHATS[kind]()
    for prompt in (text, f"<s>{text}", f"<|start|>user\n{text}<|end|>\n"):
        if not prompt.strip():
            continue
        given = tokenizer(prompt)["input_ids"]
        bos, eos = tokenizer.convert_tokens_to_ids(["<s>", "</s>"])
        wanted = given[:-1] if given[-1:] == [eos] else given
        wanted = wanted[1:] if wanted[:2] == [bos, bos] else wanted
        assert read_text(tokenizer, prompt).ids == wanted


@CHATS
@given(WORDS)
@settings(max_examples=max(10, STRINGS // 10), deadline=None)
def test_ids_in_any_form_are_read_as_they_are(kind, text):
    tokenizer = tiny.CHATS[kind]()
    text = f"The Space Needle{text} is"
    prompt = read_text(tokenizer, text).ids
    forms = [
        prompt,
        tuple(prompt),
        [prompt],
        np.array(prompt),
        torch.tensor([prompt]),
        tokenizer(text),
        tokenizer([text], return_tensors="pt"),
        {"input_ids": [0, *prompt], "attention_mask": [0, *[1] * len(prompt)]},
    ]
    for form in forms:
        read = read_prompt(tokenizer, form)
        encoded = encode_prompt(tokenizer, read, "The Space Needle")
        assert list(encoded.ids) == prompt


@given(st.lists(st.integers(0, 330), min_size=1, max_size=12))
@settings(max_examples=STRINGS, deadline=None)
def test_ids_that_no_text_gives_are_kept_and_their_characters_known(ids):
    tokenizer = tiny.CHATS["adds a start"]()
    prompt = read_prompt(tokenizer, ids)
    if not prompt.strip():
        return
    read = read_text(tokenizer, prompt)
    assert read.ids == ids
    assert len(read.offsets) == len(ids)
    assert all(0 <= a <= b <= len(prompt) for a, b in read.offsets)
    if not prompt.plain:
        assert prompt == tokenizer.decode(ids)
        assert max(b for _, b in read.offsets) == len(prompt)


def test_the_tokenizer_is_not_changed_by_messages_or_ids():
    tokenizer = tiny.chat_tokenizer(before="<s>", after="</s>")
    before = tokenizer.backend_tokenizer.to_str(), tokenizer.chat_template
    read_text(tokenizer, read_prompt(tokenizer, MESSAGES))
    assert (tokenizer.backend_tokenizer.to_str(), tokenizer.chat_template) == before


def test_notes_say_what_was_read_as_special_left_off_or_not_added():
    tokenizer = tiny.chat_tokenizer(before="<s>", after="</s>")
    said = " ".join(encode_prompt(tokenizer, "<s>Rome<|end|> is", "Rome").notes)
    assert "begins with '<s>' itself: no second one was added" in said
    assert "adds '</s>' at the end; it is left off" in said
    assert "'<s>' and '<|end|>' in the prompt were read as special tokens" in said
    messages = encode_prompt(tokenizer, read_prompt(tokenizer, MESSAGES), "The Space Needle").notes
    assert messages == ("The messages were written out with the tokenizer's own chat template.",)


@CHATS
def test_a_subject_is_looked_for_in_what_is_said_before_headers_and_special_tokens(kind):
    tokenizer = tiny.CHATS[kind]()
    messages = [{"role": "user", "content": "Is the assistant a user at its end here?"}]
    prompt = read_prompt(tokenizer, messages)
    for text in (prompt, str(prompt)):
        for word in ("assistant", "user", "end"):
            start, stop = encode_prompt(tokenizer, text, word).subject_span
            ((a, b),), _ = find_in_prompt(tokenizer, text, word)
            assert text.index("Is the") < a < b <= text.index(" here")
            assert start < stop
    ((a, _),), _ = find_in_prompt(tokenizer, prompt, "start")
    assert a == prompt.rindex("start")


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ([[1, 2], [3, 4]], "2 prompts"),
        (torch.tensor([[1, 2], [3, 4]]), "2 prompts"),
        ([1, -2], "not a list of token ids"),
        (torch.tensor([1.5]), "not a list of token ids"),
        (torch.empty(3, device="meta", dtype=torch.long), "not a list of token ids"),
        (np.array([True]), "not a list of token ids"),
        ([10**30], "token id"),
        ({"input_ids": []}, "not a list of token ids"),
        ([], "not text"),
        (None, "not text"),
        (3, "not text"),
        (b"Rome", "not text"),
        (object(), "not text"),
        ([{"role": "user"}], "not text"),
        ([{"role": "user", "content": "x"}, "y"], "not text"),
    ],
)
def test_what_is_no_prompt_is_refused_in_words(prompt, message):
    tokenizer = tiny.CHATS["adds a start"]()
    with pytest.raises(PromptError, match=message):
        encode_prompt(tokenizer, read_prompt(tokenizer, prompt), "Rome")


def test_messages_that_a_template_does_not_take_are_refused_with_its_reason():
    tokenizer = tiny.chat_tokenizer()
    tokenizer.chat_template = "{{ raise_exception('Roles must alternate') }}"
    with pytest.raises(PromptError, match="does not take these messages: Roles must alternate"):
        read_prompt(tokenizer, MESSAGES)


def test_a_list_of_prompts_is_told_from_one_prompt():
    assert read_prompts("Rome") == ["Rome"]
    assert read_prompts(["Rome", "Paris"]) == ["Rome", "Paris"]
    assert read_prompts(MESSAGES) == [MESSAGES]
    assert read_prompts([MESSAGES, "Rome"]) == [MESSAGES, "Rome"]
    assert read_prompts([1, 2]) == [[1, 2]]
    assert read_prompts([[1, 2], [3]]) == [[1, 2], [3]]
    assert read_prompts(()) == []


def test_messages_without_a_template_are_refused_with_the_remedy():
    with pytest.raises(PromptError, match="no chat template"):
        read_prompt(tiny.TOKENIZERS["words"](), MESSAGES)


TEMPLATES = {
    "a message by default": "<|start|>system\nYou know Rome, user.<|end|>\n" + tiny.CHAT_TEMPLATE,
    "headers in words": "A talk of Ann with Rome.\n{% for m in messages %}### {{ m.role }}:\n"
    "{{ m.content | trim }}\n{% endfor %}### Rome:\n",
    "words twice": "Rome{% for m in messages %}<|start|>{{ m.content }}, {{ m.content }}"
    "{% endfor %}",
    "one that looks at the words": "{% for m in messages %}<|start|>{{ m.content | length }}\n"
    "{{ m.content }}<|end|>{% endfor %}",
}


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize(
    "content", ["Rome", " Rome\n", "user", "Where is Rome?", "A", "\\1 (Rome)"]
)
def test_what_a_message_says_is_told_from_the_same_words_of_the_template(template, content):
    tokenizer = copy.copy(tiny.CHATS["adds nothing"]())
    tokenizer.chat_template = TEMPLATES[template]
    prompt = read_prompt(tokenizer, [{"role": "user", "content": content}])
    ends = prompt.rindex(content.strip()) if template != "headers in words" else None
    assert {prompt[slice(*span)] for span in prompt.said} == {content.strip()}
    if ends is None:
        ends = len("A talk of Ann with Rome.\n### user:\n")
    assert prompt.said[-1][0] == ends


@CHATS
@given(WORDS)
@settings(max_examples=max(10, STRINGS // 10), deadline=None)
def test_words_put_into_a_prompt_are_read_as_the_rest_of_it(kind, words):
    tokenizer = tiny.CHATS[kind]()
    prompt = read_prompt(tokenizer, MESSAGES)
    at = prompt.index("Where")
    changed = replaced(tokenizer, prompt, (at, at), words)
    other = [MESSAGES[0], {"role": "user", "content": words + MESSAGES[1]["content"]}]
    if words == words.lstrip():
        assert changed == read_prompt(tokenizer, other)
    assert list(changed.ids) == tokenizer(str(changed), add_special_tokens=False)["input_ids"]


def test_a_special_token_can_be_the_answer():
    tokenizer = tiny.CHATS["adds a start"]()
    end = tokenizer.convert_tokens_to_ids("<|end|>")
    assert answer_ids(tokenizer, "Rome is in Italy", "<|end|>") == [end]
    assert answer_ids(tokenizer, read_prompt(tokenizer, MESSAGES), "<|end|>") == [end]


def test_a_rendered_prompt_survives_a_copy():
    tokenizer = tiny.CHATS["adds a start"]()
    prompt = read_prompt(tokenizer, MESSAGES)
    for other in (copy.deepcopy(prompt), pickle.loads(pickle.dumps(prompt))):
        assert (other, other.ids, other.plain, other.whole, other.said) == (
            prompt,
            prompt.ids,
            prompt.plain,
            prompt.whole,
            prompt.said,
        )


class Processor:
    """Reads pictures as well, and text by its tokenizer."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer

    def __call__(self, images, text):
        raise AssertionError("text was read by the processor")


def test_a_processor_stands_for_the_tokenizer_in_it(caplog):
    tokenizer = tiny.word_tokenizer()
    lm = rw.LanguageModel(tiny.tiny_model("gpt2"), Processor(tokenizer))
    assert lm.tokenizer is tokenizer
    assert "its .tokenizer is used" in caplog.text
    assert rw.trace(lm, tiny.PROMPT, tiny.SUBJECT, "mlp", samples=2).answer


@pytest.mark.parametrize(
    "given",
    [None, 5, "gpt2", dict, object(), lambda text: text, Processor(None), type(tiny.TOKENIZERS)],
    ids=lambda each: type(each).__name__,
)
def test_what_is_no_tokenizer_is_refused_when_a_model_is_attached(given):
    with pytest.raises(UnsupportedModel, match="The model's own tokenizer was wanted"):
        rw.LanguageModel(tiny.tiny_model("gpt2"), given)
