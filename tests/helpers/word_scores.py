"""Words scored by a loop over whole passes, a pass for each token."""

import torch

from tests.helpers import world

PROMPTS = ["w3 w14 w15 w26 w5", "w7", "w8 w9 w10", "w7", "w3 w14 w15 w26 w5"]
WORDS = ["w8", "w9 w11", "w12 w13 w2", "w4", "w8 w1"]
"""Of one to three tokens; prompts come twice, and words begin alike."""


def by_whole_passes(lm, prompt, word):
    """(mean log-probability, share of likeliest tokens): one whole pass per token."""
    ids, logs, hits = world.words(prompt), [], []
    for token in world.words(word):
        with torch.no_grad():
            after = lm.model(torch.tensor([ids])).logits[0, -1].double().log_softmax(-1)
        logs.append(float(after[token]))
        hits.append(int(after.argmax()) == token)
        ids = [*ids, token]
    return sum(logs) / len(logs), sum(hits) / len(hits)
