"""The file of an edit: its updates, its report, and the fingerprints of what it was made on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from torch import Tensor

from rome_widgets.editing.edit import Edit
from rome_widgets.editing.methods import METHODS
from rome_widgets.errors import EditFileError, SaveFailed
from rome_widgets.files import checksummed_file
from rome_widgets.files.checksummed_file import FileKind
from rome_widgets.model.language_model import LanguageModel, check_language_model
from rome_widgets.model.ledger import Dense, LowRank, Update
from rome_widgets.model.memory import needs_memory
from rome_widgets.records.arguments import a_path, takes
from rome_widgets.records.edit import EditReport, EditStep, Perplexity
from rome_widgets.records.fact import Fact

FORMAT = FileKind("rome_widgets.edit", EditFileError, "torch")


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
        updates = tuple(
            _update(about, number, tensors) for number, about in enumerate(header["updates"])
        )
        edit = Edit(
            lm,
            tuple(Fact(**fact) for fact in (header["fact"], *header.get("more_facts", ()))),
            updates,
            _report(header["report"]),
            {update.name: str(header["bases"][update.name]) for update in updates},
            tuple(map(str, header["on_top_of"])),
        )
        if not edit.applied:
            edit.strength = header["strength"]
    except EditFileError:
        raise
    except Exception as error:  # checksummed, yet not what we write: one name for it
        raise EditFileError(
            f"{path} does not hold an edit ({type(error).__name__}: {error}).",
            "A file written by Edit.save was wanted.",
        ) from None
    return edit


def _plain(report: EditReport) -> dict[str, Any]:
    """The report as JSON holds it: the method's own part beside what every report has."""
    values = asdict(report)
    details = values.pop("details") or {}
    return {**details, **values, "steps": [tuple(step) for step in report.steps]}


def _update(about: Mapping[str, Any], number: int, tensors: Mapping[str, Tensor]) -> Update:
    name, transposed = str(about["name"]), bool(about["transposed"])
    if about["kind"] == "Dense":
        return Dense(name, tensors[f"{number}.value"], transposed)
    u, v = tensors[f"{number}.u"], tensors[f"{number}.v"]
    if about["kind"] != "LowRank" or u.ndim != 2 or v.ndim != 2 or len(u) != len(v):
        raise EditFileError(f"The update of {name} is not a pair of factors.")
    return LowRank(name, u, v, transposed)


def _report(stated: Mapping[str, Any]) -> EditReport:
    values: dict[str, Any] = _tuples(stated)
    if "layer" in values:  # files of the time when every edit had one
        values["layers"] = (values.pop("layer"),)
    values["steps"] = tuple(EditStep(*step) for step in values["steps"])
    if values.get("perplexity") is not None:  # not in files written before it was measured
        values["perplexity"] = Perplexity(*values["perplexity"])
    known = {field.name for field in fields(EditReport)} - {"details"}
    own = {name: values.pop(name) for name in list(values) if name not in known}
    return EditReport(**values, details=_details(values["method"], own))


def _details(method: str, own: dict[str, Any]) -> Any:
    """The method's own part of a report, as its record class where it is known and has one."""
    kind = METHODS[method].details if method in METHODS else None
    if kind is None or not own:
        return own or None
    return kind(**{name: value for name, value in own.items() if name in kind.__annotations__})


def _tuples(value: Any) -> Any:
    """Tuples again, which JSON makes lists of."""
    if isinstance(value, dict):
        return {name: _tuples(each) for name, each in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
