"""Orders of an edit panel, which change the model, and comparisons of what they did."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rome_widgets.errors import Cancelled, RomeWidgetsError, StateError, said
from rome_widgets.records.arguments import text, truth
from rome_widgets.records.edit import EditProgress
from rome_widgets.widgets.edit.edit_rows import describe_change, no_change, read_request
from rome_widgets.widgets.edit.engine import (
    EditEngine,
    EditRecord,
    EditRequest,
    ModelState,
    TestPrompt,
)
from rome_widgets.widgets.live.engine import Stop, Tell
from rome_widgets.widgets.live.job import log_unexpected
from rome_widgets.widgets.live.live_widget import Slot, describe_error
from rome_widgets.widgets.live.traits import number

Command = Callable[[EditEngine, Tell[EditProgress], Stop], "EditRecord | None"]
"""What an order does to a model; an edit returns its record."""


@dataclass(frozen=True)
class EditHistory:
    """The engine's history and its own account of the weights."""

    records: list[EditRecord]
    state: ModelState


@dataclass(eq=False)
class Order:
    """An order from the moment it is given until it has ended; whoever waits for it holds it."""

    id: str
    slot: Slot
    is_edit: bool
    command: Command | None = None
    """None where it asks for nothing that can be done."""
    changing: bool = False
    """It is at work on the model: the history is looked at when it has done."""
    steps: list[list[float | None]] = field(default_factory=list)
    """Loss, nll, kl, probability and norm of each step of an optimisation."""
    ended: bool = False
    history: EditHistory | None = None
    """As it was afterwards, where it could be read."""
    made: EditRecord | None = None
    error: BaseException | None = None

    @property
    def status(self) -> str:
        """How it ended, as the panel's trait says it."""
        if self.error is None:
            return "done"
        return "cancelled" if isinstance(self.error, Cancelled) else "error"


@dataclass(eq=False)
class ComparedEdit:
    """Before and after of one edit, asked for by its id; the rest is found when it starts."""

    edit: str
    request: EditRequest | None = None
    """None: there is no such edit."""
    tests: Sequence[TestPrompt] = ()
    """Of the user's own."""
    missing: Sequence[float] = ()
    """Strengths to be measured after the rows."""


@dataclass(eq=False)
class Strengths:
    """Strengths to set, by edit, and the comparison of the selected edit that follows."""

    wanted: Mapping[str, float] = field(default_factory=dict)
    comparison: ComparedEdit = field(default_factory=lambda: ComparedEdit(""))
    changing: bool = False
    failed: Exception | None = None
    """Why the last of those that could not be set could not."""


def read_order(order: dict[str, Any], suggestion: dict[str, Any]) -> Command:
    """What an order asks for; at the suggested layer, an edit has the suggestion's reason."""
    if order.get("op") == "edit":
        request, first = read_request(order.get("request", {})), order.get("first")
        if request.layer is not None and request.layer == suggestion.get("layer"):
            request = replace(request, layer_reason=suggestion["reason"])
        if first is not None and not (isinstance(first, str) and first in ("on_top", "revert_all")):
            raise RomeWidgetsError(
                f"No order {said(first)} before an edit.", "on_top, revert_all, or none."
            )

        def edit(engine: EditEngine, progress: Tell[EditProgress], stop: Stop) -> EditRecord:
            if first == "revert_all":
                engine.revert_all()
            elif first is None:
                _refuse_twice(engine, request)
            return engine.edit(request, progress, stop)

        return edit
    if order.get("op") == "applied":
        name, applied = text(order.get("edit"), "edit"), truth(order.get("applied"), "applied")
        return lambda engine, progress, stop: engine.set_applied(name, applied)
    if order.get("op") == "revert_all":
        return lambda engine, progress, stop: engine.revert_all()
    raise RomeWidgetsError(f"No order {said(order.get('op'))}.", "edit, applied or revert_all.")


def _refuse_twice(engine: EditEngine, request: EditRequest) -> None:
    """Of a fact that is written already, another edit would stack unseen."""
    fact = request.prompt, request.target.strip()
    for record in engine.records():
        if record.applied and (record.request.prompt, record.request.target.strip()) == fact:
            raise StateError(
                f"Already applied: “{fact[0]}” → “{fact[1]}”.",
                "A fact that no applied edit writes was wanted.",
                "Revert that edit first, or say that this one goes on top: Edit on top, or "
                "panel.apply(first='on_top').",
            )


def carry_out(engine: EditEngine, order: Order, progress: Tell[EditProgress], stop: Stop) -> None:
    """Do what an order asks for, and look at the history whatever came of it."""

    def told(step: EditProgress) -> None:
        if (row := step.step) is not None:
            values = (row.loss, row.nll, row.kl, row.probability, row.norm)
            order.steps.append([number(value) for value in values])
        progress(step)

    assert order.command is not None
    order.changing = True
    order.made, order.error = _attempt(order.command, engine, told, stop)
    order.changing = False
    order.history, failed = _attempt(look, engine)
    order.error = order.error or failed
    if order.made is not None and order.history is not None:
        now = {record.id: record for record in order.history.records}
        order.made = now.get(order.made.id, order.made)


def _attempt(call: Callable[..., Any], *given: Any) -> tuple[Any, Exception | None]:
    """What a call returns, or the error that it raises."""
    try:
        return call(*given), None
    except Exception as error:
        log_unexpected(error)
        return None, error


def set_strengths(
    engine: EditEngine, strengths: Strengths, progress: Tell[EditHistory], stop: Stop
) -> list[dict[str, Any]]:
    """Set them one by one, tell the history, and compare; one that cannot be set loses no other."""
    strengths.changing = True
    for edit, strength in strengths.wanted.items():
        _, failed = _attempt(engine.set_strength, edit, strength)
        strengths.failed = failed or strengths.failed
    strengths.changing = False
    progress(look(engine))
    return rows_of(engine, strengths.comparison)


def look(engine: EditEngine) -> EditHistory:
    """The history as it is."""
    return EditHistory(list(engine.records()), engine.state())


def rows_of(engine: EditEngine, comparison: ComparedEdit) -> list[dict[str, Any]]:
    """One row per prompt: those that are known of the edit, and the user's own."""
    request = comparison.request
    if request is None:
        return []
    own = TestPrompt(request.prompt, "rewrite")
    prompts = [own, *engine.tests(request), *comparison.tests]
    in_effect = _in_effect(engine, comparison.edit)
    try:
        changes = engine.compare(request, prompts)
    except Exception:
        return _rows_one_by_one(engine, request, prompts, in_effect)
    return [describe_change(change, request, in_effect) for change in changes]


def _in_effect(engine: EditEngine, edit: str) -> bool:
    """Whether the weights hold an edit now, with a strength that is not 0."""
    return any(
        record.applied and record.strength != 0 for record in engine.records() if record.id == edit
    )


def _rows_one_by_one(
    engine: EditEngine, request: EditRequest, prompts: Sequence[TestPrompt], in_effect: bool
) -> list[dict[str, Any]]:
    """A prompt that cannot be run must not keep the others from it; it has a row that says why."""
    rows, failed = [], None
    for prompt in prompts:
        changes, error = _attempt(engine.compare, request, [prompt])
        if error is None:
            rows.append(describe_change(changes[0], request, in_effect))
        else:
            rows.append(no_change(prompt, describe_error(failed := error)["message"]))
    if failed is not None and all(row["message"] for row in rows):
        raise failed
    return rows
