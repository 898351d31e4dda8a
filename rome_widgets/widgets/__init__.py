"""The widgets: what is shown in a notebook, and the worker that computes for it.

Nothing here imports torch, transformers, pandas or altair. A widget that needs a model talks to
an engine, which is a protocol; `rome_widgets.session` is the one room that knows both sides.
"""

from rome_widgets.widgets.edit.edit_panel import EditPanel as EditPanel
from rome_widgets.widgets.edit.engine import EditEngine as EditEngine
from rome_widgets.widgets.edit.engine import EditRecord as EditRecord
from rome_widgets.widgets.edit.engine import EditRequest as EditRequest
from rome_widgets.widgets.edit.engine import GenerationEngine as GenerationEngine
from rome_widgets.widgets.edit.engine import GenerationStep as GenerationStep
from rome_widgets.widgets.edit.engine import ModelState as ModelState
from rome_widgets.widgets.edit.engine import Outcome as Outcome
from rome_widgets.widgets.edit.engine import PromptChange as PromptChange
from rome_widgets.widgets.edit.engine import TestPrompt as TestPrompt
from rome_widgets.widgets.edit.generation_compare import GenerationCompare as GenerationCompare
from rome_widgets.widgets.edit.prediction_compare import PredictionCompare as PredictionCompare
from rome_widgets.widgets.edit.prediction_compare import PredictionRun as PredictionRun
from rome_widgets.widgets.live.base import RomeWidget as RomeWidget
from rome_widgets.widgets.live.worker import Worker as Worker
from rome_widgets.widgets.sweep.sweep_chart import SweepChart as SweepChart
from rome_widgets.widgets.trace.engine import TraceEngine as TraceEngine
from rome_widgets.widgets.trace.trace_explorer import TraceExplorer as TraceExplorer
from rome_widgets.widgets.trace.trace_grid import TraceGrid as TraceGrid
from rome_widgets.widgets.trace.trace_settings import TraceSettings as TraceSettings
