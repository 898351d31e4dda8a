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

from rome_widgets.errors import SettingsError

_HOLE = "{}"
NEIGHBOURS = 10
"""At most so many prompts about other subjects, as in CounterFact."""
SPLITS = ("development", "test")
"""What the facts are divided into."""


def folder() -> Path:
    """The folder of the model and its tokenizer, as transformers loads it."""
    return _home() / "model"


def facts(split: str | None = None) -> list[dict[str, Any]]:
    """Every fact the model was taught, as records in CounterFact's form.

    `target_new` is another object of the same relation, the next one in alphabetical order.
    `paraphrase_prompts` are sentences that the training text never used; `neighborhood_prompts` are
    about other subjects with the same object, `attribute_prompts` about subjects that have the new
    one; `generation_prompts` are the subject's own, for the model to go on from. `case_id` stays
    with its fact as long as the model does.

    Args:
        split: "development" for a quarter to choose settings on, "test" for the others, to
            measure on; None for all. The settings that ship were chosen before there was a split.

    Returns:
        New dictionaries at every call; changing one changes nothing else.

    Example:
        >>> facts()[0]["requested_rewrite"]["target_true"]
        {'str': 'musician'}
    """
    table = _table()
    if split not in (None, *SPLITS):
        raise SettingsError(f"The split is {split!r}.", f"One of {', '.join(SPLITS)} was wanted.")
    return [
        copy.deepcopy(record)
        for record, fact in zip(_records(), table["facts"], strict=True)
        if split in (None, fact["split"])
    ]


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
    return records_of(_table())


def records_of(table: dict[str, Any]) -> list[dict[str, Any]]:
    """Records of a table of facts, in its order; see `facts`.

    Args:
        table: What `facts.json` beside a trained model holds.
    """
    subjects_of: dict[tuple[str, str], list[str]] = {}
    kept_of: dict[str, list[str]] = {}
    for fact in table["facts"]:
        relation, subject = fact["relation"], fact["subject"]
        subjects_of.setdefault((relation, fact["object"]), []).append(subject)
        kept_of.setdefault(subject, []).append(table["relations"][relation]["templates"][0])
    objects_of: dict[str, list[str]] = {}
    for relation, obj in sorted(subjects_of):
        objects_of.setdefault(relation, []).append(obj)
    records = []
    for fact in table["facts"]:
        relation, subject = fact["relation"], fact["subject"]
        sentences = table["relations"][relation]
        new = _next(objects_of[relation], fact["object"])
        prompt = sentences["templates"][0]
        same = [other for other in subjects_of[relation, fact["object"]] if other != subject]
        records.append(
            {
                "case_id": fact["case_id"],
                "requested_rewrite": {
                    "prompt": prompt,
                    "subject": subject,
                    "relation_id": relation,
                    "target_true": {"str": fact["object"]},
                    "target_new": {"str": new},
                },
                "paraphrase_prompts": _filled(sentences["held_out"], subject),
                "neighborhood_prompts": _filled_with(prompt, same),
                "attribute_prompts": _filled_with(prompt, subjects_of[relation, new]),
                "generation_prompts": [subject, *_filled(kept_of[subject], subject)],
            }
        )
    return records


def _filled(templates: list[str], subject: str) -> list[str]:
    return [_fill(template, subject) for template in templates]


def _filled_with(template: str, subjects: list[str]) -> list[str]:
    """With at most ten of the subjects, evenly spaced."""
    step = max(1, -(-len(subjects) // NEIGHBOURS))
    return [_fill(template, subject) for subject in subjects[::step]]


def _next(objects: list[str], obj: str) -> str:
    return objects[(objects.index(obj) + 1) % len(objects)]


def _fill(template: str, subject: str) -> str:
    return template.replace(_HOLE, subject, 1)
