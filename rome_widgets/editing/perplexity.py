"""Perplexity: how well a model still goes on with ordinary text, without and with an edit.

An edit that divides by almost nothing, or is applied with a great strength, disables the model:
every prediction changes. Its own texts show that soonest, in any language and for any tokenizer:
those that were sampled as prefixes, one after the other.

Source:
    Yang et al. 2024, "The Butterfly Effect of Model Editing": perplexity as a sign of collapse;
    the disabling edits are those of Gupta et al. 2024.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch

from rome_widgets.editing.compare import SideBySide
from rome_widgets.editing.prefixes import sample_prefixes
from rome_widgets.model.generation import FIRST_WORDS
from rome_widgets.model.language_model import LanguageModel, check_finite, upcast
from rome_widgets.model.progress_bar import NO_STEPS, Steps
from rome_widgets.records.edit import Perplexity

LARGE_RISE = 1.2
"""A perplexity that an edit multiplies by more than this is warned of. On the bundled model 200
ordinary rank-one edits multiplied it by 0.99 to 1.02 and fine-tuning by 0.91 to 1.06
(benchmarks/results/rome.json)."""
MOST_TOKENS = 32
"""Both runs read the same text, so few tokens tell: an edit that disables a model multiplies its
perplexity by ten and more."""
FEW_TEXTS = ((10, 5),)
"""(tokens, how many): texts to write where the edit needed none."""
MOST_NATS = 100.0
"""Perplexities are cut at e¹⁰⁰, so that they stay numbers."""


def ordinary_text(
    lm: LanguageModel, seed: int, written: Sequence[str] = (), steps: Steps = NO_STEPS
) -> str:
    """Text the model wrote itself, `written` where there is some; "" where it writes none.

    `steps` are told of each token that is written now.
    """
    if not any(written):
        tokens, most = itertools.count(), max(length for length, _ in FEW_TEXTS)

        def told() -> None:
            steps.at(next(tokens), most, "own text")

        written = sample_prefixes(lm, FEW_TEXTS, seed, first_words=FIRST_WORDS, check=told)
    return ". ".join(dict.fromkeys(text for text in written if text.strip()))


def measure(
    both: SideBySide, lm: LanguageModel, text: str, steps: Steps = NO_STEPS
) -> Perplexity | None:
    """Perplexity of the text without and with the edit; None for less than two tokens.

    `steps` are told how many of the model's blocks have read it.
    """
    length = min(MOST_TOKENS, lm.n_positions or MOST_TOKENS)
    ids = lm.encode_text(text)[:length] if text.strip() else []
    if len(ids) < 2:
        return None
    n_layers = lm.n_layers
    shown = lm.named(steps.watching(lm.sites("hidden"), 0, 1, n_layers, "text"))
    logits = upcast(both.logits(ids, range(len(ids) - 1), shown))
    steps.at(n_layers, n_layers, "text")
    check_finite(logits[0])  # what the edit makes of it is only a large perplexity
    wanted = torch.tensor(ids[1:], device=logits.device).expand(2, -1)
    nats = torch.nn.functional.cross_entropy(logits.mT, wanted, reduction="none").mean(dim=1)
    before, after = (_exp(value) for value in nats.tolist())
    return Perplexity(before, after, len(ids) - 1)


def _exp(nats: float) -> float:
    return math.exp(min(nats, MOST_NATS) if math.isfinite(nats) else MOST_NATS)


def doubt(found: Perplexity | None) -> list[str]:
    """What to say about it: nothing, or one sentence."""
    if found is None or found.after <= LARGE_RISE * found.before:
        return []
    return [
        f"The perplexity of text the model wrote itself rises from {found.before:.3g} to "
        f"{found.after:.3g} ({found.n_tokens} tokens): the edit damages the model. Revert it, or "
        "apply it with less strength."
    ]
