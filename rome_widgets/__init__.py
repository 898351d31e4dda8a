"""Causal traces and ROME edits of language models, inside a notebook.

Importing this loads no torch, transformers, pandas or altair: each public name is fetched from
its module when it is first used.

Example:
    >>> import rome_widgets as rw
    >>> lm = rw.load()  # the bundled model, offline
    >>> trace = rw.trace(lm, "The Space Needle is in the city of", "The Space Needle")
    >>> trace.indirect_effect("mlp").max()
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rome_widgets import bundled as bundled
    from rome_widgets import errors as errors
    from rome_widgets.editing.edit import Edit as Edit
    from rome_widgets.editing.edit import edit as edit
    from rome_widgets.editing.edit_file import load_edit as load_edit
    from rome_widgets.editing.methods import methods as methods
    from rome_widgets.editing.methods import register as register
    from rome_widgets.editing.methods.fine_tuning import FineTuningSettings as FineTuningSettings
    from rome_widgets.editing.methods.rank_one.settings import EditSettings as EditSettings
    from rome_widgets.editing.methods.rank_one.settings import RankOneSettings as RankOneSettings
    from rome_widgets.editing.statistics.gather import second_moment as second_moment
    from rome_widgets.editing.statistics.second_moment import SecondMoment as SecondMoment
    from rome_widgets.errors import Cancelled as Cancelled
    from rome_widgets.errors import RomeWidgetsError as RomeWidgetsError
    from rome_widgets.evaluation import datasets as datasets
    from rome_widgets.evaluation.evaluate import evaluate as evaluate
    from rome_widgets.evaluation.plan import plan as plan
    from rome_widgets.evaluation.sweep import sweep as sweep
    from rome_widgets.evaluation.tune import tune as tune
    from rome_widgets.files.evaluation_file import load_evaluation as load_evaluation
    from rome_widgets.files.notebooks import tour as tour
    from rome_widgets.files.sweep_file import load_sweep as load_sweep
    from rome_widgets.files.trace_file import load_restoration as load_restoration
    from rome_widgets.files.trace_file import load_trace as load_trace
    from rome_widgets.model.language_model import LanguageModel as LanguageModel
    from rome_widgets.model.load import load as load
    from rome_widgets.records.corruption import Subject as Subject
    from rome_widgets.records.edit import Comparison as Comparison
    from rome_widgets.records.edit import EditReport as EditReport
    from rome_widgets.records.edit import RankOneReport as RankOneReport
    from rome_widgets.records.evaluation import EvaluatedEdit as EvaluatedEdit
    from rome_widgets.records.evaluation import Evaluation as Evaluation
    from rome_widgets.records.explanations import Flow as Flow
    from rome_widgets.records.explanations import Heads as Heads
    from rome_widgets.records.explanations import Lens as Lens
    from rome_widgets.records.explanations import RestoringPath as RestoringPath
    from rome_widgets.records.fact import Fact as Fact
    from rome_widgets.records.plan import Plan as Plan
    from rome_widgets.records.states import State as State
    from rome_widgets.records.sweep import Sweep as Sweep
    from rome_widgets.records.swept_fact import SweptFact as SweptFact
    from rome_widgets.records.trace import CausalTrace as CausalTrace
    from rome_widgets.records.trace import Prediction as Prediction
    from rome_widgets.records.trace import Restoration as Restoration
    from rome_widgets.records.tuning import Tuning as Tuning
    from rome_widgets.tracing.noise import Noise as Noise
    from rome_widgets.tracing.tracer import CausalTracer as CausalTracer
    from rome_widgets.tracing.tracer import trace as trace
    from rome_widgets.widgets.edit.edit_panel import EditPanel as EditPanel
    from rome_widgets.widgets.edit.generation_compare import GenerationCompare as GenerationCompare
    from rome_widgets.widgets.edit.prediction_compare import PredictionCompare as PredictionCompare
    from rome_widgets.widgets.edit.prediction_compare import PredictionRun as PredictionRun
    from rome_widgets.widgets.sweep.sweep_chart import SweepChart as SweepChart
    from rome_widgets.widgets.trace.trace_explorer import TraceExplorer as TraceExplorer
    from rome_widgets.widgets.trace.trace_grid import TraceGrid as TraceGrid

__version__ = "0.2.0"

_HOME = {
    "Cancelled": "errors",
    "CausalTrace": "records.trace",
    "CausalTracer": "tracing.tracer",
    "Comparison": "records.edit",
    "Edit": "editing.edit",
    "EditPanel": "widgets.edit.edit_panel",
    "EditReport": "records.edit",
    "EditSettings": "editing.methods.rank_one.settings",
    "EvaluatedEdit": "records.evaluation",
    "Evaluation": "records.evaluation",
    "Fact": "records.fact",
    "FineTuningSettings": "editing.methods.fine_tuning",
    "Flow": "records.explanations",
    "GenerationCompare": "widgets.edit.generation_compare",
    "Heads": "records.explanations",
    "LanguageModel": "model.language_model",
    "Lens": "records.explanations",
    "Noise": "tracing.noise",
    "Plan": "records.plan",
    "Prediction": "records.trace",
    "PredictionCompare": "widgets.edit.prediction_compare",
    "PredictionRun": "widgets.edit.prediction_compare",
    "RankOneReport": "records.edit",
    "RankOneSettings": "editing.methods.rank_one.settings",
    "Restoration": "records.trace",
    "RestoringPath": "records.explanations",
    "RomeWidgetsError": "errors",
    "SecondMoment": "editing.statistics.second_moment",
    "State": "records.states",
    "Subject": "records.corruption",
    "Sweep": "records.sweep",
    "SweepChart": "widgets.sweep.sweep_chart",
    "SweptFact": "records.swept_fact",
    "TraceExplorer": "widgets.trace.trace_explorer",
    "TraceGrid": "widgets.trace.trace_grid",
    "Tuning": "records.tuning",
    "edit": "editing.edit",
    "evaluate": "evaluation.evaluate",
    "load": "model.load",
    "load_edit": "editing.edit_file",
    "load_evaluation": "files.evaluation_file",
    "load_restoration": "files.trace_file",
    "load_sweep": "files.sweep_file",
    "load_trace": "files.trace_file",
    "methods": "editing.methods",
    "plan": "evaluation.plan",
    "register": "editing.methods",
    "second_moment": "editing.statistics.gather",
    "sweep": "evaluation.sweep",
    "tour": "files.notebooks",
    "trace": "tracing.tracer",
    "tune": "evaluation.tune",
}

_ROOMS = {"bundled": "bundled", "datasets": "evaluation.datasets", "errors": "errors"}

__all__ = [*_HOME, *_ROOMS]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"rome_widgets.{_ROOMS[name]}")
    if name not in _HOME:
        raise AttributeError(f"module 'rome_widgets' has no attribute {name!r}")
    value = getattr(import_module(f"rome_widgets.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
