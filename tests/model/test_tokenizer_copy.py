"""A copied tokenizer reads as the original does, and nothing set in it reaches that."""

import copy
import json
import pickle

import pytest
from tokenizers import AddedToken, Tokenizer, models

from rome_widgets.model import tokenizer_copy
from rome_widgets.model.identity import tokenizer_state
from rome_widgets.model.tokenizer_copy import copy_tokenizer
from tests.helpers import tiny

TEXTS = [
    "The Space Needle is in the city of",
    " Café 東京 👩‍🚀",
    "<|start|>user\nw3 w14<|end|><s>",
    "",
]
KINDS = tiny.TOKENIZERS | tiny.CHATS


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_is_what_a_deep_copy_is(kind, monkeypatch):
    original = KINDS[kind]()
    monkeypatch.setattr(tokenizer_copy, "_LARGE", 0)
    copied, wanted = copy_tokenizer(original), copy.deepcopy(original)
    assert tokenizer_state(copied) == tokenizer_state(wanted)
    assert copied.backend_tokenizer.to_str() == wanted.backend_tokenizer.to_str()
    for text in TEXTS:
        found, right = (each(text, return_offsets_mapping=True) for each in (copied, wanted))
        assert dict(found) == dict(right)
        assert copied.decode(found["input_ids"]) == wanted.decode(found["input_ids"])


def test_what_is_set_in_a_copy_does_not_reach_the_original():
    original = tiny.chat_tokenizer()
    before = original.backend_tokenizer.to_str(), pickle.dumps(vars(original)["init_kwargs"])
    copied = copy_tokenizer(original)
    copied.pad_token = "<|end|>"
    copied(["w", "w w w"], truncation=True, max_length=2, padding=True)
    copied.add_tokens(["something new"])
    copied.init_kwargs["more"] = 1
    copied.chat_template = None
    after = original.backend_tokenizer.to_str(), pickle.dumps(vars(original)["init_kwargs"])
    assert after == before
    assert original.chat_template == tiny.CHAT_TEMPLATE
    assert original.pad_token is None


def test_truncation_and_padding_are_copied():
    original = tiny.chat_tokenizer()
    original.backend_tokenizer.enable_truncation(7, stride=2, direction="left")
    original.backend_tokenizer.enable_padding(direction="left", pad_id=3, pad_token="x", length=9)
    copied = copy_tokenizer(original).backend_tokenizer
    assert copied.truncation == original.backend_tokenizer.truncation
    assert copied.padding == original.backend_tokenizer.padding


def test_large_plain_containers_are_not_walked_and_others_are(monkeypatch):
    monkeypatch.setattr(tokenizer_copy, "_LARGE", 3)
    original = tiny.chat_tokenizer()
    original.merges = [("a", "b")] * 4
    original.vocabulary = {str(number): number for number in range(4)}
    original.lists = [[number] for number in range(4)]
    copied = copy_tokenizer(original)
    for name in ("merges", "vocabulary", "lists"):
        assert getattr(copied, name) == getattr(original, name)
        assert getattr(copied, name) is not getattr(original, name)
    assert copied.merges[0] is original.merges[0]
    assert copied.lists[0] is not original.lists[0]


def test_tokens_whose_ids_have_a_gap_are_copied_in_depth():
    """Adding tokens again would close the gap."""
    backend = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    backend.add_tokens([AddedToken("c"), AddedToken("d")])
    saved = json.loads(backend.to_str())
    saved["added_tokens"][1]["id"] = 7
    gap = Tokenizer.from_str(json.dumps(saved))
    assert tokenizer_copy._copy_of_backend(backend).to_str() == backend.to_str()
    again = tokenizer_copy._copy_of_backend(gap)
    assert again is None or again.to_str() == gap.to_str()


def test_a_tokenizer_without_a_backend_is_copied_in_depth():
    class Slow:
        def __init__(self):
            self.words = ["a"]

    original = Slow()
    copied = copy_tokenizer(original)
    assert copied.words == ["a"]
    assert copied.words is not original.words
