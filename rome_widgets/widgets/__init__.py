"""The widgets: what is shown in a notebook, and the worker that computes for it.

Nothing here imports torch, transformers, pandas or altair. A widget that needs a model talks to
an `Engine` (see `protocol`); `rome_widgets.session` is the one module that knows both sides.
"""

from rome_widgets.widgets.badge import announce_edits
from rome_widgets.widgets.base import RomeWidget
from rome_widgets.widgets.edit_panel import EditPanel
from rome_widgets.widgets.generation_compare import GenerationCompare
from rome_widgets.widgets.prediction_compare import PredictionCompare, PredictionRun
from rome_widgets.widgets.protocol import (
    EditingEngine,
    EditRecord,
    EditRequest,
    Engine,
    GenerationStep,
    ModelState,
    Outcome,
    PromptChange,
    TestPrompt,
    TraceSettings,
)
from rome_widgets.widgets.trace_explorer import TraceExplorer
from rome_widgets.widgets.trace_grid import TraceGrid
from rome_widgets.widgets.worker import Worker, worker_for

__all__ = [
    "EditPanel",
    "EditRecord",
    "EditRequest",
    "EditingEngine",
    "Engine",
    "GenerationCompare",
    "GenerationStep",
    "ModelState",
    "Outcome",
    "PredictionCompare",
    "PredictionRun",
    "PromptChange",
    "RomeWidget",
    "TestPrompt",
    "TraceExplorer",
    "TraceGrid",
    "TraceSettings",
    "Worker",
    "announce_edits",
    "worker_for",
]
