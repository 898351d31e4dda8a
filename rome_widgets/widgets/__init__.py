"""The widgets: what is shown in a notebook, and the worker that computes for it.

Nothing here imports torch, transformers, pandas or altair. A widget that needs a model talks to
an `Engine` (see `protocol`); `rome_widgets.session` is the one module that knows both sides.
"""

from rome_widgets.widgets.base import RomeWidget
from rome_widgets.widgets.protocol import Engine, TraceSettings
from rome_widgets.widgets.trace_explorer import TraceExplorer
from rome_widgets.widgets.trace_grid import TraceGrid
from rome_widgets.widgets.worker import Worker, worker_for

__all__ = [
    "Engine",
    "RomeWidget",
    "TraceExplorer",
    "TraceGrid",
    "TraceSettings",
    "Worker",
    "worker_for",
]
