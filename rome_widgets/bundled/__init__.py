"""The small model that comes with the package: its folder, the facts it knows, its card.

It is trained from scratch on text about real facts, needs no network and answers in milliseconds on
a CPU. `card()` says how it was made and what it is not. Reading this module loads no torch.

Example:
    >>> from rome_widgets import bundled
    >>> bundled.facts()[0]["requested_rewrite"]["subject"]
    'Miles Davis'
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from importlib import resources
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from rome_widgets.bundled.ripples import rippled
from rome_widgets.errors import SettingsError, said
from rome_widgets.records.fact import fill
from rome_widgets.records.fact_records import FactRecords

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
            measure on; None for all.

    Returns:
        New dictionaries at every call; changing one changes nothing else.

    Example:
        >>> facts()[0]["requested_rewrite"]["target_true"]
        {'str': 'musician'}
    """
    if not (split is None or (isinstance(split, str) and split in SPLITS)):
        raise SettingsError(
            f"The split is {said(split)}.", f"One of {', '.join(SPLITS)} was wanted."
        )
    table = _table()
    records = zip(records_of(table), table["facts"], strict=True)
    return [record for record, fact in records if split in (None, fact["split"])]


def with_ripples(records: Iterable[Any]) -> FactRecords:
    """Records of these facts with what else an edit of them touches, from the world's own graph.

    Their `locality` asks for other facts of the subject, which should stay; those that depend on
    the edited one, as the country of a place on its city, are not asked. Their `portability` asks
    for what follows from the edit: two hops ("The capital of the country of ... is", of the new
    object), the inverse ("Rome is the capital of"), and the fact by another name of the subject.
    Of an inverse the edited subject alone counts as right, and others have the new object
    already: `ripple:inverse` is expected near 0, and what tells is how far `ripple_p:inverse`
    rises above that of "none". `contradictions` are all other objects of the relation.

    Args:
        records: Of `facts` or `rome_widgets.datasets.bundled`.

    Raises:
        ArgumentError: One is of another world.

    Example:
        >>> record = with_ripples(facts("test")[:1])[0]
        >>> record.locality[0].prompt, record.locality[0].answer
    """
    return rippled(records, _table())


def subjects() -> list[str]:
    """The names of all subjects the model knows, sorted."""
    return sorted({fact["subject"] for fact in _table()["facts"]})


def card() -> str:
    """The model card, Markdown: how the model was made, what was measured, what it is not."""
    return (_home() / "CARD.md").read_text(encoding="utf-8")


def settings() -> dict[str, Any]:
    """What suits a model of this size: by method of editing, its settings and its layer.

    Example:
        >>> settings()["rome"]["layer"]
        4
    """
    return json.loads((_home() / "settings.json").read_text(encoding="utf-8"))


def is_bundled(lm: Any) -> bool:
    """Whether this is the model that comes with the package.

    Args:
        lm: A `LanguageModel`: anything whose `model.config` says where it was loaded from.
    """
    path = getattr(lm.model.config, "_name_or_path", "")
    return bool(path) and Path(path) == folder()


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


def records_of(table: dict[str, Any]) -> list[dict[str, Any]]:
    """Records of a table of facts such as `facts.json`, in its order; see `facts`."""
    subjects_of: dict[tuple[str, str], list[str]] = defaultdict(list)
    relations_of: dict[str, list[str]] = defaultdict(list)
    for fact in table["facts"]:
        subjects_of[fact["relation"], fact["object"]].append(fact["subject"])
        relations_of[fact["subject"]].append(fact["relation"])
    new_of = _next_objects(subjects_of)

    def record(fact: dict[str, Any]) -> dict[str, Any]:
        relation, subject, true = fact["relation"], fact["subject"], fact["object"]
        sentences, new = table["relations"][relation], new_of[relation, true]
        prompt = sentences["templates"][0]
        same = [other for other in subjects_of[relation, true] if other != subject]
        own = [table["relations"][name]["templates"][0] for name in relations_of[subject]]
        return {
            "case_id": fact["case_id"],
            "requested_rewrite": {
                "prompt": prompt,
                "subject": subject,
                "relation_id": relation,
                "target_true": {"str": true},
                "target_new": {"str": new},
            },
            "paraphrase_prompts": [fill(template, subject) for template in sentences["held_out"]],
            "neighborhood_prompts": _about_some(prompt, same),
            "attribute_prompts": _about_some(prompt, subjects_of[relation, new]),
            "generation_prompts": [subject, *(fill(template, subject) for template in own)],
        }

    return [record(fact) for fact in table["facts"]]


def _next_objects(subjects_of: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """`{(relation, object): next object}` in alphabetical order, the first after the last."""
    following = {}
    for _, group in groupby(sorted(subjects_of), key=itemgetter(0)):
        pairs = list(group)
        following |= {
            pair: obj for pair, (_, obj) in zip(pairs, [*pairs[1:], pairs[0]], strict=True)
        }
    return following


def _about_some(template: str, subjects: list[str]) -> list[str]:
    """About at most `NEIGHBOURS` of the subjects, evenly spaced."""
    step = max(1, -(-len(subjects) // NEIGHBOURS))
    return [fill(template, subject) for subject in subjects[::step]]
