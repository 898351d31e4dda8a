"""Rows of before and after, as data to show: two outcomes, a difference and a verdict."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, Literal

import traitlets as t

from rome_widgets.errors import ArgumentError, PromptError, said
from rome_widgets.records.arguments import optional
from rome_widgets.records.arguments import text as text_argument
from rome_widgets.records.numbers import whole_number
from rome_widgets.widgets.edit.engine import (
    GROUPS,
    EditRecord,
    EditRequest,
    Outcome,
    PromptChange,
    TestPrompt,
)
from rome_widgets.widgets.live.traits import encodable, fields_of, number, text

_NAMES = {each.name for each in fields(EditRequest)}
SHOULD_CHANGE = ("rewrite", "paraphrase")


def describe_request(request: EditRequest) -> dict[str, Any]:
    """An edit's request as JSON."""
    return fields_of(request, "layer_reason")


def read_request(given: Mapping[str, Any]) -> EditRequest:
    """The request that a page sent; a `PromptError` where a word or the one `{}` is missing."""
    if (
        not isinstance(given, Mapping)
        or not {"template", "subject", "target"} <= {*given} <= _NAMES
    ):
        raise ArgumentError(
            f"{said(given)} is no fact to write.", f"{', '.join(sorted(_NAMES))} are known."
        )
    request = EditRequest(**given)
    for name in ("template", "subject", "target", "method", "layer_reason"):
        text_argument(getattr(request, name), name)
    optional(text_argument)(request.true_object, "true_object")
    if request.layer is not None:
        whole_number(request.layer, "layer", 0)
    if not isinstance(request.settings, Mapping):
        raise ArgumentError(f"The settings are {said(request.settings)}.", "A mapping was wanted.")
    if request.template.count("{}") != 1:
        raise PromptError(
            f"The template {request.template!r} has {request.template.count('{}')} places for "
            "the subject.",
            "One literal {} was wanted.",
            "Write {} where the subject stands, as in '{} is in the city of'.",
        )
    for name in ("subject", "target"):
        if not getattr(request, name).strip():
            raise PromptError(f"The {name} is empty.", "An edit needs a word for it.")
    return request


def read_tests(given: Iterable[Any]) -> list[dict[str, Any]]:
    """Test prompts as JSON, from texts, dicts or `TestPrompt`s."""
    return [_read_test(each) for each in given]


def _read_test(given: Any) -> dict[str, Any]:
    if isinstance(given, TestPrompt):
        given = vars(given)
    known = {"text": "", "group": "free", "target": None, "true_object": None}
    asked = {"text": given} if isinstance(given, str) else given
    test = {**known, **asked} if isinstance(asked, Mapping) else {}
    if set(test) != set(known) or test["group"] not in GROUPS or not isinstance(test["text"], str):
        raise t.TraitError(
            f"A test prompt is a text, or has text, group, target and true_object; not {given!r}. "
            f"The groups are {', '.join(GROUPS)}."
        )
    return encodable(test)


def describe_record(record: EditRecord) -> dict[str, Any]:
    """One line of the history as JSON."""
    return {**fields_of(record), "request": describe_request(record.request)}


def describe_change(
    change: PromptChange, request: EditRequest, in_effect: bool = True
) -> dict[str, Any]:
    """One row of the before/after table as JSON.

    Only where the edit is `in_effect` is its success judged. Prompts that should change follow the
    new object's probability, those that should not follow the true object's, and a person's own
    what the model said before. `followed` names the word, and `words` both; `first` is of the first
    token of what is followed, where that has several.
    """
    prompt, before, after = change.prompt, change.before, change.after
    target = prompt.target or request.target
    true = prompt.true_object or ("" if prompt.group == "free" else request.true_object) or ""
    words = {"target": text(target), "true": text(true or change.true_token or "")}
    moves = prompt.group in SHOULD_CHANGE or before.true is None or after.true is None
    was, now = (before.target, after.target) if moves else (before.true, after.true)
    verdict, good = _verdict(change, request) if in_effect else (_without_edit(change), None)
    return {
        **no_change(prompt),
        "before": fields_of(before),
        "after": fields_of(after),
        "words": words,
        "followed": words["target" if moves else "true"],
        "first": _first(change, "target" if moves else "true"),
        "delta": None if was is None or now is None else number(now - was),
        "verdict": verdict,
        "good": good,
    }


def no_change(prompt: TestPrompt, message: str | None = None) -> dict[str, Any]:
    """The row of a prompt that cannot be run: a sentence, and no number."""
    nothing = fields_of(Outcome("", math.nan))
    return {
        "group": prompt.group,
        "text": text(prompt.text),
        "before": nothing,
        "after": nothing,
        "words": {"target": "", "true": ""},
        "followed": "",
        "first": None,
        "delta": None,
        "verdict": "",
        "good": None,
        "message": message,
    }


def _verdict(change: PromptChange, request: EditRequest) -> tuple[str, bool | None]:
    """What to call it, and whether it is right: every token of a word is the likeliest.

    Right is the new object where the fact is asked for, and the true object elsewhere; where nobody
    said what is true, what was said before. So are the scores of an edit's record.
    """
    prompt, before, after = change.prompt, change.before, change.after
    same = before.token == after.token
    if prompt.group == "free":
        return ("same" if same else "changed"), None
    if prompt.group not in SHOULD_CHANGE:
        true = prompt.true_object or (request.true_object if prompt.group != "other" else None)
        right = _says(after.token, after.says_true, true, change.true_token) if true else same
        return ("kept" if right else "not known" if same else "bled"), right
    target = prompt.target or request.target
    if not _says(after.token, after.says_target, target, change.target_token):
        begins = change.target_token is not None and after.token == change.target_token
        return ("begins" if begins else "not yet"), False
    if prompt.group == "paraphrase":
        return "follows", True
    already = _says(before.token, before.says_target, target, change.target_token)
    return ("already" if already else "new"), True


def _without_edit(change: PromptChange) -> str:
    """What to call it where the edit is taken out, or its strength is 0: others may be in."""
    return "as before" if change.before.token == change.after.token else "changed"


def _first(change: PromptChange, which: Literal["target", "true"]) -> dict[str, Any] | None:
    """The first token of a word of several, and its probabilities before and after."""
    token = getattr(change, f"{which}_token")
    was, now = (getattr(side, f"{which}_first") for side in (change.before, change.after))
    if token is None or was is None or now is None:
        return None
    return {"token": text(token), "before": number(was), "after": number(now)}


def _says(token: str, says: bool | None, word: str, first: str | None) -> bool:
    """Whether all of a word is said; where nobody asked for all, by the likeliest `token`."""
    if says is not None:
        return says
    return (
        token == first if word.strip() == (first or "").strip() else token.strip() == word.strip()
    )
