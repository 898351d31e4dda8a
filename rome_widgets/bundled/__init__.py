"""The small model that comes with the package: its folder, the facts it knows, its card.

It is trained from scratch on text about real facts, needs no network and answers in milliseconds on
a CPU. `card()` says how it was made and what it is not. Reading this module loads no torch.

Example:
    >>> from rome_widgets import bundled
    >>> bundled.facts()[0]["requested_rewrite"]["subject"]
    'Miles Davis'
"""

from __future__ import annotations

import copy
import json
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

_HOLE = "{}"


def folder() -> Path:
    """The folder of the model and its tokenizer, as transformers loads it."""
    return _home() / "model"


def facts() -> list[dict[str, Any]]:
    """Every fact the model was taught, as records in CounterFact's form.

    `target_new` is another object of the same relation, the next one in alphabetical order.
    `paraphrase_prompts` are sentences that the training text never used; `neighborhood_prompts` are
    about other subjects with the same object. `case_id` stays with its fact as long as the model
    does.

    Returns:
        New dictionaries at every call; changing one changes nothing else.

    Example:
        >>> facts()[0]["requested_rewrite"]["target_true"]
        {'str': 'musician'}
    """
    return copy.deepcopy(_records())


def subjects() -> list[str]:
    """The names of all subjects the model knows, sorted."""
    return sorted({fact["subject"] for fact in _table()["facts"]})


def card() -> str:
    """The model card, Markdown: how the model was made, what was measured, what it is not."""
    return (_home() / "CARD.md").read_text(encoding="utf-8")


def settings() -> dict[str, Any]:
    """What suits a model of this size, with the layers.

    Under `edit` the numbers of a rank-one edit; under `fine_tuning` those of "ft" and "ft-l".
    """
    return json.loads((_home() / "settings.json").read_text(encoding="utf-8"))


def second_moment_file() -> Path:
    """The safetensors file of E[k kᵀ] of every layer's keys; `card()` says over which text."""
    return _home() / "second_moment.safetensors"


@cache
def _home() -> Path:
    # A folder on disk is what transformers and safetensors read; the package is not zip-safe.
    return Path(str(resources.files(__name__)))


@cache
def _table() -> dict[str, Any]:
    """`facts.json`: templates per relation, and one row per fact."""
    return json.loads((_home() / "facts.json").read_text(encoding="utf-8"))


@cache
def _records() -> list[dict[str, Any]]:
    table = _table()
    subjects_of: dict[tuple[str, str], list[str]] = {}
    for fact in table["facts"]:
        subjects_of.setdefault((fact["relation"], fact["object"]), []).append(fact["subject"])
    objects_of: dict[str, list[str]] = {}
    for relation, obj in sorted(subjects_of):
        objects_of.setdefault(relation, []).append(obj)
    return [
        _record(
            fact,
            table["relations"][fact["relation"]],
            _next(objects_of[fact["relation"]], fact["object"]),
            subjects_of[fact["relation"], fact["object"]],
        )
        for fact in table["facts"]
    ]


def _record(
    fact: dict[str, Any], relation: dict[str, list[str]], target_new: str, same_object: list[str]
) -> dict[str, Any]:
    prompt, subject = relation["templates"][0], fact["subject"]
    return {
        "case_id": fact["case_id"],
        "requested_rewrite": {
            "prompt": prompt,
            "subject": subject,
            "relation_id": fact["relation"],
            "target_true": {"str": fact["object"]},
            "target_new": {"str": target_new},
        },
        "paraphrase_prompts": [_fill(template, subject) for template in relation["held_out"]],
        "neighborhood_prompts": [_fill(prompt, other) for other in same_object if other != subject],
        "attribute_prompts": [],
        "generation_prompts": [],
    }


def _next(objects: list[str], obj: str) -> str:
    return objects[(objects.index(obj) + 1) % len(objects)]


def _fill(template: str, subject: str) -> str:
    return template.replace(_HOLE, subject, 1)
