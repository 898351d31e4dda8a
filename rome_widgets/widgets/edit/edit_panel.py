"""The editing widget: write a fact into the model, see what it did, take it back."""

from __future__ import annotations

import logging
import math
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import traitlets as t

from rome_widgets.errors import Cancelled, RomeWidgetsError
from rome_widgets.records.edit import EditProgress
from rome_widgets.widgets import fallback
from rome_widgets.widgets.edit.edit_rows import (
    describe_change,
    describe_record,
    describe_request,
    no_change,
    read_request,
    read_tests,
)
from rome_widgets.widgets.edit.engine import (
    EditingEngine,
    EditRecord,
    EditRequest,
    ModelState,
    TestPrompt,
)
from rome_widgets.widgets.live.base import bundle
from rome_widgets.widgets.live.edit_events import announce_edits
from rome_widgets.widgets.live.live_widget import PROGRESS_EVERY, LiveWidget, Slot, describe_error
from rome_widgets.widgets.live.traits import number, text
from rome_widgets.widgets.live.worker import Job, Worker, worker_for

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
        engine: The model, as `protocol.EditingEngine` describes it.
        template: Text with one `{}` where the subject stands.
        subject: Who or what the fact is about.
        target: The new object.
        true_object: The object that the model is believed to hold now.
        method: One of the engine's methods; its first if not given.
        layer: Where to edit; None lets the engine choose.
        settings: Numbers that differ from the method's defaults.
        tests: Prompts to compare besides the edit's own: texts, or dicts with text and group.
        worker: Where to compute; one per engine if not given.

    Example:
        >>> panel = rw.EditPanel(lm, "{} is in the city of", "The Space Needle", "Paris")
        >>> edit = panel.apply(wait=True)
        >>> panel.set_strength(edit.id, 0.5)
        >>> panel.revert(edit.id)
    """

    _esm, _css = bundle("edit")
    _view = t.Unicode("edit").tag(sync=True)
    _answers = "rows"
    engine = t.Dict().tag(sync=True)
    """Name and depth of the model, its methods with title and defaults, and examples."""
    template = t.Unicode("{}").tag(sync=True)
    subject = t.Unicode("").tag(sync=True)
    target = t.Unicode("").tag(sync=True)
    true_object = t.Unicode(None, allow_none=True).tag(sync=True)
    method = t.Unicode("").tag(sync=True)
    layer = t.Int(None, allow_none=True, min=0).tag(sync=True)
    settings = t.Dict().tag(sync=True)
    """Numbers that differ from the method's defaults."""
    suggestion = t.Dict().tag(sync=True)
    """A layer and the reason for it; `{"waiting": True}` while a trace looks for it."""
    steps = t.List().tag(sync=True)
    """Loss, nll, kl, probability and norm of each step of the last optimisation."""
    edits = t.List().tag(sync=True)
    """The history, oldest first."""
    selected = t.Unicode("").tag(sync=True)
    """Id of the edit whose strength and predictions are shown."""
    ledger = t.Dict().tag(sync=True)
    """How many edits are active, and whether the weights agree with that."""
    tests = t.List().tag(sync=True)
    """Further prompts to compare: text, group, target and true object."""
    rows = t.List().tag(sync=True)
    """Before and after, one row per prompt."""
    trail = t.List().tag(sync=True)
    """Strength, p(target), p(true object), measured ahead and wherever the slider was; sorted."""
    _orders = t.List().tag(sync=True, echo_update=False)
    """Orders of the page that were not acked yet, each `{id, op, ...}`."""
    _acks = t.List().tag(sync=True)
    """Ids of orders that have ended."""
    _strengths = t.Dict().tag(sync=True, echo_update=False)
    """What the page's sliders say: `{edit: [count, strength]}`; the latest of each edit wins."""

    def __init__(
        self,
        engine: EditingEngine,
        template: str = "{}",
        subject: str = "",
        target: str = "",
        *,
        true_object: str | None = None,
        method: str | None = None,
        layer: int | None = None,
        settings: Mapping[str, float] | None = None,
        tests: Any = (),
        worker: Worker | None = None,
        **kwargs: Any,
    ) -> None:
        self._engine = engine
        self._seen: set[str] = set()
        self._open: dict[str, Slot] = {}
        """Orders under way and their places at the worker."""
        self._edits_open: set[str] = set()
        self._wanted: dict[str, float] = {}
        self._records: dict[str, EditRecord] = {}
        self._ends: dict[str, _End] = {}
        """What will have become of orders given in Python."""
        self._counted = 0
        self._slots = {
            name: Slot(self, name) for name in ("strength", "compare", "refresh", "suggest")
        }
        super().__init__(
            worker=worker or worker_for(engine, engine.model_name),
            engine={
                "model": text(engine.model_name),
                "n_layers": engine.n_layers,
                "methods": {name: dict(each) for name, each in engine.methods.items()},
                "examples": [describe_request(each) for each in engine.examples],
            },
            template=template,
            subject=subject,
            target=target,
            true_object=true_object,
            method=method or next(iter(engine.methods)),
            layer=layer,
            settings=dict(settings or {}),
            tests=list(tests),
            **kwargs,
        )
        for name in ("compare", "refresh", "suggest"):
            end = weakref.finalize(self, self._worker.cancel, self._slots[name])
            end.atexit = False
        self._refresh()

    @property
    def request(self) -> EditRequest:
        """What the form says now."""
        return EditRequest(**{name: getattr(self, name) for name in FORM})

    @property
    def records(self) -> list[EditRecord]:
        """The history, oldest first."""
        return list(self._records.values())

    def apply(self, wait: bool = False) -> EditRecord | None:
        """Compute the edit that the form describes and apply it.

        Args:
            wait: Return when it is done. Ctrl-C then cancels it, and its error is raised.

        Returns:
            The edit when waited for, else None.

        Raises:
            Cancelled: The edit waited for was cancelled.
        """
        self._refuse_to_wait(wait)
        end = self._order(op="edit", request=describe_request(self.request))
        if not wait:
            return None
        try:
            self.wait()
        except KeyboardInterrupt:
            self.cancel()
            raise
        if end.error is not None:
            raise end.error
        return end.made

    def revert(self, edit: str) -> None:
        """Take one edit out; the others stay."""
        self.set_applied(edit, False)

    def set_applied(self, edit: str, applied: bool) -> None:
        """Apply or revert an edit of the history."""
        self._order(op="applied", edit=edit, applied=applied)

    def revert_all(self) -> None:
        """Back to the weights as they were loaded; the history stays."""
        self._order(op="revert_all")

    def set_strength(self, edit: str, strength: float) -> None:
        """Scale an edit; of several waiting strengths of one edit the latest counts."""
        if not 0 <= strength <= MOST_STRENGTH:
            raise ValueError(f"A strength is between 0 and {MOST_STRENGTH}, not {strength!r}.")
        with self._writing:
            self._wanted[edit] = float(strength)
            self._worker.submit(self._slots["strength"], _strength_job(self))

    def suggest_layer(self) -> None:
        """Ask for the layer that a trace of the form's fact points to; it fills `layer`."""
        with self._writing:
            try:
                request = read_request(vars(self.request))
            except RomeWidgetsError as error:
                self._report("form", describe_error(error))
                return
            self.suggestion = {"waiting": True}
            self._worker.submit(self._slots["suggest"], _suggest_job(self, request))

    def cancel(self) -> None:
        """Stop edits that are being computed or waiting, and the search for a layer."""
        with self._writing:
            for order in list(self._edits_open):
                if self._worker.cancel(self._open[order]):  # It never started.
                    self._order_ended(order, "cancelled", Cancelled("The edit was cancelled."))
            if self._worker.cancel(self._slots["suggest"]):
                self.suggestion = {}

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until everything asked for is done and compared.

        Returns:
            False when `timeout` seconds passed first.
        """
        self._refuse_to_wait()
        with self._writing:
            slots = [*self._open.values(), *self._slots.values()]
        return self._worker.wait(slots, timeout)

    def close(self) -> None:
        """Cancel what is being computed and close the page's end; applied edits stay."""
        if getattr(self, "_slots", None):  # ipywidgets closes half-built widgets, too.
            self.cancel()
            for name in ("compare", "refresh"):
                self._worker.cancel(self._slots[name])
        super().close()

    # What the page may send.

    @t.validate("method")
    def _check_method(self, proposal: dict) -> str:
        if proposal["value"] not in self._engine.methods:
            known = ", ".join(self._engine.methods)
            raise t.TraitError(f"No method {proposal['value']!r}; there are {known}.")
        return proposal["value"]

    @t.validate("layer")
    def _check_layer(self, proposal: dict) -> int | None:
        layer, depth = proposal["value"], self._engine.n_layers
        if layer is not None and layer >= depth:
            raise t.TraitError(f"No layer {layer}; the last is {depth - 1}.")
        return layer

    @t.validate("settings")
    def _check_settings(self, proposal: dict) -> dict[str, float]:
        for name, value in proposal["value"].items():
            if not isinstance(value, (int, float)) or not math.isfinite(value):
                raise t.TraitError(f"The setting {name!r} is a number, not {value!r}.")
        return dict(proposal["value"])

    @t.validate("tests")
    def _check_tests(self, proposal: dict) -> list[dict[str, Any]]:
        return read_tests(proposal["value"])

    @t.observe(*FORM)
    def _form_changed(self, change: dict) -> None:
        self._settle("form")

    @t.observe("tests", "selected")
    def _looking_elsewhere(self, change: dict) -> None:
        if change["name"] == "selected":
            self.trail = []
        if self.edits:
            self._ask_for_rows()

    @t.observe("_request")
    def _requested(self, change: dict) -> None:
        if (change["new"] or {}).get("op") == "suggest":
            self.suggest_layer()

    @t.observe("_orders")
    def _ordered(self, change: dict) -> None:
        for order in change["new"]:
            if order["id"] not in self._seen:
                self._take(order)

    @t.observe("_strengths")
    def _slid(self, change: dict) -> None:
        for edit, (count, strength) in change["new"].items():
            if [count, strength] != change["old"].get(edit) and edit in self._records:
                self.set_strength(edit, min(MOST_STRENGTH, max(0.0, strength)))

    def _model_edited(self, count: int, by_me: bool) -> None:
        super()._model_edited(count, by_me)
        if not by_me:
            self._refresh()

    # Orders.

    def _order(self, **order: Any) -> _End:
        with self._writing:
            self._counted += 1
            name = f"python-{self._counted}"
            end = self._ends[name] = _End()
            self._take({"id": name, **order})
        return end

    def _take(self, order: dict[str, Any]) -> None:
        """Put an order in the queue, once."""
        with self._writing:
            self._seen.add(order["id"])
            self._errors.clear()
            if order.get("op") == "edit":
                self._edits_open.add(order["id"])
            try:
                deed = _deed(order, self.suggestion)
            except Exception as error:
                self._order_ended(order["id"], "error", error)
                return
            slot = self._open[order["id"]] = Slot(self, f"order {order['id']}")
            self._worker.submit(slot, _order_job(self, order["id"], deed))  # An observer may raise.
            self._write(error=None, progress=0.0)
            if self.status != "running":
                self.status = "queued"

    # What the jobs call, on the worker's thread, one at a time and with the writing lock held.

    def _order_started(self, order: str) -> None:
        self._write(status="running", progress=0.0)
        if order in self._edits_open:
            self.steps = []

    def _stepped(self, steps: list[list[float | None]], progress: float) -> None:
        self._write(steps=steps, progress=progress)

    def _order_ended(
        self,
        order: str,
        status: str,
        error: BaseException | None,
        found: _Found | None = None,
        made: EditRecord | None = None,
    ) -> None:
        cause = "edit" if order in self._edits_open else "order"
        changed = status == "done" or (found is not None and found.records != self.records)
        self._open.pop(order, None)
        self._edits_open.discard(order)
        if made is not None and found is not None:
            made = next((each for each in found.records if each.id == made.id), made)
        if (end := self._ends.pop(order, None)) is not None:
            end.made, end.error = made, error
        with self.hold_sync():
            try:
                self.progress = 1.0 if status == "done" else self.progress
                if status == "error" and error is not None:
                    self._report(cause, describe_error(error))
                if found is not None:
                    self._found(found)
                if made is not None:
                    self.selected = made.id
                if status == "done":
                    self.trail = []  # It was made of other weights.
            finally:  # Also where an observer of the user's raises.
                if changed:
                    self._ask_for_rows()
                self._acks = [*self._acks, order][-KEPT_ACKS:]
                self.status = "queued" if self._open else status

    def _show_failed(self, error: BaseException) -> None:
        super()._show_failed(error)
        self._refresh()

    def _found(self, found: _Found) -> None:
        """Show the history as the engine has it."""
        self._records = {record.id: record for record in found.records}
        with self.hold_sync():
            self.edits = [describe_record(record) for record in found.records]
            self.ledger = dict(vars(found.state))
            self.edited = found.state.n_active
            if self.selected not in self._records:
                self.selected = found.records[-1].id if found.records else ""

    def _refreshed(self, found: _Found) -> None:
        self._found(found)
        self.trail = []
        self._ask_for_rows()

    def _strength_set(self, found: _Found, another: bool) -> None:
        self._settle("strength")
        self._found(found)
        if another:  # What is shown was measured beside its former strength.
            self.trail = []
            self._ask_for_rows()

    def _strength_refused(self, error: BaseException) -> None:
        with self.hold_sync():
            self.edits = list(self.edits)  # The slider goes back to what holds.
            self.send_state("edits")
            self._report("strength", describe_error(error))

    def _compared(self, edit: str, rows: list[dict[str, Any]]) -> None:
        if edit != self.selected:
            return
        with self.hold_sync():
            self._settle("compare")
            self.rows = rows
            self.trail = self._longer_trail(edit, rows)

    def _longer_trail(self, edit: str, rows: list[dict[str, Any]]) -> list[list[float | None]]:
        record = self._records.get(edit)
        if record is None or not record.applied or not rows or rows[0]["group"] != "rewrite":
            return self.trail
        if rows[0]["message"]:
            return self.trail
        now = [float(record.strength), rows[0]["after"]["target"], rows[0]["after"]["true"]]
        return _joined(self.trail, [now])

    def _measured(self, edit: str, points: list[list[float | None]]) -> None:
        if edit == self.selected:
            self.trail = _joined(self.trail, points)

    def _follow_up_failed(self, cause: str, error: BaseException) -> None:
        self._report(cause, describe_error(error))
        if cause == "suggest":
            self.suggestion = {}

    def _suggested(self, layer: int | None, reason: str) -> None:
        if layer is None:
            self.suggestion = {}
            return
        with self.hold_sync():
            self.layer = layer
            self.suggestion = {"layer": layer, "reason": text(reason)}

    def _refresh(self) -> None:
        self._worker.submit(self._slots["refresh"], _refresh_job(self))

    def _ask_for_rows(self) -> None:
        self._worker.submit(self._slots["compare"], _compare_job(self))

    def to_text(self) -> str:
        """The history and what it did, line by line."""
        return fallback.edits_text(type(self).__name__, self.edits, self.rows, self.ledger)

    def to_html_table(self) -> str:
        """The history and the predictions before and after as tables, all text escaped."""
        return fallback.edits_table(self.engine["model"], self.edits, self.rows, self.ledger)


def _joined(*trails: list[list[float | None]]) -> list[list[float | None]]:
    """One point per strength, of several the last, sorted."""
    points: dict[Any, list[float | None]] = {each[0]: each for trail in trails for each in trail}
    return [points[at] for at in sorted(points)]


@dataclass
class _End:
    """What became of an order, for whoever waits for it."""

    made: EditRecord | None = None
    error: BaseException | None = None


@dataclass(frozen=True)
class _Found:
    """The engine's history and its own account of the weights."""

    records: list[EditRecord]
    state: ModelState


Deed = Callable[
    [EditingEngine, Callable[[EditProgress], None], Callable[[], bool]], "EditRecord | None"
]
"""What an order does to a model; an edit returns its record."""


def _deed(order: dict[str, Any], suggestion: dict[str, Any]) -> Deed:
    """What an order asks for. An edit at the suggested layer is made for the suggestion's reason.

    Raises:
        RomeWidgetsError: It asks for nothing that can be done.
    """
    if order.get("op") == "edit":
        request, first = read_request(order["request"]), order.get("first")
        if request.layer is not None and request.layer == suggestion.get("layer"):
            request = replace(request, layer_reason=suggestion["reason"])
        if first not in (None, "revert_all"):
            raise RomeWidgetsError(f"No order {first!r} before an edit.", "revert_all, or none.")

        def deed(
            engine: EditingEngine,
            progress: Callable[[EditProgress], None],
            cancelled: Callable[[], bool],
        ) -> EditRecord:
            if first is not None:
                engine.revert_all()
            return engine.edit(request, progress, cancelled)

        return deed
    if order.get("op") == "applied":
        edit, applied = str(order["edit"]), bool(order["applied"])
        return lambda engine, progress, cancelled: engine.set_applied(edit, applied)
    if order.get("op") == "revert_all":
        return lambda engine, progress, cancelled: engine.revert_all()
    raise RomeWidgetsError(f"No order {order.get('op')!r}.", "edit, applied or revert_all.")


class _Teller:
    """Writes to a panel that may be gone. Holds it only while it writes."""

    def __init__(self, panel: EditPanel) -> None:
        self.panel = weakref.ref(panel)
        self.engine = panel._engine
        self.worker = panel._worker

    def tell(self, method: str, *args: Any) -> None:
        if (panel := self.panel()) is not None:
            with panel._writing:
                getattr(panel, method)(*args)

    def look(self) -> _Found:
        """The history as it is."""
        return _Found(list(self.engine.records()), self.engine.state())

    def look_and_announce(self) -> _Found:
        """The same after a change: every widget of the model hears of it."""
        found = self.look()
        announce_edits(self.worker, found.state.n_active, self.panel())
        return found

    def rows(self, edit: str) -> list[dict[str, Any]]:
        """Before and after for one edit of the history."""
        panel = self.panel()
        record = panel._records.get(edit) if panel is not None else None
        if panel is None or record is None:
            return []
        request = record.request
        prompts = [
            TestPrompt(request.prompt, "rewrite"),
            *self.engine.tests(request),
            *(TestPrompt(**test) for test in panel.tests),
        ]
        try:
            changes = self.engine.compare(request, prompts)
        except Exception:
            return self._rows_one_by_one(request, prompts)
        return [describe_change(change, request) for change in changes]

    def points(self, edit: str, rows: list[dict[str, Any]]) -> list[list[float | None]]:
        """The trail where it has no point yet; a reverted edit has none."""
        panel = self.panel()
        record = panel._records.get(edit) if panel is not None else None
        if panel is None or record is None or not record.applied or rows[0]["message"]:
            return []
        known = {point[0] for point in panel.trail}
        missing = [strength for strength in STRENGTHS if strength not in known]
        del panel  # It may go while the model runs.
        outcomes = self.engine.at_strengths(edit, missing) if missing else ()
        return [
            [strength, number(each.target), number(each.true)]
            for strength, each in zip(missing, outcomes, strict=True)
        ]

    def _rows_one_by_one(
        self, request: EditRequest, prompts: Sequence[TestPrompt]
    ) -> list[dict[str, Any]]:
        """A prompt that cannot be run must not keep the others from it; it has a row that says why.

        Raises:
            Exception: None can be run.
        """
        rows, failed = [], None
        for prompt in prompts:
            try:
                (change,) = self.engine.compare(request, [prompt])
                rows.append(describe_change(change, request))
            except Exception as error:
                _log(error, "A prompt could not be compared")
                failed = error
                rows.append(no_change(prompt, describe_error(error)["message"]))
        if failed is not None and all(row["message"] for row in rows):
            raise failed
        return rows


def _order_job(panel: EditPanel, order: str, deed: Deed) -> Job:
    """An order as the worker runs it."""
    to = _Teller(panel)

    def job(cancelled: Callable[[], bool]) -> None:
        made, error, found, status = None, None, None, "done"
        show = _Steps(to)
        try:
            to.tell("_order_started", order)
            made = deed(to.engine, show, lambda: cancelled() or to.panel() is None)
            show.flush()
        except Cancelled as stopped:
            error, status = stopped, "cancelled"
        except Exception as raised:
            error, status = raised, "error"
            _log(raised, "An order of an edit panel failed")
        try:
            found = to.look_and_announce()
        except Exception as raised:
            error, status = error or raised, "error"
            _log(raised, "The history could not be read")
        try:
            to.tell("_order_ended", order, status, error, found, made)
        except Exception as raised:  # An observer of the user's; the order must still end.
            _log(raised, "Showing the end of an order failed")
            to.tell("_show_failed", raised)

    return job


class _Steps:
    """Collects an optimisation's steps and shows them ten times a second at most."""

    def __init__(self, to: _Teller) -> None:
        self._to = to
        self._rows: list[list[float | None]] = []
        self._share = 0.0
        self._last = -math.inf

    def __call__(self, progress: EditProgress) -> None:
        if (step := progress.step) is not None:
            row = (step.loss, step.nll, step.kl, step.probability, step.norm)
            self._rows.append([number(value) for value in row])
        self._share = progress.done / max(1, progress.total)
        if time.monotonic() - self._last >= PROGRESS_EVERY:
            self.flush()

    def flush(self) -> None:
        """Show what has come."""
        self._last = time.monotonic()
        self._to.tell("_stepped", list(self._rows), self._share)


def _strength_job(panel: EditPanel) -> Job:
    """Sets the strengths that are wanted when it starts, and shows what they lead to."""
    to = _Teller(panel)

    def job(cancelled: Callable[[], bool]) -> None:
        if (panel := to.panel()) is None:
            return
        with panel._writing:
            wanted, panel._wanted = panel._wanted, {}
            edit = panel.selected
        del panel
        failed: Exception | None = None
        for name, strength in wanted.items():
            try:
                to.engine.set_strength(name, strength)
            except Exception as error:
                _log(error, "A strength could not be set")
                failed = error
        try:
            to.tell("_strength_set", to.look_and_announce(), not set(wanted) <= {edit})
            # Even when superseded: predictions follow a slider that does not rest.
            to.tell("_compared", edit, to.rows(edit))
        except Exception as error:
            _log(error, "What a strength led to could not be shown")
            failed = failed or error
        if failed is not None:
            to.tell("_strength_refused", failed)

    return job


def _refresh_job(panel: EditPanel) -> Job:
    to = _Teller(panel)

    def job(cancelled: Callable[[], bool]) -> None:
        try:
            found = to.look()
            panel = to.panel()
            if panel is not None and panel.edited != found.state.n_active:  # Else it never ends.
                announce_edits(to.worker, found.state.n_active, panel)
            del panel
            to.tell("_refreshed", found)
        except Exception as error:
            _log(error, "The history could not be read")
            to.tell("_follow_up_failed", "refresh", error)

    return job


def _compare_job(panel: EditPanel) -> Job:
    to, edit = _Teller(panel), panel.selected

    def job(cancelled: Callable[[], bool]) -> None:
        try:
            rows = to.rows(edit)
            if not cancelled():
                to.tell("_compared", edit, rows)
            if rows and not cancelled():
                to.tell("_measured", edit, to.points(edit, rows))
        except Exception as error:
            _log(error, "Before and after could not be compared")
            to.tell("_follow_up_failed", "compare", error)

    return job


def _suggest_job(panel: EditPanel, request: EditRequest) -> Job:
    to = _Teller(panel)

    def job(cancelled: Callable[[], bool]) -> None:
        try:
            layer, reason = to.engine.suggest_layer(
                request, lambda: cancelled() or to.panel() is None
            )
        except Cancelled:
            to.tell("_suggested", None, "")
        except Exception as error:
            _log(error, "No layer could be suggested")
            to.tell("_follow_up_failed", "suggest", error)
        else:
            to.tell("_suggested", layer, reason)

    return job


def _log(error: BaseException, what: str) -> None:
    if not isinstance(error, RomeWidgetsError):
        logger.error(what, exc_info=error)
