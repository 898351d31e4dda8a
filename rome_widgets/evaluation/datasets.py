"""Published data sets of facts, and tables of one's own, as records of one kind.

Each comes from a file, as text or a Path, from an address on the web, or, where nothing is named,
from where it is published: downloaded once, checked, and kept in the cache folder. Nothing is
downloaded that was not asked for. A record that cannot be read is left out and listed in
`left_out`, with its place and the reason; a file of which none can be read is an error.

`rw.datasets.known_to(lm, records)` keeps those that a model knows.

Example:
    >>> facts = rw.datasets.bundled()
    >>> known = rw.datasets.known_to(lm, facts.sample(20))
    >>> trace = rw.trace(lm, known[0])
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from rome_widgets import bundled as world
from rome_widgets.errors import ArgumentError, said
from rome_widgets.evaluation.fact_files import (
    field_columns,
    raw_file,
    raw_files,
    raw_table,
    records_of,
    renamed,
)
from rome_widgets.files.download import a_digest
from rome_widgets.files.raw_records import RawRecord
from rome_widgets.records import schemas
from rome_widgets.records.arguments import Listener, callback, optional, takes
from rome_widgets.records.call_progress import CallProgress
from rome_widgets.records.fact_record import FactRecord as FactRecord
from rome_widgets.records.fact_records import BadRecord as BadRecord
from rome_widgets.records.fact_records import FactRecords as FactRecords
from rome_widgets.records.schemas import Probe as Probe
from rome_widgets.records.schemas import Schema

if TYPE_CHECKING:
    import pandas as pd

    from rome_widgets.evaluation.known import known_to as known_to

__all__ = [
    "BadRecord",
    "FactRecord",
    "FactRecords",
    "Probe",
    "bundled",
    "counterfact",
    "known_facts",
    "known_to",
    "mquake",
    "qaedit",
    "relations",
    "ripple_edits",
    "table",
    "zsre",
]


def __getattr__(name: str) -> Any:
    if name != "known_to":
        raise AttributeError(f"module 'rome_widgets.datasets' has no attribute {name!r}")
    from rome_widgets.evaluation.known import known_to  # torch comes with it

    return known_to


Source = str | os.PathLike[str] | None
"""A path, an address on the web, or None for the published file."""


class Published(NamedTuple):
    """Where a data set is published."""

    url: str
    sha256: str | None = None
    """None where no two sources state the same."""


_ROME = "https://rome.baulab.info/data/dsets/"
_MQUAKE = (
    "https://raw.githubusercontent.com/princeton-nlp/MQuAKE/"
    "fb43dadc2d8cd19d08ce81c63d957b59deb3f3cd/datasets/"
)
_RIPPLE = (
    "https://raw.githubusercontent.com/edenbiran/RippleEdits/"
    "54f3b88af4895a3aacb580ec63ce7ae857185040/data/benchmark/"
)
KNOWN_FACTS = Published(
    f"{_ROME}known_1000.json", "61daca55318bb5260c1e62e133debef9102c7b278bbc7b19dd2ac655543f333a"
)
COUNTERFACT = Published(
    f"{_ROME}counterfact.json", "d017056125178a13728594e66a801357a8db9ed7973a7425554bb4271de9fc6f"
)
ZSRE = Published(
    f"{_ROME}zsre_mend_eval.json",
    "8a371d512f8a6ab175db4ef672181d5c0e52da23298cb51e5a2eeea2f89aa9cd",
)
QAEDIT = Published(
    "https://raw.githubusercontent.com/WanliYoung/Revisit-Editing-Evaluation/"
    "d6025e0ee9731d3b59b84ea242dc06bf0e0c8a74/data/QAEdit_inter_1k.json",
    "640e1d279759263fdaae543a385680d21a55aa3597ca8b597ffd7937fef07c42",
)
MQUAKE = {
    "CF-3k-v2": Published(
        f"{_MQUAKE}MQuAKE-CF-3k-v2.json",
        "f82091cbb668cef8f2537f79f1768af1840184450b347ff8c344336090ddc71e",
    ),
    "CF-3k": Published(
        f"{_MQUAKE}MQuAKE-CF-3k.json",
        "ce27a39c39f2983512b9b5578fadea5fbe352e5368f49d64f38d37ce304edc80",
    ),
    "CF": Published(f"{_MQUAKE}MQuAKE-CF.json"),
    "T": Published(f"{_MQUAKE}MQuAKE-T.json"),
}
RIPPLE_EDITS = {
    name: Published(f"{_RIPPLE}{name}.json") for name in ("popular", "random", "recent")
}

_loads = takes(sha256=optional(a_digest), progress=callback)


@_loads
def known_facts(
    source: Source = None,
    *,
    sha256: str | None = None,
    progress: Listener[CallProgress] = None,
) -> FactRecords:
    """The 1,209 facts of the paper's traces, known_1000.json: GPT-2 XL knows them.

    Args:
        source: The file, or its address; None: where it is published.
        sha256: Digest that the file has to have; of the published one it is known.
        progress: Called as a download goes on; None shows a progress bar, False none.

    Raises:
        DatasetError: Another file, or a torn one.
        DownloadFailed: No network, or no such file there.

    Source:
        Meng et al. 2022, section 2.

    Example:
        >>> import json, pathlib
        >>> fact = {"prompt": "Rome is in", "subject": "Rome", "attribute": "Italy"}
        >>> _ = pathlib.Path("known.json").write_text(json.dumps([fact]))
        >>> rw.datasets.known_facts("known.json")[0]
        FactRecord('{} is in', 'Rome': 'Italy')
    """
    return _load(source, KNOWN_FACTS, (schemas.KNOWN,), sha256, progress)


@_loads
def counterfact(
    source: Source = None,
    *,
    sha256: str | None = None,
    progress: Listener[CallProgress] = None,
) -> FactRecords:
    """CounterFact: 21,919 facts, each with a wrong object to edit in and what to ask afterwards.

    Read are the original form, EasyEdit's condensed one (one paraphrase, one neighbor), the parquet
    files of azhx/counterfact, and those of NeelNanda/counterfact-tracing, which have no prompts but
    the sentence.

    Args:
        source: As of `known_facts`; published are 45 MB.
        sha256: As of `known_facts`.
        progress: As of `known_facts`.

    Raises:
        DatasetError, DownloadFailed: As of `known_facts`.
        MissingExtra: What reads parquet is not installed.

    Source:
        Meng et al. 2022, section 3.3.

    Example:
        >>> import json, pathlib
        >>> _ = pathlib.Path("some.json").write_text(json.dumps(rw.bundled.facts()[:9]))
        >>> rw.datasets.counterfact("some.json")
        FactRecords(9, some.json)
    """
    forms = (schemas.COUNTERFACT, schemas.EASYEDIT, schemas.TRACING)
    return _load(source, COUNTERFACT, forms, sha256, progress)


@_loads
def zsre(
    source: Source = None,
    *,
    target: Literal["answers", "alt"] = "answers",
    sha256: str | None = None,
    progress: Listener[CallProgress] = None,
) -> FactRecords:
    """ZsRE in MEND's form, questions about relations; published are 19,086 for evaluation.

    Args:
        source: As of `known_facts`. EasyEdit's condensed form is read as well.
        target: What is edited in: "answers", the right answer, as in the tables of Meng et al.
            2022; or "alt", a wrong one, as EasyEdit does.
        sha256: As of `known_facts`.
        progress: As of `known_facts`.

    Raises:
        DatasetError, DownloadFailed: As of `known_facts`.

    Source:
        Levy et al. 2017; De Cao et al. 2021; Mitchell et al. 2022.

    Example:
        >>> import json, pathlib
        >>> question = {"src": "Where is Rome?", "subject": "Rome", "answers": ["Italy"]}
        >>> _ = pathlib.Path("zsre.json").write_text(json.dumps([question]))
        >>> rw.datasets.zsre("zsre.json")[0].target_new
        'Italy'
    """
    forms = {"answers": schemas.ZSRE, "alt": schemas.ZSRE_ALT}
    form = _one_of(forms, target, "target")
    return _load(source, ZSRE, (form, schemas.EASYEDIT), sha256, progress)


@_loads
def qaedit(
    source: Source = None,
    *,
    sha256: str | None = None,
    progress: Listener[CallProgress] = None,
) -> FactRecords:
    """QAEdit: 1,000 questions that models answer wrongly, with the right answer to edit in.

    Args:
        source: As of `known_facts`.
        sha256: As of `known_facts`.
        progress: As of `known_facts`.

    Raises:
        DatasetError, DownloadFailed: As of `known_facts`.

    Source:
        Yang et al. 2025, "The Mirage of Model Editing".
    """
    return _load(source, QAEDIT, (schemas.QAEDIT,), sha256, progress)


@_loads
def ripple_edits(
    source: Source = None,
    *,
    subset: Literal["popular", "random", "recent"] = "popular",
    sha256: str | None = None,
    progress: Listener[CallProgress] = None,
) -> FactRecords:
    """RippleEdits: edits with tests of what has to follow from them, and of what has to stay.

    The six kinds of test are groups of probes: relation specificity and forgetfulness of
    `locality`, the others of `portability`. What a model has to know for a test is in `given`.

    Args:
        source: As of `known_facts`.
        subset: Which of the published files, where no source is named.
        sha256: As of `known_facts`.
        progress: As of `known_facts`.

    Raises:
        DatasetError, DownloadFailed: As of `known_facts`.

    Source:
        Cohen et al. 2024, "Evaluating the Ripple Effects of Knowledge Editing".
    """
    published = _one_of(RIPPLE_EDITS, subset, "subset")
    return _load(source, published, (schemas.RIPPLE,), sha256, progress)


@_loads
def mquake(
    source: Source = None,
    *,
    subset: Literal["CF-3k-v2", "CF-3k", "CF", "T"] = "CF-3k-v2",
    sha256: str | None = None,
    progress: Listener[CallProgress] = None,
) -> FactRecords:
    """MQuAKE: cases of one to four facts, with questions whose answer follows from all of them.

    A record is the first fact of a case; `along_with` are the others, to be edited together with
    it. The questions are probes of `portability`, in the groups "multi-hop" and "single hop".

    Args:
        source: As of `known_facts`.
        subset: Which of the published files, where no source is named.
        sha256: As of `known_facts`.
        progress: As of `known_facts`.

    Raises:
        DatasetError, DownloadFailed: As of `known_facts`.

    Source:
        Zhong et al. 2023, "MQuAKE: Assessing Knowledge Editing in Language Models via Multi-Hop
        Questions".
    """
    published = _one_of(MQUAKE, subset, "subset")
    return _load(source, published, (schemas.MQUAKE,), sha256, progress)


@_loads
def relations(
    source: Source,
    *,
    sha256: str | None = None,
    progress: Listener[CallProgress] = None,
) -> FactRecords:
    """The relations of LRE: pairs of subject and object under templates; no new objects.

    Args:
        source: A file of one relation, its address, or a folder: all the files in it, by name.
        sha256: Of one file: as of `known_facts`.
        progress: As of `known_facts`.

    Raises:
        DatasetError, DownloadFailed: As of `known_facts`.

    Source:
        Hernandez et al. 2024, "Linearity of Relation Decoding"; github.com/evandez/relations,
        data/factual.

    Example:
        >>> import json, pathlib
        >>> capitals = {
        ...     "name": "capital",
        ...     "prompt_templates": ["The capital of {} is"],
        ...     "samples": [{"subject": "France", "object": "Paris"}],
        ... }
        >>> _ = pathlib.Path("capital.json").write_text(json.dumps(capitals))
        >>> rw.datasets.relations("capital.json")[0]
        FactRecord('The capital of {} is', 'France': 'Paris')
    """
    if source is None:
        raise ArgumentError(
            "No source was named.",
            "A file or folder of relations, or the address of a file, was wanted.",
            "They are in github.com/evandez/relations, in data/factual.",
        )
    raws = raw_files(source, ".json", sha256, progress)
    pairs = [pair for raw in raws for pair in _samples(raw)]
    return records_of(pairs, (schemas.RELATION,), os.fspath(source))


def _samples(relation: RawRecord) -> Iterable[RawRecord]:
    """The pairs of a relation, each with what the file says of all of them."""
    value = relation.value
    samples = value.get("samples") if isinstance(value, Mapping) else None
    if not isinstance(samples, list):
        return [relation]
    head = {name: each for name, each in value.items() if name != "samples"}
    file = relation.place.rpartition(",")[0]
    return [
        RawRecord(
            f"{file}, sample {number}",
            {**head, **each, "id": f"{head.get('name', file)}/{number}"}
            if isinstance(each, Mapping)
            else each,
        )
        for number, each in enumerate(samples)
    ]


def bundled(split: Literal["development", "test"] | None = None) -> FactRecords:
    """What the bundled model was taught; see `rome_widgets.bundled.facts`.

    Args:
        split: "development" to choose settings on, "test" to measure on; None for all.

    Raises:
        SettingsError: No such split.

    Example:
        >>> rw.datasets.bundled("test")[0].relation
        'profession'
    """
    return FactRecords(world.facts(split), "the bundled world")


@takes(sha256=optional(a_digest), progress=callback)
def table(
    source: pd.DataFrame | Iterable[Mapping[str, Any]] | str | os.PathLike[str],
    *,
    columns: Mapping[str, str] | None = None,
    sha256: str | None = None,
    progress: Listener[CallProgress] = None,
) -> FactRecords:
    """Facts of one's own: a table of pandas, records, or a CSV, JSON, JSON-lines or parquet file.

    Columns have the names of the fields of a `FactRecord`. Two are needed, `prompt` and `subject`.
    `target` (or `target_true`) is the object that is true, `target_new` the one to edit in;
    `paraphrase_prompts` and the like are lists, in CSV as JSON. Others are passed over.

    Args:
        source: The table, or the path or address of its file.
        columns: Name of the column of a field, where it has another.
        sha256: As of `known_facts`.
        progress: As of `known_facts`.

    Raises:
        DatasetError, DownloadFailed: As of `known_facts`.
        ArgumentError: `columns` names what is no field.
        MissingExtra: What reads parquet is not installed.

    Example:
        >>> rows = [{"text": "The capital of France is", "subject": "France", "target": "Paris"}]
        >>> rw.datasets.table(rows, columns={"prompt": "text"})
        FactRecords(1, a table)
    """
    names = field_columns(columns)
    raws, name = raw_table(source, sha256, progress)
    raws = [raw._replace(value=renamed(raw.value, names)) for raw in raws]
    return records_of(raws, (schemas.TABLE,), name)


def _load(
    source: Source, published: Published, forms: Sequence[Schema], sha256: str | None, progress: Any
) -> FactRecords:
    if source is None:
        source, sha256 = published.url, sha256 or published.sha256
    return records_of(raw_file(source, sha256, progress), forms, os.fspath(source))


def _one_of(choices: Mapping[str, Any], value: Any, name: str) -> Any:
    if isinstance(value, str) and value in choices:
        return choices[value]
    raise ArgumentError(f"{name} is {said(value)}.", f"One of {', '.join(choices)} was wanted.")
