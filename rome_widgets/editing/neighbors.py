"""Neighbors: what a model says of other subjects should stay; an edit that bleeds changes it.

Neither the edited prompt nor perplexity shows that. Where the user gives no prompts, other subjects
take the subject's place in the edited one: of some that the package ships, those of which the model
is surest.

Source:
    Meng et al. 2022, section 3.3 (specificity). There a neighbor has the true object of the record;
    here its right word is the model's own before the edit, as nobody knows the true one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from rome_widgets import bundled
from rome_widgets.editing.compare import SideBySide
from rome_widgets.editing.request import Request
from rome_widgets.errors import RomeWidgetsError
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.model.tokens import read_prompts
from rome_widgets.records.edit import Neighbor

CANDIDATES = 32
"""Subjects that are tried."""
MOST = 8
"""Neighbors that are made."""
SURE = 0.1
"""Probability of its answer from which a model is taken to know one."""
MANY = 0.25
"""Share of harmed neighbors from which on an edit is warned of."""


def read_neighbors(lm: LanguageModel, given: Iterable[Any] | None) -> tuple[str, ...] | None:
    """The prompts that a user gave, checked before anything is computed.

    Raises:
        PromptError, ContextTooLong: One cannot be read.
    """
    if given is None:
        return None
    prompts = tuple(lm.read_prompt(prompt) for prompt in read_prompts(given))
    for prompt in prompts:
        lm.prompt_ids(prompt)
    return prompts


def neighbors_of(
    lm: LanguageModel, both: SideBySide, request: Request, given: Sequence[str] | None
) -> tuple[Neighbor, ...]:
    """What becomes of the neighbors of a fact; those that say the target anyway are left out.

    Args:
        lm: The model.
        both: Without and with the edit.
        request: The fact.
        given: What `read_neighbors` gave; None makes some.
    """
    prompts = given
    if prompts is None:
        prompts = lm.remember("neighbors", _key(lm, request), lambda: _made(lm, both, request))
    if not prompts:
        return ()
    said = both.probabilities([lm.prompt_ids(prompt) for prompt in prompts])
    answers, target = said[0].argmax(dim=1), request.target_ids[0]
    rows = range(len(prompts))
    return tuple(
        Neighbor(
            str(prompts[row]),
            lm.token_text(int(answers[row])),
            *said[:, row, answers[row]].tolist(),
            *said[:, row, target].tolist(),
        )
        for row in rows
        if int(answers[row]) != target
    )


def doubt_of_neighbors(found: Sequence[Neighbor], target: str) -> list[str]:
    """What to say about them: nothing, or one sentence."""
    harmed = [neighbor for neighbor in found if not neighbor.kept]
    if not harmed or len(harmed) < MANY * len(found):
        return []
    first = harmed[0]
    return [
        f"The edit changes other subjects, too: after {len(harmed)} of {len(found)} other prompts "
        f"“{target}” is now likelier than what the model said before, such as after "
        f"“{first.prompt}” (“{first.answer.strip()}” {first.before:.2g} → {first.after:.2g}). Try "
        "a smaller clamp, another layer, or less strength."
    ]


def _key(lm: LanguageModel, request: Request) -> tuple[Any, ...]:
    return lm.identity, request.prompt, request.own_ids, request.subject_place, request.target_ids


def _made(lm: LanguageModel, both: SideBySide, request: Request) -> tuple[str, ...]:
    """Prompts with other subjects, of which the model is sure of something else than the target."""
    own = request.fact.subject.casefold()
    names = [n for n in bundled.subjects() if n.casefold() not in own and own not in n.casefold()]
    drawn = np.random.RandomState(0).permutation(len(names))[:CANDIDATES]
    prompts, rows = [], []
    for name in (names[number] for number in sorted(drawn)):
        try:
            prompt = lm.with_words(request.prompt, request.subject_place, name)
            row = lm.prompt_ids(prompt)
        except RomeWidgetsError:  # too long, or of letters that this tokenizer does not have
            continue
        prompts.append(prompt)
        rows.append(row)
    if not prompts:
        return ()
    sure, answers = both.probabilities(rows)[0].max(dim=1)
    wanted = (sure >= SURE) & (answers != request.target_ids[0])
    order = torch.where(wanted, sure, -1).argsort(descending=True, stable=True)[:MOST]
    return tuple(prompts[number] for number in order.tolist() if wanted[number])
