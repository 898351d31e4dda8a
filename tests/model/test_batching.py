"""Rows of different lengths, joined, go through every block as they go alone."""

from dataclasses import replace
from functools import wraps

import pytest
import torch

from rome_widgets.model.batching import batch_captures
from rome_widgets.model.eval_mode import run_in_eval_mode
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.model.replay import CannotReplay, check_same_logits
from tests.helpers import families, tiny

NAMES = (
    "gpt2",
    "gpt_neo",
    "gptj",
    "gpt_neox, parallel",
    "opt",
    "falcon, parallel",
    "llama",
    "mistral",
    "qwen3",
    "gemma2",
    "gemma3, text",
    "gpt_oss",
)
PROMPTS = [
    ([[3, 14, 15, 9, 26]], 2),
    ([[2, 7, 1, 8, 28, 18, 4], [6, 7, 9, 3, 11, 5, 12]], 5),
    ([[4]], 0),
]
"""Token ids by length, and the position of each that stands in the common column."""


@pytest.fixture(params=NAMES)
def replay(request):
    lm = LanguageModel(families.tiny_family(request.param), tiny.word_tokenizer())
    assert lm.replay is not None
    return lm.replay


def within_a_call(test):
    """Decorates a test of one model: its blocks are called as the package calls them."""

    @wraps(test)
    def run(replay):
        run_in_eval_mode(replay._model, lambda: test(replay))

    return run


def joined(replay, shift=0):
    captures = [replay.capture(torch.tensor(ids)) for ids, _ in PROMPTS]
    positions = [pos for _, pos in PROMPTS]
    return captures, *batch_captures(captures, [positions[0] + shift, *positions[1:]])


def onward(replay, capture, column):
    """By layer, what leaves every block from the column on, each given what entered it."""
    rows = torch.arange(capture.n_rows)
    for layer, state in enumerate(capture.states[:-1]):
        yield replay.block(capture, layer, state[:, column:], column, rows)


@within_a_call
def test_every_row_leaves_every_block_as_it_does_alone(replay):
    captures, capture, column = joined(replay)
    assert (column, capture.length, capture.n_rows) == (5, 8, 4)
    for layer, out in enumerate(onward(replay, capture, column)):
        by_prompt = out.split([each.n_rows for each in captures])
        for each, (_, pos), found in zip(captures, PROMPTS, by_prompt, strict=True):
            wanted = each.states[layer + 1][:, pos:]
            check_same_logits(
                found[:, : each.length - pos].flatten(0, 1),
                wanted.flatten(0, 1),
                wanted.flatten(0, 1),  # no share of any effect is let pass
                "a joined row",
            )
        assert torch.isfinite(out).all()


@within_a_call
def test_a_row_in_a_wrong_place_or_with_the_past_of_another_is_seen(replay):
    _, capture, column = joined(replay)
    right = list(onward(replay, capture, column))
    _, moved, _ = joined(replay, shift=1)
    assert off(onward(replay, moved, column), right) > 1e-3
    others = [(keys.roll(1, 0), values.roll(1, 0)) for keys, values in capture.keys_values]
    assert off(onward(replay, replace(capture, keys_values=others), column), right) > 1e-3
    alike = replace(capture, padded=False)  # the mask of the first row for all
    assert off(onward(replay, alike, column), right) > 1e-3


def off(found, wanted):
    pairs = zip(found, wanted, strict=True)
    return max(float((one[:, 0] - other[:, 0]).abs().max()) for one, other in pairs)


@within_a_call
def test_one_capture_stays_what_it_is(replay):
    capture = replay.capture(torch.tensor(PROMPTS[1][0]))
    assert batch_captures([capture], [3]) == (capture, 3)


@pytest.mark.parametrize("name", ["bloom", "falcon, sequential with alibi"])
def test_biases_by_position_from_the_start_cannot_be_joined(name):
    lm = LanguageModel(families.tiny_family(name), tiny.word_tokenizer())
    with pytest.raises(CannotReplay, match="cannot share alibi"):
        lm.run(lambda: joined(lm.replay))
