"""The file of an edit: its updates, its report, and the fingerprints of what it was made on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from rome_widgets.editing.edit import MOST_STRENGTH, SEEDS, Edit
from rome_widgets.editing.methods import METHODS
from rome_widgets.errors import EditFileError, SaveFailed
from rome_widgets.files import checksummed_file
from rome_widgets.files.checksummed_file import FileKind
from rome_widgets.files.schema import (
    NATURAL,
    Unfit,
    check_of,
    fields_of,
    finite,
    flag,
    mapping,
    mapping_of,
    one_of,
    plain,
    several,
    unfit,
    whole,
)
from rome_widgets.model.language_model import LanguageModel, check_language_model
from rome_widgets.model.ledger import Dense, LowRank, Update
from rome_widgets.model.memory import needs_memory
from rome_widgets.records.arguments import Check, a_path, takes, text
from rome_widgets.records.edit import EditReport
from rome_widgets.records.fact import Fact

FORMAT = FileKind("rome_widgets.edit", EditFileError, "torch")
EDIT_FIELDS: Mapping[str, Check] = {
    "fact": check_of(Fact),
    "more_facts": several(check_of(Fact)),
    "report": mapping,
    "bases": mapping_of(text),
    "on_top_of": several(text),
    "strength": finite(-MOST_STRENGTH, MOST_STRENGTH),
    "updates": several(lambda value, name: _about_update(value, name), 1),
}
"""What the fields of an edit must be."""
EDIT_DEFAULTS: Mapping[str, Any] = {"more_facts": ()}
"""Of fields that old files do not have."""
REPORT_FIELDS: Mapping[str, Check] = {
    "layers": several(NATURAL, 1),
    "seed": partial(whole, least=SEEDS[0], most=SEEDS[1]),
    "prompt_ids": several(NATURAL),
}
"""What those of its report must be beyond what `EditReport` says."""


def save_edit(edit: Edit, path: str | os.PathLike[str]) -> Path:
    """Write an edit to one file, whole or not at all; returns the path.

    Raises:
        SaveFailed: Nothing was written; a file that was there before is unchanged.
    """
    header = {
        "fact": asdict(edit.fact),
        "more_facts": [asdict(fact) for fact in edit.facts[1:]],
        "report": _plain(edit.report),
        "bases": edit.bases,
        "on_top_of": edit.on_top_of,
        "strength": edit.strength,
        "updates": [
            {"name": u.name, "kind": type(u).__name__, "transposed": u.transposed}
            for u in edit.updates
        ],
    }
    tensors = {
        f"{number}.{name}": tensor.detach().cpu().contiguous()
        for number, update in enumerate(edit.updates)
        for name, tensor in update.tensors.items()
    }
    return checksummed_file.write(a_path(SaveFailed, "file")(path, "path"), FORMAT, header, tensors)


@takes(path=a_path(EditFileError, "file"))
@needs_memory("load the edit")
def load_edit(lm: LanguageModel, path: str | os.PathLike[str]) -> Edit:
    """Read an edit that `Edit.save` wrote; applies nothing.

    Args:
        lm: The model it is for. Whether it is the very one is asked when it is applied.
        path: The file.

    Raises:
        EditFileError: The file is missing, torn, altered, or of another version.

    Example:
        >>> change = rw.edit(lm, "{} is in the city of", "The Space Needle", "Paris")
        >>> rw.load_edit(lm, change.save("paris.safetensors")).id == change.id
        True
    """
    lm = check_language_model(lm)
    header, tensors = checksummed_file.read(Path(path), FORMAT)
    try:
        return _edit(lm, header, tensors)
    except Exception as error:  # checksummed, yet not what we write: one name for it
        raise unfit(path, error, "Edit.save", EditFileError) from None


def _edit(lm: LanguageModel, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Edit:
    known = {
        name: check(header.get(name, EDIT_DEFAULTS.get(name)), name)
        for name, check in EDIT_FIELDS.items()
    }
    updates = tuple(
        _update(name, kind, transposed, number, tensors)
        for number, (name, kind, transposed) in enumerate(known["updates"])
    )
    lacking = {update.name for update in updates} - known["bases"].keys()
    if lacking:
        raise Unfit(f"There is no base of {min(lacking)}.", "One for each update was wanted.")
    bases = {update.name: known["bases"][update.name] for update in updates}
    facts = (known["fact"], *known["more_facts"])
    report = _report(known["report"])
    edit = Edit(lm, facts, updates, report, bases, known["on_top_of"])
    if not edit.applied:
        edit.strength = known["strength"]
    return edit


def _plain(report: EditReport) -> dict[str, Any]:
    """The report as JSON holds it: the method's own part beside what every report has."""
    values = asdict(report)
    details = values.pop("details") or {}
    return {**details, **values, "steps": [tuple(step) for step in report.steps]}


def _about_update(value: Any, name: str) -> tuple[str, str, bool]:
    """Which parameter an update changes, of which kind it is, and how the weight is stored."""
    stated = mapping(value, name)
    return (
        text(stated.get("name"), f"{name}.name"),
        one_of(("LowRank", "Dense"))(stated.get("kind"), f"{name}.kind"),
        flag(stated.get("transposed"), f"{name}.transposed"),
    )


def _update(
    name: str, kind: str, transposed: bool, number: int, tensors: Mapping[str, Tensor]
) -> Update:
    names = ("value",) if kind == "Dense" else ("u", "v")
    found = [tensors.get(f"{number}.{each}") for each in names]
    if kind == "Dense" and found[0] is not None and found[0].ndim in (1, 2) and found[0].numel():
        return Dense(name, found[0], transposed)
    u, v = (*found, None)[:2]
    pair = u is not None and v is not None and u.ndim == v.ndim == 2 and len(u) == len(v)
    if kind == "Dense" or u is None or v is None or not pair or not (u.numel() and v.numel()):
        raise Unfit(f"The update of {name} has no numbers.", f"{' and '.join(names)} were wanted.")
    return LowRank(name, u, v, transposed)


def _report(stated: Mapping[str, Any]) -> EditReport:
    values = dict(stated)
    if "layer" in values:  # files of the time when every edit had one
        values["layers"] = [values.pop("layer")]
    known = {field.name for field in fields(EditReport)} - {"details"}
    own = {name: values.pop(name) for name in list(values) if name not in known}
    found = fields_of(EditReport, values, ("details",), **REPORT_FIELDS)
    return EditReport(**found, details=_details(found["method"], own))


def _details(method: str, own: dict[str, Any]) -> Any:
    """The method's own part of a report, as its record class where it is known and has one."""
    kind: Any = METHODS[method].details if method in METHODS else None
    if kind is None or not own:
        return plain(own, "the method's own part") or None
    names = kind.__annotations__
    return kind(**fields_of(kind, {name: own[name] for name in own if name in names}))
