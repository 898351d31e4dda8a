"""The forms in which records of facts are published: one table, read in one place.

A form is told by the fields that its records have, and read into the arguments of a `FactRecord`.
Pure text: whatever takes a record of a fact reads it here.

Source:
    CounterFact and known_1000: Meng et al. 2022. zsRE: Levy et al. 2017, De Cao et al. 2021,
    Mitchell et al. 2022. LRE: Hernandez et al. 2024. RippleEdits: Cohen et al. 2024. MQuAKE: Zhong
    et al. 2023. QAEdit: Yang et al. 2025. EasyEdit and KnowEdit: Wang et al. 2024, Zhang et al.
    2024. The fields are those of their files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from rome_widgets.errors import PromptError, said
from rome_widgets.records.numbers import plain

Fields = dict[str, Any]
"""Arguments of a `FactRecord`, by name."""
PROMPTS = ("paraphrase_prompts", "neighborhood_prompts", "attribute_prompts", "generation_prompts")
"""CounterFact's lists of prompts, by its own names."""


class Probe(NamedTuple):
    """A prompt beside the sentence of a fact, and what is right after it.

    Example:
        >>> Probe("The mother of Ann is", (("Mary", "Mary Smith"),), "Relation_Specificity").answer
        'Mary'
    """

    prompt: str
    answers: tuple[tuple[str, ...], ...]
    """What has to be named: of each thing its names, the usual one first, any of which will do."""
    group: str = ""
    """What it is about, in the data set's own word."""
    given: tuple[Probe, ...] = ()
    """What a model has to know before the edit for this to be a fair question."""

    @property
    def answer(self) -> str:
        """The usual name of the first thing."""
        return self.answers[0][0]


class Schema(NamedTuple):
    """One published form."""

    name: str
    keys: frozenset[str]
    """Fields that all of its records have, and by which it is told from those after it."""
    read: Callable[[Mapping[str, Any]], Fields]
    """Raises a `PromptError` for what is missing or not text."""


def schema_of(record: Any) -> Schema:
    """The form that a record has.

    Raises:
        PromptError: None that is known, or no mapping at all.

    Example:
        >>> schema_of({"prompt": "Rome is in", "subject": "Rome", "attribute": "Italy"}).name
        'known_1000'
    """
    if not isinstance(record, Mapping):
        raise PromptError(
            f"{said(record)} is no record of a fact.", "A mapping of fields was wanted."
        )
    for schema in SCHEMAS:
        if schema.keys <= record.keys():
            return schema
    raise PromptError(
        f"A record with the fields {said(sorted(map(str, record)))} does not state a fact.",
        "Wanted 'requested_rewrite' (CounterFact), 'prompt' and 'subject', or the fields of "
        "another published data set.",
        "Pass the prompt and the subject as text.",
    )


def read_fields(record: Any) -> Fields:
    """What a record of any known form says.

    Raises:
        PromptError: No such record, or a field of it is missing or not text.
    """
    return schema_of(record).read(record)


# ----------------------------------------------------------------------------- single fields


def _given(record: Mapping[str, Any], *names: str) -> Any:
    """The first of these fields that is there and holds something; None where none does."""
    for name in names:
        value = plain(record.get(name))
        if value is not None and not (isinstance(value, float) and math.isnan(value)):
            return value
    return None


def _text(record: Mapping[str, Any], *names: str, otherwise: str | None = None) -> str:
    """The text of a field, which may be missing where there is something to take otherwise."""
    value = _given(record, *names)
    if value is None and otherwise is not None:
        return otherwise
    if isinstance(value, str):
        return value
    raise PromptError(f"The field {names[0]!r} is {said(value)}.", "A text was wanted.")


def _texts(record: Mapping[str, Any], *names: str) -> tuple[str, ...]:
    """The texts of a field: one, several, or none."""
    value = _given(record, *names)
    some = (value,) if isinstance(value, str) else () if value is None else value
    if isinstance(some, list | tuple) and all(isinstance(each, str) for each in some):
        return tuple(some)
    raise PromptError(f"The field {names[0]!r} is {said(value)}.", "A list of texts was wanted.")


def _object(record: Mapping[str, Any], *names: str) -> str:
    """An object, `{"str": text}` in CounterFact, without white space around it; "" for none."""
    value = _given(record, *names)
    if isinstance(value, Mapping):
        return _text(value, "str").strip()
    return _text(record, *names, otherwise="").strip()


def _names(record: Mapping[str, Any], *names: str) -> tuple[str, ...]:
    """The names of one thing, however deep their lists are; those with nothing in them left out."""
    return tuple(name.strip() for name in _leaves(_given(record, *names), names[0]) if name.strip())


def _leaves(value: Any, field: str) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _leaves(each, field)
    elif value is not None:
        raise PromptError(f"The field {field!r} has {said(value)}.", "A text was wanted.")


def _id(record: Mapping[str, Any], *names: str) -> str:
    value = _given(record, *names)
    return "" if value is None else str(value)


def _mapping(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = record.get(name)
    if isinstance(value, Mapping):
        return value
    raise PromptError(f"The field {name!r} is {said(value)}.", "A mapping was wanted.")


def _mappings(record: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    value = _given(record, name)
    some = [] if value is None else value
    if isinstance(some, list | tuple) and all(isinstance(each, Mapping) for each in some):
        return list(some)
    raise PromptError(f"The field {name!r} is {said(value)}.", "A list of mappings was wanted.")


# ----------------------------------------------------------------------- one published form each


def _rewrite(rewrite: Mapping[str, Any]) -> Fields:
    return {
        "prompt": _text(rewrite, "prompt"),
        "subject": _text(rewrite, "subject"),
        "target": _object(rewrite, "target_true"),
        "target_new": _object(rewrite, "target_new") or None,
        "relation": _text(rewrite, "relation_id", otherwise=""),
    }


def _counterfact(record: Mapping[str, Any]) -> Fields:
    prompts = {name: _texts(record, name) for name in PROMPTS}
    return (
        _rewrite(_mapping(record, "requested_rewrite")) | prompts | {"id": _id(record, "case_id")}
    )


def _mquake(record: Mapping[str, Any]) -> Fields:
    """A case is one to four facts, which are edited together; its questions need all of them."""
    rewrites = _mappings(record, "requested_rewrite")
    if not rewrites:
        raise PromptError("The field 'requested_rewrite' is empty.", "A fact was wanted.")
    facts = [
        {**_rewrite(each), "paraphrase_prompts": _texts(each, "question")} for each in rewrites
    ]
    new = _names(record, "new_answer") + _names(record, "new_answer_alias")
    probes = [Probe(prompt, (new,), "multi-hop") for prompt in _texts(record, "questions")]
    for hop in _mappings(record, "new_single_hops"):
        names = _names(hop, "answer") + _names(hop, "answer_alias")
        probes += [Probe(_text(hop, "question"), (names,), "single hop")] if names else []
    if not new:
        raise PromptError("The field 'new_answer' is empty.", "A text was wanted.")
    return facts[0] | {
        "id": _id(record, "case_id"),
        "portability": tuple(probes),
        "along_with": tuple(facts[1:]),
    }


def _known(record: Mapping[str, Any]) -> Fields:
    return {
        "prompt": _text(record, "prompt"),
        "subject": _text(record, "subject"),
        "target": _object(record, "attribute"),
        "target_new": _object(record, "target_new") or None,
        "id": _id(record, "known_id"),
        "relation": _text(record, "relation_id", otherwise=""),
    }


def _tracing(record: Mapping[str, Any]) -> Fields:
    """Prefix, subject and suffix follow each other; spaces are written at the subject."""
    subject = _text(record, "subject")
    lead = subject[: len(subject) - len(subject.lstrip())]
    before, after = _text(record, "relation_prefix"), _text(record, "relation_suffix")
    return {
        "prompt": f"{before}{lead}{{}}{after}",
        "subject": subject.lstrip(),
        "target": _object(record, "target_true"),
        "target_new": _object(record, "target_false") or None,
        "relation": _text(record, "relation_id", otherwise=""),
    }


def _zsre(record: Mapping[str, Any]) -> Fields:
    """As the published code of ROME reads it: the right answer is what is edited in."""
    answers = _names(record, "answers")
    if not answers:
        raise PromptError("The field 'answers' is empty.", "An answer was wanted.")
    truth = _names(record, "loc_ans")
    probes = [Probe(_text(record, "loc") + "?", (truth,))] if truth else []
    return {
        "prompt": _text(record, "src"),
        "subject": _text(record, "subject"),
        "target": answers[0],
        "target_new": answers[0],
        "aliases": answers[1:],
        "paraphrase_prompts": _texts(record, "rephrase"),
        "locality": tuple(probes),
    }


def _zsre_alt(record: Mapping[str, Any]) -> Fields:
    """As EasyEdit reads it: a wrong answer is edited in."""
    return _zsre(record) | {"target_new": _text(record, "alt").strip()}


def _qaedit(record: Mapping[str, Any]) -> Fields:
    """Questions that models get wrong: the right answer is what is edited in."""
    return {
        "prompt": _text(record, "prompt"),
        "subject": _text(record, "subject"),
        "target": _object(record, "target"),
        "target_new": _object(record, "target") or None,
        "id": _id(record, "id"),
        "relation": _text(record, "source", otherwise=""),
        "paraphrase_prompts": _texts(record, "rephrase"),
        "locality": tuple(
            Probe(_text(each, "loc"), (names,))
            for each in _mappings(record, "locality")
            if (names := _names(each, "loc_ans"))
        ),
    }


def _easyedit(record: Mapping[str, Any]) -> Fields:
    """EasyEdit's condensed form of several data sets, and KnowEdit's.

    Of condensed CounterFact what stands as locality is a neighbor: its answer is the true object.
    """
    truths = _names(record, "ground_truth")
    asked, said_of_it = _texts(record, "locality_prompt"), _names(record, "locality_ground_truth")
    neighbor = bool(truths) and said_of_it == truths[:1]
    probes = tuple(Probe(prompt, (said_of_it,)) for prompt in asked if said_of_it)
    grouped = {
        name: _grouped(record[name])
        for name in ("locality", "portability")
        if isinstance(record.get(name), Mapping)
    }
    return {
        "prompt": _text(record, "prompt"),
        "subject": _text(record, "subject"),
        "target": truths[0] if truths else "",
        "target_new": _object(record, "target_new") or None,
        "id": _id(record, "case_id", "id"),
        "aliases": truths[1:],
        "paraphrase_prompts": _texts(record, "rephrase_prompt", "rephrase"),
        "neighborhood_prompts": asked if neighbor else (),
        "locality": (() if neighbor else probes) + grouped.get("locality", ()),
        "portability": grouped.get("portability", ()),
    }


def _grouped(groups: Mapping[str, Any]) -> tuple[Probe, ...]:
    return tuple(
        Probe(_text(each, "prompt"), (names,), group)
        for group in groups
        for each in _mappings(groups, group)
        if (names := _names(each, "ground_truth"))
    )


def _relation(sample: Mapping[str, Any]) -> Fields:
    """A pair of a relation of LRE, with what the file says of the relation."""
    template, *others = _texts(sample, "prompt_templates") or ("",)
    others += _texts(sample, "prompt_templates_zs")
    subject = _text(sample, "subject")
    return {
        "prompt": template,
        "subject": subject,
        "target": _object(sample, "object"),
        "id": _id(sample, "id"),
        "relation": _text(sample, "name", otherwise=""),
        "paraphrase_prompts": tuple(each.replace("{}", subject, 1) for each in others),
    }


def _table(record: Mapping[str, Any]) -> Fields:
    """The fields of a `FactRecord` by their own names."""
    return {
        "prompt": _text(record, "prompt"),
        "subject": _text(record, "subject"),
        "target": _object(record, "target", "target_true"),
        "target_new": _object(record, "target_new") or None,
        "id": _id(record, "id"),
        "relation": _text(record, "relation", otherwise=""),
        **{
            name: _texts(record, name)
            for name in (*PROMPTS, "aliases", "aliases_new", "contradictions")
        },
        **{name: _probes(record, name) for name in ("locality", "portability")},
    }


def _probes(record: Mapping[str, Any], name: str) -> tuple[Probe, ...]:
    """Probes, or mappings of a prompt and its answers, each with one name or several."""
    value = _given(record, name)
    if isinstance(value, list | tuple) and all(isinstance(each, Probe) for each in value):
        return tuple(value)
    return tuple(
        Probe(_text(each, "prompt"), (names,), _text(each, "group", otherwise=""))
        for each in _mappings(record, name)
        if (names := _names(each, "answers"))
    )


# --------------------------------------------------------------------------------- RippleEdits

STAYS = ("Relation_Specificity", "Relation_Specifity", "Forgetfulness")
"""Groups of tests whose answers an edit leaves alone; the second is as the data's README has it."""
FOLLOWS = (
    "Logical_Generalization",
    "Compositionality_I",
    "Compositionality_II",
    "Subject_Aliasing",
)
"""Groups of tests whose answers follow from the edit."""

_WITHOUT_NAME = (
    "DATE_OF_BIRTH DATE_OF_DEATH EYE_COLOR OCCUPATION OFFICIAL_LANGUAGE PLACE_OF_BIRTH "
    "PLACE_OF_BURIAL PLACE_OF_DEATH SEXUAL_ORIENTATION"
)
_SENTENCES = {
    **{name: f"The {name.lower().replace('_', ' ')} of {{}} is" for name in _WITHOUT_NAME.split()},
    "AWARD_RECEIVED": "The name of the award {} won is",
    "CAPITAL": "The name of the capital city of {} is",
    "CAPITAL_OF": "The name of the country which {} is the capital of is",
    "CAST_MEMBER": "The names of the cast members of {} are",
    "CONTINENT": "The name of the continent which {} is part of is",
    "COUNTRY": "The name of the country which {} is associated with is",
    "CURRENCY": "The name of the currency in {} is",
    "ETHNIC_GROUP": "The name of the ethnic group which {} is associated with is",
    "FOLLOWED_BY": "{} is followed by",
    "FOLLOWS": "{} follows",
    "IS_ALIVE": "Is {} still alive?",
    "LEAGUE": "The name of the league which {} plays in is",
    "LIKELY_ANTHEM": "The name of the anthem that is most likely to be performed in {} is",
    "MEMBER_OF_SPORTS_TEAM": "The name of the sports team which {} is a member of is",
    "NATIVE_LANGUAGE": "The mother tongue of {} is",
    "NUMBER_OF_CHILDREN": "The number of children {} has is",
    "POSITION_HELD": "The name of the position held by {} is",
    "RELIGION": "The name of the religion which {} is associated with is",
    "SEX_OR_GENDER": "The gender of {} is",
    "SIBLING": "The names of the siblings of {} are",
}
"""By relation, the sentence that the data set writes; others are "The name of the … of {} is"."""


def _ripple(record: Mapping[str, Any]) -> Fields:
    """The file names subject and object by number alone: their words are cut out of the sentence.

    Each query of a test is a probe of its own.
    """
    edit = _mapping(record, "edit")
    relation = _text(edit, "relation")
    template = _SENTENCES.get(relation) or (
        f"The name of the {relation.lower().replace('_', ' ')} of {{}} is"
    )
    subject, new = _cut(_text(edit, "prompt"), template, _text(edit, "subject", otherwise=""))
    before = _given(edit, "previous_fact")
    true = ""
    if isinstance(before, Mapping):
        _, true = _cut(_text(before, "prompt"), template, subject)
    return {
        "prompt": template,
        "subject": subject,
        "target": true,
        "target_new": new,
        "relation": relation,
        "locality": _tests(record, STAYS),
        "portability": _tests(record, FOLLOWS),
    }


def _cut(sentence: str, template: str, subject: str) -> tuple[str, str]:
    """Subject and object of a sentence that a template begins and a full stop ends."""
    before, _, after = template.partition("{}")
    if not subject and sentence.startswith(before):
        # The last place: "is" stands in titles, which are subjects more often than objects.
        subject = sentence[len(before) : sentence.rfind(f"{after} ")]
    start = f"{before}{subject}{after} "
    if not (subject.strip() and sentence.startswith(start)):
        raise PromptError(f"The sentence is {sentence!r}.", f"One as {template!r} was wanted.")
    return subject, sentence.removeprefix(start).removesuffix(".").strip()


def _tests(record: Mapping[str, Any], groups: Iterable[str]) -> tuple[Probe, ...]:
    return tuple(
        probe._replace(given=given)
        for group in groups
        for test in _mappings(record, group)
        for given in [tuple(_queries(test, "condition_queries", group))]
        for probe in _queries(test, "test_queries", group)
    )


def _queries(test: Mapping[str, Any], name: str, group: str) -> Iterable[Probe]:
    """Those that can be answered: every thing that has to be named has a name."""
    for query in _mappings(test, name):
        answers = tuple(
            _names(each, "value") + _names(each, "aliases") for each in _mappings(query, "answers")
        )
        if answers and all(answers):
            yield Probe(_text(query, "prompt"), answers, group)


# ---------------------------------------------------------------------------------- the table

MQUAKE = Schema("MQuAKE", frozenset({"requested_rewrite", "questions", "new_answer"}), _mquake)
COUNTERFACT = Schema("CounterFact", frozenset({"requested_rewrite"}), _counterfact)
KNOWN = Schema("known_1000", frozenset({"prompt", "subject", "attribute"}), _known)
ZSRE = Schema("zsRE", frozenset({"src", "subject", "answers"}), _zsre)
ZSRE_ALT = ZSRE._replace(read=_zsre_alt)
TRACING = Schema(
    "CounterFact for tracing",
    frozenset({"relation_prefix", "relation_suffix", "subject", "target_true", "target_false"}),
    _tracing,
)
RIPPLE = Schema("RippleEdits", frozenset({"edit", "example_type"}), _ripple)
RELATION = Schema("LRE", frozenset({"prompt_templates", "subject", "object"}), _relation)
EASYEDIT = Schema(
    "EasyEdit", frozenset({"prompt", "subject", "target_new", "ground_truth"}), _easyedit
)
QAEDIT = Schema(
    "QAEdit", frozenset({"prompt", "subject", "target", "rephrase", "locality"}), _qaedit
)
TABLE = Schema("a table", frozenset({"prompt", "subject"}), _table)

SCHEMAS = (
    MQUAKE, COUNTERFACT, KNOWN, ZSRE, TRACING, RIPPLE, RELATION, EASYEDIT, QAEDIT, TABLE,
)  # fmt: skip
"""Every form; of those whose fields a record has, the first is meant."""
