"""The editing widget: write a fact into the model, see what it did, take it back."""

from __future__ import annotations

import itertools
import logging
import math
import weakref
from collections.abc import Hashable, Iterable, Mapping
from functools import partial
from typing import Any, Literal

import numpy as np
import traitlets as t

from rome_widgets.errors import (
    ArgumentError,
    Cancelled,
    RomeWidgetsError,
    StateError,
    said,
)
from rome_widgets.records.arguments import optional, several, takes, truth
from rome_widgets.records.arguments import text as text_argument
from rome_widgets.records.edit import EditProgress
from rome_widgets.records.fact import Fact, read_fact
from rome_widgets.records.numbers import as_float, finite_number, plain
from rome_widgets.records.trace import CausalTrace
from rome_widgets.widgets import fallback
from rome_widgets.widgets.edit.edit_rows import (
    describe_record,
    describe_request,
    read_request,
    read_tests,
)
from rome_widgets.widgets.edit.engine import (
    EditEngine,
    EditRecord,
    EditRequest,
    TargetInfo,
    TestPrompt,
)
from rome_widgets.widgets.edit.orders import (
    ComparedEdit,
    EditHistory,
    Order,
    Strengths,
    carry_out,
    look,
    read_order,
    rows_of,
    set_strengths,
)
from rome_widgets.widgets.live.base import Theme, bundle
from rome_widgets.widgets.live.engine import Stop, Tell
from rome_widgets.widgets.live.job import Job, plainly
from rome_widgets.widgets.live.live_widget import LiveWidget, Slot, describe_error, is_engine
from rome_widgets.widgets.live.traits import fields_of, number, text
from rome_widgets.widgets.trace.trace_explorer import TraceExplorer
from rome_widgets.widgets.trace.trace_grid import TraceGrid

logger = logging.getLogger(__name__)

MOST_STRENGTH = 1.5
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
"""Where the figure of the strength has points from the start."""
KEPT_ACKS = 100
"""Orders whose end the page is told of; it forgets an order as soon as it hears of it."""
FORM = ("template", "subject", "target", "true_object", "method", "layer", "settings")


class EditPanel(LiveWidget):
    """Edits facts of one model, keeps the history, and shows predictions before and after.

    What changes the model is an order with an id: none is lost, none is done twice, and they are
    done in the order given. Changes wait until the model is free, so that a trace under way is
    never made of two models. Closing the panel reverts nothing.

    Args:
        model: A `LanguageModel`, or an engine as `EditEngine` describes it.
        prompt: Text with one `{}`, or with the subject in it; a `Fact`, or a CounterFact record.
        subject: Who or what the fact is about; not needed with a fact.
        target: The new object.
        true_object: The object that the model is believed to hold now.
        trace: A trace, or a widget that shows one: the panel takes its fact and the layer it points
            to, again whenever another trace is shown, and the layer of a cell selected there.
        method: One of the model's methods; the first if not given.
        layer: Where to edit; None lets the engine choose.
        settings: Numbers that differ from the method's defaults.
        tests: Prompts to compare besides the edit's own: texts, or dicts with text and group.
        second_moment: Statistics of the keys; see `rome_widgets.edit`.
        seed: Of the sampled prefixes.
        theme, layout, tooltip, tabbable: See `RomeWidget`.

    Example:
        >>> panel = rw.EditPanel(lm, "{} is in the city of", "The Space Needle", "Paris")
        >>> record = panel.apply(wait=True)
        >>> panel.set_strength(record.id, 0.5)
        >>> panel.edit.save("paris.safetensors")
        >>> panel.revert(record.id)
    """

    _esm, _css = bundle("edit")
    _view = t.Unicode("edit").tag(sync=True)
    _answers = "rows"
    _outputs = (
        "engine",
        "suggestion",
        "about_target",
        "steps",
        "edits",
        "ledger",
        "rows",
        "trail",
    )
    _jobs = ("compare", "refresh", "suggest", "target")
    engine = t.Dict(
        help=("Name and depth of the model, its methods with title and defaults, and examples.")
    ).tag(sync=True)
    template = t.Unicode("{}", help="The prompt with one {} where the subject stands.").tag(
        sync=True
    )
    subject = t.Unicode("", help="Who or what the fact is about.").tag(sync=True)
    target = t.Unicode("", help="The new object.").tag(sync=True)
    true_object = t.Unicode(
        None, allow_none=True, help="The object that the model is believed to hold now."
    ).tag(sync=True)
    method = t.Unicode("", help="How the edit is made; one of the engine's methods.").tag(sync=True)
    layer = t.Int(
        None, allow_none=True, min=0, help="Where to edit; None lets the engine choose."
    ).tag(sync=True)
    settings = t.Dict(help="Numbers that differ from the method's defaults.").tag(sync=True)
    suggestion = t.Dict(
        help='A layer and the reason for it; `{"waiting": True}` while a trace looks for it.'
    ).tag(sync=True)
    about_target = t.Dict(
        help=(
            "What the form's target is for the model: its tokens, the same word as the "
            "model writes it and why, and other targets that it knows."
        )
    ).tag(sync=True)
    steps = t.List(
        help="Loss, nll, kl, probability and norm of each step of the last optimisation."
    ).tag(sync=True)
    edits = t.List(help="The history, oldest first.").tag(sync=True)
    selected = t.Unicode("", help="Id of the edit whose strength and predictions are shown.").tag(
        sync=True
    )
    ledger = t.Dict(
        help=(
            "How many edits are active (`n_active`), whether the weights are what these "
            "make of the original ones (`fingerprint_ok`), and whether they are the "
            "original ones (`original`)."
        )
    ).tag(sync=True)
    tests = t.List(help="Further prompts to compare: text, group, target and true object.").tag(
        sync=True
    )
    rows = t.List(help="Before and after, one row per prompt.").tag(sync=True)
    trail = t.List(
        help=(
            "Strength, p(target), p(true object), measured ahead and wherever the slider "
            "was; sorted."
        )
    ).tag(sync=True)
    _orders = t.List().tag(sync=True, echo_update=False)
    """Orders of the page that were not acked yet, each `{id, op, ...}`."""
    _acks = t.List().tag(sync=True)
    """Ids of orders that have ended."""
    _strengths = t.Dict().tag(sync=True, echo_update=False)
    """What the page's sliders say: `{edit: [count, strength]}`; the latest of each edit wins."""

    _taken: tuple[str, str, str] | None = None
    """Prompt, subject and answer of the trace that the form was filled from."""

    @takes(
        subject=text_argument,
        target=text_argument,
        true_object=optional(text_argument),
        method=optional(text_argument),
        tests=several,
    )
    def __init__(
        self,
        model: Any,
        prompt: str | Fact | Mapping[str, Any] | list[Any] = "",
        subject: str = "",
        target: str = "",
        *,
        true_object: str | None = None,
        trace: CausalTrace | TraceGrid | None = None,
        method: str | None = None,
        layer: int | None = None,
        settings: Mapping[str, float] | None = None,
        tests: Iterable[Any] = (),
        second_moment: Any = None,
        seed: int = 0,
        theme: Theme = "auto",
        layout: Any = None,
        tooltip: str | None = None,
        tabbable: bool | None = None,
    ) -> None:
        if not is_engine(model):
            from rome_widgets.session.edit_engine import EditingEngine

            model = EditingEngine(model, second_moment, seed)
        self._engine: EditEngine = model
        engine = self._engine
        self._seen: set[str] = set()
        """Ids of all orders ever given."""
        self._open: dict[str, Order] = {}
        """Orders that have not ended."""
        self._at_work: Order | Strengths | None = None
        """What changes the model for this panel, or did so last."""
        self._wanted: dict[str, float] = {}
        """Strengths to set, the latest of each edit."""
        self._records: dict[str, EditRecord] = {}
        self._numbers = itertools.count(1)
        self._strength = Slot(self, "strength")  # Not of those that a closed panel gives up.
        fact = _read_form(engine.read_fact(prompt, subject), subject, target, true_object)
        host = {"theme": theme, "layout": layout, "tooltip": tooltip, "tabbable": tabbable}
        super().__init__(
            engine.session,
            engine={
                "model": text(engine.model_name),
                "n_layers": engine.n_layers,
                "methods": {name: dict(each) for name, each in engine.methods.items()},
                "examples": [describe_request(each) for each in engine.examples],
            },
            **fact,
            method=method or next(iter(engine.methods)),
            layer=layer,
            settings={} if settings is None else settings,
            tests=list(tests),
            **host,
        )
        self._refresh()
        self._ask_about_target()
        if trace is not None:
            self.follow(trace)

    @property
    def request(self) -> EditRequest:
        """What the form says now."""
        return EditRequest(**{name: getattr(self, name) for name in FORM})

    @property
    def records(self) -> list[EditRecord]:
        """The history, oldest first."""
        return list(self._records.values())

    @property
    def edit(self) -> Any:
        """The `Edit` that is selected in the history, to be saved or exported; None without one."""
        return self._engine.find(self.selected) if self.selected else None

    @takes(wait=truth)
    def apply(
        self, wait: bool = False, *, first: Literal["on_top", "revert_all"] | None = None
    ) -> EditRecord | None:
        """Compute the edit that the form describes and apply it.

        Args:
            wait: Return when it is done. Ctrl-C then cancels it, and its error is raised.
            first: "revert_all" takes every other edit out before; "on_top" writes also a fact that
                an applied edit writes already.

        Returns:
            The edit when waited for, else None.

        Raises:
            Cancelled: The edit waited for was cancelled.
            StateError: The edit waited for is of a fact that is applied already.
        """
        self._refuse_to_wait(wait)
        order = self._order(op="edit", request=describe_request(self.request), first=first)
        if not wait:
            return None
        self._wait_for(self._places(), self.cancel, order)
        return order.made

    @takes(edit=text_argument)
    def revert(self, edit: str) -> None:
        """Take one edit out; the others stay."""
        self.set_applied(edit, False)

    @takes(edit=text_argument, applied=truth)
    def set_applied(self, edit: str, applied: bool) -> None:
        """Apply or revert an edit of the history."""
        self._order(op="applied", edit=edit, applied=applied)

    def revert_all(self) -> None:
        """Back to the weights as they were loaded; the history stays."""
        self._order(op="revert_all")

    @takes(edit=text_argument)
    def set_strength(self, edit: str, strength: float) -> None:
        """Scale an edit; of several waiting strengths of one edit the latest counts."""
        strength = finite_number(strength, "The strength", 0, MOST_STRENGTH)
        with self._writing:
            self._wanted[edit] = strength
            job = Job(
                Strengths(),
                partial(set_strengths, self._engine),
                on_started=self._strengths_started,
                on_progress=self._strengths_set,
                on_done=self._strengths_compared,
                on_failed=self._strengths_refused,
                latest=False,  # Predictions follow a slider that does not rest.
            )
            self._worker.submit(self._strength, job)

    def suggest_layer(self) -> None:
        """Ask for the layer that a trace of the form's fact points to; it fills `layer`."""
        with self._writing:
            try:
                request = read_request(vars(self.request))
            except RomeWidgetsError as error:
                self._report("form", describe_error(error))
                return
            self.suggestion = {"waiting": True}
            engine = self._engine  # Not of the panel, which the job must not hold.
            job = Job(
                request,
                lambda asked, progress, stop: engine.suggest_layer(asked, stop),
                on_done=self._suggested,
                on_failed=self._suggest_failed,
            )
            self._submit("suggest", job)

    def follow(self, trace: CausalTrace | TraceGrid) -> None:
        """Take the fact and the layer of a trace.

        Args:
            trace: A trace, or a widget that shows one; of a widget, also whatever it shows later,
                and the layer of a single cell that is selected there.
        """
        if isinstance(trace, CausalTrace):
            self._take_trace(trace)
            return
        if not isinstance(trace, TraceGrid):
            raise StateError(
                f"{type(trace).__name__} is not a trace.",
                "A trace, a TraceGrid or a TraceExplorer was wanted.",
                "Pass what rome_widgets.trace or rome_widgets.TraceExplorer gives.",
            )
        panel = weakref.ref(self)  # A panel that is let go must not live on in the explorer.

        def changed(change: Any) -> None:
            if (there := panel()) is not None:
                (there._take_shown if change["name"] == "trace" else there._take_selected)(trace)

        trace.observe(changed, ["trace", "selection"])
        self._take_shown(trace)

    def _take_shown(self, grid: TraceGrid) -> None:
        """Not what an edit made the explorer trace again: it would undo what is being typed."""
        if grid.trace is not None and grid.before is None:
            self._take_trace(grid.trace)
        elif isinstance(grid, TraceExplorer):
            self._take_asked(grid)

    def _take_asked(self, explorer: TraceExplorer) -> None:
        """What an explorer is to trace, into a form that is empty; the trace brings the rest."""
        if self.subject or self.template != "{}":
            return
        try:
            fact = read_fact(explorer.prompt, explorer.subject)
        except RomeWidgetsError:  # The explorer says what is wrong with it.
            return
        with self._writing, self.hold_sync():
            self.template, self.subject = fact.template, fact.subject

    def _take_selected(self, grid: TraceGrid) -> None:
        if len(grid.selection) == 1:
            _, layer, kind = grid.selection[0]
            reason = f"Layer {layer} is selected in the trace ({kind})."
            self._suggested(None, (layer, reason))

    def _take_trace(self, trace: CausalTrace) -> None:
        if "mlp" not in trace.scores or trace.estimated or trace.metric != "probability":
            return  # the choice of a layer goes by shares of a probability
        at_subject = trace.indirect_effect("mlp")[trace.subject_span[1] - 1]
        asked = (trace.prompt, trace.subject, trace.answer)
        if np.isnan(at_subject).any() or asked == self._taken:
            return
        self._taken = asked
        effects = dict(enumerate(at_subject.tolist()))
        suggested = self._engine.layer_at_peak(effects, trace.total_effect)
        with self._writing, self.hold_sync():
            self.template, self.subject = _cut_out(trace)
            self.true_object = trace.answer.strip()
            self._suggested(None, suggested)

    def _suggested(self, request: EditRequest | None, suggested: tuple[int, str]) -> None:
        layer, reason = suggested
        self._write(layer=layer, suggestion={"layer": layer, "reason": text(reason)})

    def cancel(self) -> None:
        """Stop edits that are being computed or waiting, and the search for a layer."""
        with self._writing:
            for order in [each for each in self._open.values() if each.is_edit]:
                if self._worker.cancel(order.slot):  # It never started.
                    order.error = Cancelled("The edit was cancelled.")
                    self._order_ended(order)
            self._worker.cancel(self._slots["suggest"])
            if self.suggestion.get("waiting"):
                self.suggestion = {}

    def _places(self) -> list[Hashable]:
        with self._writing:
            orders = [order.slot for order in self._open.values()]
            return [*orders, self._strength, *self._slots.values()]

    def close(self) -> None:
        """Cancel what is being computed and close the page's end; applied edits stay."""
        if hasattr(self, "_closed"):  # ipywidgets closes half-built widgets, too.
            self.cancel()
        super().close()

    @t.validate("method")
    def _check_method(self, proposal: dict) -> str:
        if proposal["value"] not in self._engine.methods:
            known = ", ".join(self._engine.methods)
            raise t.TraitError(f"No method {said(proposal['value'])}; there are {known}.")
        return proposal["value"]

    @t.validate("layer")
    def _check_layer(self, proposal: dict) -> int | None:
        layer, depth = proposal["value"], self._engine.n_layers
        if layer is not None and layer >= depth:
            raise t.TraitError(f"No layer {said(layer)}; the last is {depth - 1}.")
        return layer

    @t.validate("settings")
    def _check_settings(self, proposal: dict) -> dict[str, float]:
        numbers = {str(name): plain(value) for name, value in proposal["value"].items()}
        for name, value in numbers.items():
            if not math.isfinite(as_float(value)):
                raise t.TraitError(f"The setting {name!r} is a number, not {said(value)}.")
        return numbers

    @t.validate("tests")
    def _check_tests(self, proposal: dict) -> list[dict[str, Any]]:
        return read_tests(proposal["value"])

    @t.observe(*FORM)
    def _form_changed(self, change: dict) -> None:
        self._settle("form")

    @t.observe("template", "subject", "target", "true_object")
    def _target_changed(self, change: dict) -> None:
        self._ask_about_target()

    def _ask_about_target(self) -> None:
        """Ask what the target is, once there is a fact that it could be of."""
        with self._writing:
            request = self.request
            if request.template.count("{}") != 1 or not request.subject.strip():
                self._worker.cancel(self._slots["target"])
                self.about_target = {}
                return
            job = Job(
                request,
                plainly(partial(self._engine.about_target, request)),
                on_done=self._told_of_target,
                on_failed=self._target_unknown,
            )
            self._submit("target", job)

    def _told_of_target(self, request: EditRequest, about: TargetInfo) -> None:
        self.about_target = fields_of(about)

    def _target_unknown(self, request: EditRequest, error: Exception) -> None:
        """While it is typed, a fact need not be one; Apply says what is wrong with it."""
        self.about_target = {}

    @t.observe("template", "subject")
    def _other_fact(self, change: dict) -> None:
        """What a trace gave, layer and reason and answer, goes with the fact that was traced."""
        traced, _, answer = self._taken or ("", "", "")
        if self.request.prompt != traced and self.true_object == answer.strip():
            self.true_object = None
        suggested, self.suggestion = self.suggestion, {}
        self._worker.cancel(self._slots["suggest"])
        if suggested.get("layer") is not None and suggested["layer"] == self.layer:
            self.layer = None

    @t.observe("tests", "selected")
    def _looking_elsewhere(self, change: dict) -> None:
        if change["name"] == "selected":
            self.trail = []
        if self.edits:
            self._ask_for_rows()

    @t.observe("rows", "edits", "ledger")
    def _other_picture(self, change: dict) -> None:
        self._copy_still()

    @t.observe("_request")
    def _requested(self, change: dict) -> None:
        self._hear(lambda: self._asked(change["new"], {"suggest": self.suggest_layer}))

    @t.observe("_orders")
    def _ordered(self, change: dict) -> None:
        for order in change["new"]:
            if not isinstance(order, dict) or not isinstance(order.get("id"), str):
                self._refused(ArgumentError(f"{said(order)} is no order: it has no id."), {})
            elif order["id"] not in self._seen:
                self._take(order)

    @t.observe("_strengths")
    def _slid(self, change: dict) -> None:
        for edit, slid in change["new"].items():
            if edit in change["old"] and slid == change["old"][edit]:
                continue
            strength = as_float(slid[1]) if isinstance(slid, list) and len(slid) == 2 else math.nan
            if not math.isfinite(strength):
                self._refused(ArgumentError(f"{said(slid)} is no strength of an edit."), {})
            elif edit in self._records:  # else it has just gone
                self.set_strength(edit, min(MOST_STRENGTH, max(0.0, strength)))

    def _follow_model(self) -> None:
        if self._at_work is None or not self._at_work.changing:  # Else that looks afterwards.
            self._refresh()

    def _order(self, **order: Any) -> Order:
        return self._take({"id": f"python-{next(self._numbers)}", **order})

    def _take(self, given: dict[str, Any]) -> Order:
        """Put an order in the queue, once."""
        with self._writing:
            self._seen.add(given["id"])
            self._errors.clear()
            order = Order(
                given["id"], Slot(self, f"order {given['id']}"), given.get("op") == "edit"
            )
            try:
                order.command = read_order(given, self.suggestion)
            except Exception as error:
                order.error = error
                self._order_ended(order)
                return order
            self._open[order.id] = order
            job = Job(
                order,
                partial(carry_out, self._engine),
                on_started=self._order_started,
                on_progress=self._stepped,
                on_done=self._order_ended,
                on_failed=self._order_failed,
                latest=False,
                needed=not order.is_edit,
            )
            self._worker.submit(order.slot, job)  # First: an observer may raise.
            self._write(error=None, progress=0.0)
            if self.status != "running":
                self.status = "queued"
            return order

    def _order_started(self, order: Order) -> None:
        self._at_work = order
        self._write(status="running", progress=0.0)
        if order.is_edit:
            self.steps = []

    def _stepped(self, order: Order, progress: EditProgress) -> None:
        self._write(steps=list(order.steps), progress=progress.done / max(1, progress.total))

    def _order_ended(self, order: Order, nothing: None = None) -> None:
        order.ended, done, history = True, order.status == "done", order.history
        changed = done or (history is not None and history.records != self.records)
        self._open.pop(order.id, None)
        with self.hold_sync():
            try:
                if order.steps:
                    self.steps = list(order.steps)
                self.progress = 1.0 if done else self.progress
                if order.status == "error" and order.error is not None:
                    self._report("edit" if order.is_edit else "order", describe_error(order.error))
                if history is not None:
                    self._show_history(history)
                if order.made is not None:
                    self.selected = order.made.id
                if done:
                    self.trail = []  # It was made of other weights.
            finally:  # Also where an observer of the user's raises.
                if changed:
                    self._ask_for_rows()
                    self._ask_about_target()
                self._acks = [*self._acks, order.id][-KEPT_ACKS:]
                self.status = "queued" if self._open else order.status

    def _order_failed(self, order: Order, error: Exception) -> None:
        """Something besides the engine: an observer of the user's, before its end or after."""
        if order.ended:
            self._show_failed(error)
        else:
            order.error = error
            self._order_ended(order)

    def _show_failed(self, error: BaseException) -> None:
        super()._show_failed(error)
        self._refresh()

    def _show_history(self, history: EditHistory) -> None:
        """Show the history as the engine has it."""
        self._records = {record.id: record for record in history.records}
        with self.hold_sync():
            self.edits = [describe_record(record) for record in history.records]
            self.ledger = dict(vars(history.state))
            if self.selected not in self._records:
                self.selected = history.records[-1].id if history.records else ""

    def _refresh(self) -> None:
        job = Job(
            None,
            plainly(partial(look, self._engine)),
            on_done=self._refreshed,
            on_failed=self._looking_failed,
            latest=False,
        )
        self._submit("refresh", job)

    def _refreshed(self, asked: None, history: EditHistory) -> None:
        self._show_history(history)
        self.trail = []
        if self._watched:
            self._ask_for_rows()
            self._ask_about_target()

    def _watched_again(self) -> None:
        self._refresh()

    def _strengths_started(self, strengths: Strengths) -> None:
        self._at_work = strengths
        strengths.wanted, self._wanted = self._wanted, {}
        strengths.comparison.edit = self.selected
        self._comparison_started(strengths.comparison)

    def _strengths_set(self, strengths: Strengths, history: EditHistory) -> None:
        self._settle("strength")
        self._show_history(history)
        if not set(strengths.wanted) <= {strengths.comparison.edit}:
            self.trail = []  # What is shown was measured beside its former strength.
            self._ask_for_rows()

    def _strengths_compared(self, strengths: Strengths, rows: list[dict[str, Any]]) -> None:
        self._compared(strengths.comparison, rows)
        if strengths.failed is not None:
            self._strengths_refused(strengths, strengths.failed)

    def _strengths_refused(self, strengths: Strengths, error: Exception) -> None:
        with self.hold_sync():
            self.edits = list(self.edits)  # The slider goes back to what holds.
            self.send_state("edits")
            self._report("strength", describe_error(error))

    def _ask_for_rows(self) -> None:
        job = Job(
            ComparedEdit(self.selected),
            partial(_compare, self._engine),
            on_started=self._comparison_started,
            on_progress=self._compared,
            on_done=self._measured,
            on_failed=self._looking_failed,
        )
        self._submit("compare", job)

    def _comparison_started(self, comparison: ComparedEdit) -> None:
        if (record := self._records.get(comparison.edit)) is not None:
            comparison.request = record.request
            comparison.tests = [TestPrompt(**test) for test in self.tests]

    def _compared(self, comparison: ComparedEdit, rows: list[dict[str, Any]]) -> None:
        if comparison.edit != self.selected:
            return
        with self.hold_sync():
            self._settle("compare")
            self.rows = rows
            record = self._records.get(comparison.edit)
            if record is None or not record.applied or not rows or rows[0]["message"]:
                return
            now = [float(record.strength), rows[0]["after"]["target"], rows[0]["after"]["true"]]
            self.trail = _joined(self.trail, [now])
            measured = {point[0] for point in self.trail}
            comparison.missing = [each for each in STRENGTHS if each not in measured]

    def _measured(self, comparison: ComparedEdit, points: list[list[float | None]]) -> None:
        if comparison.edit == self.selected:
            self.trail = _joined(self.trail, points)

    def _looking_failed(self, comparison: ComparedEdit | None, error: Exception) -> None:
        self._report("compare" if comparison else "refresh", describe_error(error))

    def _suggest_failed(self, request: EditRequest, error: Exception) -> None:
        self._report("suggest", describe_error(error))
        self.suggestion = {}

    def to_text(self) -> str:
        """The history and what it did, line by line."""
        return fallback.edits_text(type(self).__name__, self.edits, self.rows, self.ledger)

    def to_html_table(self) -> str:
        """The history and the predictions before and after as tables, all text escaped."""
        return fallback.edits_table(self.engine["model"], self.edits, self.rows, self.ledger)

    def _still(self) -> str:
        return fallback.still_edits(self.engine["model"], self.edits, self.rows, self.ledger)


def _read_form(
    prompt: str | Fact | Mapping[str, Any], subject: str, target: str, true_object: str | None
) -> dict[str, Any]:
    """Template, subject, new object, and the true object, which a record may name."""
    if isinstance(prompt, str) and not (prompt and subject):
        values = prompt or "{}", subject, target, true_object or None
    else:
        fact = read_fact(prompt, subject, target)
        values = fact.template, fact.subject, fact.target or "", true_object or fact.true_object
    return dict(zip(FORM, values, strict=False))


def _cut_out(trace: CausalTrace) -> tuple[str, str]:
    """The template and the subject of a traced fact; of several places of it the one traced."""
    read = "".join(trace.tokens[: trace.subject_span[0]])
    begins = len(read) - max(0, len("".join(trace.tokens)) - len(trace.prompt))
    places = [at for at in range(len(trace.prompt)) if trace.prompt.startswith(trace.subject, at)]
    place = min(places, key=lambda at: abs(at - begins), default=0)
    rest = trace.prompt[place + len(trace.subject) :]
    return f"{trace.prompt[:place]}{{}}{rest}", trace.subject


def _compare(
    engine: EditEngine, comparison: ComparedEdit, progress: Tell[Any], stop: Stop
) -> list[list[float | None]]:
    """The rows first, then what other strengths of the edit would lead to."""
    progress(rows_of(engine, comparison))
    if stop() or not comparison.missing:
        return []
    outcomes = engine.at_strengths(comparison.edit, comparison.missing)
    return [
        [strength, number(each.target), number(each.true)]
        for strength, each in zip(comparison.missing, outcomes, strict=True)
    ]


def _joined(*trails: list[list[float | None]]) -> list[list[float | None]]:
    """One point per strength, of several the last, sorted."""
    points: dict[Any, list[float | None]] = {each[0]: each for trail in trails for each in trail}
    return [points[at] for at in sorted(points)]
