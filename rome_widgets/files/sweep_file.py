"""The file of a sweep, and its facts as JSON, in which its log has them too. No torch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from rome_widgets.errors import RunFileError, SaveFailed
from rome_widgets.files import checksummed_file
from rome_widgets.files.checksummed_file import FileKind
from rome_widgets.files.run_log import LogKind
from rome_widgets.files.schema import (
    NATURAL,
    POSITIVE,
    Unfit,
    fields_of,
    listed,
    mapping,
    mapping_of,
    number,
    one_of,
    row,
    several,
    unfit,
)
from rome_widgets.records.arguments import Check, a_path, optional, takes, text
from rome_widgets.records.states import KINDS, Kind
from rome_widgets.records.sweep import Sweep
from rome_widgets.records.swept_fact import SweptFact

SWEEP = FileKind("rome_widgets.sweep", RunFileError, "numpy", finite=False)

FILE_NAME = "sweep.safetensors"
"""In the folder of a sweep, beside its log."""
ARRAYS = ("scores", "severed")
"""Of a fact; in a file they are arrays of all facts, in a log they are lists."""
FACT_FIELDS: Mapping[str, Check] = {
    "number": NATURAL,
    "answer_id": optional(NATURAL),
    "tokens": several(text),
    "subject_span": row(NATURAL, NATURAL),
}
"""What the fields of a fact must be beyond what `SweptFact` says."""
SWEEP_FIELDS: Mapping[str, Check] = {
    "kinds": several(one_of(KINDS), 1),
    "windows": mapping_of(POSITIVE, one_of(KINDS)),
    "n_layers": POSITIVE,
    "samples": POSITIVE,
}
"""The same of a `Sweep`."""


def save_sweep(sweep: Sweep, path: str | os.PathLike[str]) -> Path:
    """Write a sweep; see `Sweep.save`."""
    header = {name: value for name, value in vars(sweep).items() if name != "facts"}
    header["facts"] = [_about(fact) for fact in sweep.facts]
    arrays = {
        f"{name}.{kind}": np.concatenate([np.atleast_2d(each[kind]) for each in some])
        for name in ARRAYS
        if (some := [getattr(fact, name) for fact in sweep.traced])
        for kind in some[0]
    }
    return checksummed_file.write(a_path(SaveFailed, "file")(path, "path"), SWEEP, header, arrays)


@takes(path=a_path(RunFileError))
def load_sweep(path: str | os.PathLike[str]) -> Sweep:
    """Read a sweep written by `Sweep.save`, or into its folder by `rome_widgets.sweep`.

    Needs no torch.

    Raises:
        RunFileError: The file is missing, torn, altered, or of another version.

    Example:
        >>> len(rw.load_sweep(sweep.save("sweep.safetensors")).facts)
        2
    """
    path = Path(path)
    path = path / FILE_NAME if path.is_dir() else path
    header, arrays = checksummed_file.read(path, SWEEP)
    try:
        return _sweep(header, arrays)
    except Exception as error:  # sealed, yet not what we write: one name for it
        raise unfit(path, error, "Sweep.save", RunFileError) from None


def _sweep(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Sweep:
    stated = listed(header.get("facts"), "facts")
    known = fields_of(
        Sweep, {name: value for name, value in header.items() if name != "facts"}, ("facts",),
        **SWEEP_FIELDS,
    )  # fmt: skip
    facts = [fields_of(SweptFact, each, ARRAYS, **FACT_FIELDS) for each in stated]
    traced = [fact for fact in facts if fact["status"] == "traced"]
    for name, lengths in (("scores", [len(f["tokens"]) for f in traced]), ("severed", None)):
        split = _split(name, arrays, lengths or [1] * len(traced))
        for at, fact in enumerate(traced):
            fact[name] = {
                kind: parts[at] if name == "scores" else parts[at][0]
                for kind, parts in split.items()
            }
    return Sweep(
        facts=tuple(_checked(SweptFact(**f), known["kinds"], known["n_layers"]) for f in facts),
        **known,
    )


def _split(
    name: str, arrays: Mapping[str, np.ndarray], lengths: Sequence[int]
) -> dict[Kind, list[np.ndarray]]:
    """By kind, the rows of each fact."""
    edges = [0, *accumulate(lengths)]
    found: dict[Kind, list[np.ndarray]] = {}
    for kind in KINDS:
        array = arrays.get(f"{name}.{kind}")
        if array is None:
            continue
        if array.ndim != 2 or len(array) != edges[-1] or array.dtype != np.float64:
            raise Unfit(
                f"{name}.{kind} is {array.dtype} {list(array.shape)}.",
                f"float64 of {edges[-1]} rows was wanted.",
            )
        found[kind] = [array[start:stop] for start, stop in pairwise(edges)]
    return found


# ------------------------------------------------------------------------- facts as JSON


def sweep_log(kinds: Sequence[Kind], n_layers: int) -> LogKind[SweptFact]:
    """The log of a sweep of these kinds, of a model of so many layers."""
    return LogKind(
        "sweep",
        "fact",
        key=lambda fact: fact.number,
        to_json=fact_to_json,
        from_json=lambda stated: fact_from_json(stated, kinds, n_layers),
    )


def fact_to_json(fact: SweptFact) -> dict[str, Any]:
    """All of a fact, its arrays as lists; numbers come back bit for bit."""
    arrays = {
        name: {kind: grid.tolist() for kind, grid in getattr(fact, name).items()} for name in ARRAYS
    }
    return _about(fact) | arrays


def fact_from_json(stated: Any, kinds: Sequence[Kind], n_layers: int) -> SweptFact:
    """The fact that `fact_to_json` wrote.

    Raises:
        RomeWidgetsError: It is something else.
    """
    about = {name: value for name, value in mapping(stated, "a fact").items() if name not in ARRAYS}
    known = fields_of(SweptFact, about, ARRAYS, **FACT_FIELDS)
    numbers: Check = several(number)
    for name, check in (("scores", several(numbers)), ("severed", numbers)):
        found = mapping_of(check, one_of(KINDS))(stated.get(name, {}), name)
        known[name] = {kind: np.array(each, np.float64) for kind, each in found.items()}
    return _checked(SweptFact(**known), kinds, n_layers)


def _about(fact: SweptFact) -> dict[str, Any]:
    return {name: value for name, value in vars(fact).items() if name not in ARRAYS}


def _checked(fact: SweptFact, kinds: Sequence[Kind], n_layers: int) -> SweptFact:
    """A fact that was traced has a grid of each kind, and its subject is in its tokens."""
    n_pos, (start, stop) = len(fact.tokens), fact.subject_span
    traced = fact.status == "traced"
    if traced and not start < stop <= n_pos:
        raise Unfit(f"The subject is [{start}, {stop}).", f"Some of {n_pos} was wanted.")
    wanted = set(kinds) if traced else set()
    if set(fact.scores) != wanted:
        raise Unfit(
            f"Fact {fact.number} has scores of {sorted(fact.scores)}.",
            f"{sorted(wanted)} was wanted.",
        )
    for kinds_of, shape in ((fact.scores, (n_pos, n_layers)), (fact.severed, (n_layers,))):
        for kind, grid in kinds_of.items():
            if grid.shape != shape:
                raise Unfit(
                    f"The {kind} numbers of fact {fact.number} are {list(grid.shape)}.",
                    f"{list(shape)} was wanted.",
                )
    return fact
