"""The file of an evaluation, and its rows as JSON, in which its log has them too. No torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rome_widgets.errors import RunFileError, SaveFailed
from rome_widgets.files import checksummed_file
from rome_widgets.files.checksummed_file import FileKind
from rome_widgets.files.run_log import LogKind
from rome_widgets.files.schema import NATURAL, Unfit, fields_of, finite, listed, mapping_of, unfit
from rome_widgets.records.arguments import Check, a_path, optional, takes
from rome_widgets.records.evaluation import EvaluatedEdit, Evaluation
from rome_widgets.records.figures import DEFINITIONS

EVALUATION = FileKind("rome_widgets.evaluation", RunFileError, "numpy")

FILE_NAME = "evaluation.safetensors"
"""In the folder of an evaluation, beside its log."""


def _name_of_figure(value: Any, name: str) -> str:
    if isinstance(value, str) and value.partition(":")[0] in DEFINITIONS:
        return value
    raise Unfit(f"{name} is {value!r}.", "The name of a figure was wanted.")


ROW_FIELDS: Mapping[str, Check] = {
    "number": NATURAL,
    "steps": NATURAL,
    "norm_ratio": optional(finite(0)),
    "edit_seconds": finite(0),
    "measure_seconds": finite(0),
    "figures": mapping_of(finite(), _name_of_figure),
}
"""What the fields of a row must be beyond what `EvaluatedEdit` says."""


def save_evaluation(evaluation: Evaluation, path: str | os.PathLike[str]) -> Path:
    """Write an evaluation; see `Evaluation.save`."""
    place: Path = a_path(SaveFailed, "file")(path, "path")
    header = {name: getattr(evaluation, name) for name in evaluation.__dataclass_fields__}
    header["rows"] = [vars(row) for row in evaluation.rows]
    return checksummed_file.write(place, EVALUATION, header, {})


@takes(path=a_path(RunFileError))
def load_evaluation(path: str | os.PathLike[str]) -> Evaluation:
    """Read an evaluation written by `Evaluation.save`, or into its folder by `evaluate`.

    Needs no torch.

    Raises:
        RunFileError: The file is missing, torn, altered, or of another version.

    Example:
        >>> rw.load_evaluation(evaluation.save("evaluation.safetensors")) == evaluation
        True
    """
    path = Path(path)
    path = path / FILE_NAME if path.is_dir() else path
    header, _ = checksummed_file.read(path, EVALUATION)
    try:
        rows = tuple(row_from_json(each) for each in listed(header.pop("rows", None), "rows"))
        return Evaluation(rows, **fields_of(Evaluation, header, ("rows",)))
    except Exception as error:  # sealed, yet not what we write: one name for it
        raise unfit(path, error, "Evaluation.save", RunFileError) from None


def row_from_json(stated: Any) -> EvaluatedEdit:
    """The row whose fields these are.

    Raises:
        RomeWidgetsError: It is something else.
    """
    return EvaluatedEdit(**fields_of(EvaluatedEdit, stated, (), **ROW_FIELDS))


EVALUATION_LOG = LogKind[EvaluatedEdit](
    "evaluation", "row", lambda row: (row.number, row.method), vars, row_from_json
)
