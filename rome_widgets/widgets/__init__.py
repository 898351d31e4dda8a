"""The widgets: what is shown in a notebook, and the worker that computes for it.

Nothing here imports torch, transformers, pandas or altair. A widget that needs a model talks to
an engine, which is a protocol; `rome_widgets.session` is the one room that knows both sides.
"""

from rome_widgets.widgets.edit.edit_panel import EditPanel
from rome_widgets.widgets.edit.engine import (
    EditEngine,
    EditRecord,
    EditRequest,
    GenerationEngine,
    GenerationStep,
    ModelState,
    Outcome,
    PromptChange,
    TestPrompt,
)
from rome_widgets.widgets.edit.generation_compare import GenerationCompare
from rome_widgets.widgets.edit.prediction_compare import PredictionCompare, PredictionRun
from rome_widgets.widgets.live.base import RomeWidget
from rome_widgets.widgets.live.worker import Worker
from rome_widgets.widgets.trace.engine import TraceEngine, TraceSettings
from rome_widgets.widgets.trace.trace_explorer import TraceExplorer
from rome_widgets.widgets.trace.trace_grid import TraceGrid

__all__ = [
    "EditEngine",
    "EditPanel",
    "EditRecord",
    "EditRequest",
    "GenerationCompare",
    "GenerationEngine",
    "GenerationStep",
    "ModelState",
    "Outcome",
    "PredictionCompare",
    "PredictionRun",
    "PromptChange",
    "RomeWidget",
    "TestPrompt",
    "TraceEngine",
    "TraceExplorer",
    "TraceGrid",
    "TraceSettings",
    "Worker",
]
