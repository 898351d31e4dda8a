"""Which answer a trace follows, and against which second one: a word, an id, or the model's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rome_widgets.errors import ArgumentError, PromptError, said
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.records.numbers import as_whole
from rome_widgets.records.trace_metric import Metric
from rome_widgets.tracing.runs import Runs

Answer = str | int | Iterable[str | int] | None
"""A word, the id of a token, several of these, or None: the clean run's top token."""


class Chosen(NamedTuple):
    """An answer; empty where there is none."""

    ids: Sequence[int] = ()
    """Its tokens."""
    words: str = ""
    """As they were given; "" of what the model itself says."""
    notes: tuple[str, ...] = ()
    """What is to be said of the choice."""


def choose_answer(lm: LanguageModel, runs: Runs, prompt: str, answer: Answer) -> Chosen:
    """The answer to follow.

    Args:
        lm: The model.
        runs: Of the prompt.
        prompt: As the runs read it.
        answer: What the user said.

    Raises:
        PromptError: No answer at all, an empty word, or an id that no token has.
    """
    top = int(runs.clean.argmax())
    if answer is None:
        return Chosen([top])
    known, notes = _known_answers(lm, prompt, answer, len(runs.clean)), []
    if len(known) > 1:
        wholes = [runs.clean_joint(ids) for _, ids in known]
        best = int(np.argmax(wholes))
        others = [f"{known[n][0]!r} ({p:.2g})" for n, p in enumerate(wholes) if n != best]
        notes.append(
            f"Of several answers the one that the clean run finds most probable is followed: "
            f"{known[best][0]!r} ({wholes[best]:.2g}), not {', '.join(others)}."
        )
        known = [known[best]]
    ((words, ids),) = known
    if ids[0] != top:
        notes.append(
            f"The clean run's top token is {lm.token_text(top)!r} "
            f"({runs.clean[top]:.3f}), not {lm.token_text(ids[0])!r} ({runs.clean[ids[0]]:.3f})."
        )
    return Chosen(ids, words, tuple(notes))


def choose_second_answer(
    lm: LanguageModel,
    runs: Runs,
    prompt: str,
    metric: Metric,
    against: str | int | None,
    answer_id: int,
) -> Chosen:
    """The answer whose logit is taken off; none of a metric that has no second one.

    Args:
        lm: The model.
        runs: Of the prompt.
        prompt: As the runs read it.
        metric: What is measured.
        against: What the user said.
        answer_id: The token that is followed.

    Raises:
        ArgumentError: A difference without it, or of an answer and itself, or another metric.
        PromptError: An empty word, or an id that no token has.
    """
    if metric != "logit_difference":
        if against is None:
            return Chosen()
        raise ArgumentError(
            f"against is {said(against)}, and the metric {metric!r} has no second answer.",
            "A second answer is wanted for a difference of logits alone.",
            "Leave against out, or pass metric='logit_difference'.",
        )
    two = runs.corrupted.topk(2).indices.tolist()
    likely = lm.token_text(next(token for token in two if token != answer_id))
    if against is None or _are_several(against):
        raise ArgumentError(
            f"against is {said(against)}.",
            "A difference of logits needs one second answer, a word or the id of a token.",
            f"The corrupted run's likeliest is {likely!r}: pass against={likely.strip()!r}.",
        )
    ((words, ids),) = _known_answers(lm, prompt, against, len(runs.clean))
    if ids[0] == answer_id:
        raise ArgumentError(
            f"The second answer {words!r} begins with the token of the answer, "
            f"{lm.token_text(answer_id)!r}.",
            "Two answers whose first tokens differ were wanted.",
            f"Pass another one, such as against={likely.strip()!r}.",
        )
    if len(ids) == 1:
        return Chosen(ids, words)
    first = lm.token_text(ids[0])
    note = f"{words!r} is {len(ids)} tokens; the logit of its first, {first!r}, is used."
    return Chosen(ids, words, (note,))


def _known_answers(
    lm: LanguageModel, prompt: str, answer: Any, n_tokens: int
) -> list[tuple[str, Sequence[int]]]:
    """Every answer in words, with its tokens; of several that are the same tokens the first."""
    found: dict[tuple[int, ...], str] = {}
    for each in [*answer] if _are_several(answer) else [answer]:
        number = as_whole(each)
        if number is not None and not 0 <= number < n_tokens:
            raise PromptError(
                f"There is no token {said(each)} to follow.",
                f"Ids from 0 to {n_tokens - 1} are known.",
            )
        if number is not None:
            found.setdefault((number,), lm.token_text(number).strip())
        else:
            found.setdefault(tuple(lm.answer_ids(prompt, each)), str(each).strip())
    if not found:
        raise PromptError(
            "The list of answers is empty.",
            "A word, the id of a token, or a list of these was wanted.",
            "Pass answer=None to follow what the model itself says.",
        )
    return [(words, ids) for ids, words in found.items()]


def _are_several(answer: Any) -> bool:
    """Whether it is a list of answers, of whatever kind, and not one answer."""
    one = isinstance(answer, (str, bytes, Mapping)) or getattr(answer, "ndim", 1) == 0
    return isinstance(answer, Iterable) and not one
