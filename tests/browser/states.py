"""Every state that a widget can be seen in, one line each; made with the models of `tests/widgets`.

`test_gallery.py` shows each, in light and in dark, wide and narrow. A new state is a line in
`STATES`: its name, what makes the widget, a text or `[attribute]` by which the page shows that it
is there, and what a person does to get there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from playwright.sync_api import expect

from rome_widgets.errors import RomeWidgetsError, StatisticsMissing, UnsupportedModel
from rome_widgets.widgets import (
    EditPanel,
    GenerationCompare,
    PredictionCompare,
    SweepChart,
    TraceExplorer,
    TraceGrid,
)
from tests.helpers.fake_editor import FUJI, NEEDLE, STATION, FakeEditor
from tests.helpers.fake_engine import PROMPT, SUBJECT, FakeEngine, fake_trace, rough
from tests.helpers.fake_sweep import fake_sweep
from tests.helpers.waiting import HELD

NOTE = "The subject occurs twice; its last occurrence is used."
MOE = RomeWidgetsError(
    "There are no statistics for layer 3.",
    "A second moment of the keys of layer 3 was wanted.",
    "Pass second_moment= texts, a saved file, or 'identity'.",
)
APART = UnsupportedModel(
    "The attention of FalconMambaForCausalLM cannot be taken apart into heads: its configuration "
    "names no attention heads.",
    "One matrix per block that reads the heads side by side was wanted.",
    "Trace kind 'attn', which is all heads of a layer together.",
)
LOST = StatisticsMissing("There are no statistics for layer 3.", MOE.wanted, MOE.remedy)


def nothing(page: Any) -> None:
    """The widget is made in the state."""


@dataclass(frozen=True)
class State:
    """One state: how to get there, and what says so."""

    name: str
    make: Callable[[], Any]
    says: str
    """A text of the page; in brackets a selector of what must be there."""
    arrange: Callable[[Any], None] = nothing

    def reached(self, page: Any) -> None:
        """Wait until the page says so."""
        self.arrange(page)
        if self.says.startswith("["):
            expect(page.page.locator(self.says).first).to_be_attached()
        else:
            expect(page.root).to_contain_text(self.says)


# Makers.


def recorded(kept: Callable[[str], bool] = lambda kind: True, **more: Any) -> Callable:
    """A grid without a model."""
    selection = more.pop("selection", ())
    looks = {name: more.pop(name) for name in ("scale", "palette", "values") if name in more}

    def make() -> TraceGrid:
        return TraceGrid(fake_trace(**more), selection=selection, **looks)

    return make


def explorer(prompt: str = PROMPT, subject: str = SUBJECT, **settings: Any) -> Callable:
    """An explorer whose `test_engine` is its model; `retrace=` is the widget's."""
    traits = {name: settings.pop(name) for name in ("retrace", "selection") if name in settings}

    def make() -> TraceExplorer:
        engine = FakeEngine(**settings)
        widget = TraceExplorer(engine, prompt=prompt, subject=subject, **traits)
        widget.test_engine = engine
        if not engine.slow:
            assert widget.wait(20)
        return widget

    return make


def panel(*edits: Any, form: Any = NEEDLE, **settings: Any) -> Callable:
    """A panel on a model that holds `edits`; None is an empty form."""

    def make() -> EditPanel:
        engine = FakeEditor(**{**settings, "slow": False})
        for request in edits:
            engine.edit(request, lambda step: None, lambda: False)
        engine.slow = settings.get("slow", False)
        given = (form.template, form.subject, form.target) if form else ()
        widget = EditPanel(engine, *given, true_object=form.true_object if form else None)
        widget.test_engine = engine
        assert widget.wait(20)
        return widget

    return make


def unanswered(make: Callable) -> Callable:
    """A widget whose Python does not answer any more."""

    def silent() -> Any:
        widget = make()
        widget.unobserve_all("_ping")
        return widget

    return silent


def predictions(**traits: Any) -> Callable:
    words = [" Seattle", " Paris", " London", " the", " Tacoma"]
    runs = [
        {"name": "clean", "tokens": words, "probabilities": [0.94, 0.01, 0.005, 0.004, 0.003]},
        {"name": "edited", "tokens": words, "probabilities": [0.04, 0.91, 0.006, 0.004, 0.001]},
    ]
    return lambda: PredictionCompare(runs, **{"target": " Paris", **traits})


def generations(*prompts: str, **settings: Any) -> Callable:
    def make() -> GenerationCompare:
        engine = FakeEditor(**settings)
        widget = GenerationCompare(engine, prompts or [PROMPT, "In the city there is"])
        widget.test_engine = engine
        return widget

    return make


def partly() -> TraceGrid:
    scores = {kind: grid.copy() for kind, grid in fake_trace().scores.items()}
    scores["mlp"][3:] = np.nan
    return TraceGrid(fake_trace(scores=scores))


def estimated() -> TraceGrid:
    scores = {kind: rough(grid) for kind, grid in fake_trace().scores.items()}
    return TraceGrid(replace(fake_trace(scores=scores), estimated=True))


def compared_grid() -> TraceGrid:
    scores = {kind: grid / 2 for kind, grid in fake_trace().scores.items()}
    return TraceGrid(fake_trace(scores=scores, clean=0.5), before=fake_trace())


def sweep_chart(linked: bool = False, n_facts: int = 12, n_layers: int = 8, **traits: Any) -> Any:
    def make() -> SweepChart:
        explorer = TraceExplorer(FakeEngine(n_layers=n_layers)) if linked else None
        return SweepChart(fake_sweep(n_facts, n_layers), explorer=explorer, **traits)

    return make


def queued() -> TraceExplorer:
    """Its model is busy with something else."""
    widget = explorer()()
    widget._worker.submit("other", lambda cancelled: widget.test_engine.step.wait(HELD))
    widget.run()
    return widget


# What a person does.


def click(*cells: tuple, ctrl: bool = True) -> Callable:
    def act(page: Any) -> None:
        page.status("done") if page.widget._view == "explorer" else None
        for number, cell in enumerate(cells):
            page.click(*cell, modifiers=("Control",) if ctrl and number else ())

    return act


def point(page: Any) -> None:
    page.status("done")
    page.point("mlp", 2, 3)


def keyboard(page: Any) -> None:
    page.status("done")
    page.figure.focus()
    for key in ("ArrowRight", "ArrowRight", "Space", "ArrowRight"):
        page.page.keyboard.press(key)


def step(page: Any) -> None:
    page.status("running")
    page.widget.test_engine.step.set()


def cancel(page: Any) -> None:
    step(page)
    expect(page.root).to_contain_text("8/192")
    page.page.locator("[data-action=cancel]").click()


def hold(page: Any) -> None:
    """Click while the model does not answer."""
    page.status("done")
    page.widget.test_engine.restore_gate.clear()
    page.click("mlp", 2, 3)
    page.click("hidden", 2, 4, modifiers=("Control",))


def type_prompt(page: Any) -> None:
    page.status("done")
    page.page.get_by_label("Prompt", exact=True).fill("Mount Fuji is in the country of")


def wrong_subject(page: Any) -> None:
    page.status("done")
    page.page.get_by_label("Subject", exact=True).fill("nobody")
    page.page.keyboard.press("Enter")


def break_restore(page: Any) -> None:
    page.status("done")
    page.widget.test_engine.broken = RomeWidgetsError("The model is gone.", remedy="Load it again.")
    page.click("mlp", 2, 3)


def edit_model(page: Any) -> None:
    page.status("done")
    page.widget.test_engine.edit(0.9)
    page.widget.test_engine.tell(1)


def edit_slowly(page: Any) -> None:
    page.status("done")
    page.widget.test_engine.slow = True
    edit_model(page)
    page.status("running")
    page.widget.test_engine.step.set()


def press(*actions: str) -> Callable:
    def act(page: Any) -> None:
        for action in actions:
            page.page.locator(f"[data-action={action}]").first.click()

    return act


def apply_slowly(page: Any) -> None:
    press("apply")(page)
    page.status("running")
    page.widget.test_engine.step.set()
    page.until(lambda: page.widget.steps != [])


def stop_edit(page: Any) -> None:
    press("apply")(page)
    page.status("running")
    press("cancel")(page)


def fail_edit(page: Any) -> None:
    page.widget.test_engine.broken = LOST
    press("apply")(page)


def mismatch(page: Any) -> None:
    page.widget.test_engine.fingerprint_ok = False
    press("revert")(page)


def open_settings(page: Any) -> None:
    page.page.locator("summary").click()


def own_prompt(page: Any) -> None:
    field = page.page.locator("[data-field=test]")
    field.fill("From the Space Needle one sees")
    field.press("Enter")


def weaken(page: Any) -> None:
    page.widget.set_strength("e1", 0.75)


def stop_writing(page: Any) -> None:
    page.status("running")
    press("cancel")(page)


def turn(name: str, *cells: tuple) -> Callable:
    """Open a page of the explorer, with these cells restored."""

    def act(page: Any) -> None:
        click(*cells)(page)
        page.status("done")
        page.page.locator(f"[data-choice={name}]").click()

    return act


def point_at_flow(page: Any) -> None:
    turn("flow", ("mlp", 2, 3))(page)
    page.until(lambda: page.widget._flow.get("selection"))
    page.page.locator("canvas[data-flow]").hover()


def find_path(page: Any) -> None:
    page.status("done")
    page.page.locator("[data-setting=recovery]").fill("60")
    page.page.keyboard.press("Enter")
    press("path")(page)


def look_for_path(page: Any) -> None:
    page.status("done")
    page.widget.test_engine.slow = True
    press("path")(page)
    page.widget.test_engine.step.set()


def path_on_flow(page: Any) -> None:
    find_path(page)
    press("select_path")(page)
    page.page.locator("[data-choice=flow]").click()
    page.until(lambda: page.widget._flow.get("selection"))


def open_heads(page: Any) -> None:
    click(("attn", 2, 6))(page)
    press("heads")(page)


def heads_of_several(page: Any) -> None:
    """Those of a layer at every token, while they are restored."""
    page.status("done")
    page.widget.test_engine.slow = True
    page.widget.selection = [(pos, 6, "attn") for pos in range(8)]
    press("heads")(page)
    page.widget.test_engine.step.set()


def break_heads(page: Any) -> None:
    page.status("done")
    page.click("attn", 2, 6)
    page.widget.test_engine.broken = APART
    press("heads")(page)


def keep_a(page: Any) -> None:
    """A restoration is kept as A; B restores something else."""
    click(("mlp", 2, 3))(page)
    expect(page.root).to_contain_text("Restored: 3 states")
    press("keep_as_a", "compare")(page)
    page.click("hidden", 2, 4)


def a_beside_b(page: Any) -> None:
    keep_a(page)
    page.page.locator("[data-setting=window]").fill("1")
    page.page.keyboard.press("Enter")


def a_of_another_prompt(page: Any) -> None:
    keep_a(page)
    page.page.get_by_label("Prompt", exact=True).fill("Mount Fuji is in the country of")
    page.page.get_by_label("Subject", exact=True).fill("Mount Fuji")
    page.page.keyboard.press("Enter")


def run_twice(page: Any) -> None:
    page.status("done")
    page.page.locator("[data-setting=window]").fill("1")
    page.page.keyboard.press("Enter")
    page.until(lambda: len(page.widget.history) == 2)
    page.page.locator("summary", has_text="History").click()


def open_downloads(page: Any) -> None:
    page.status("done")
    page.page.get_by_label("Download").click()


def near_subject(page: Any) -> None:
    page.status("done")
    page.page.get_by_label("Subject", exact=True).fill("space needle")
    page.page.keyboard.press("Enter")


def code_by_hand(page: Any) -> None:
    page.status("done")
    page.page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    press("copy")(page)


def keys(*pressed: str) -> Callable:
    def act(page: Any) -> None:
        page.figure.focus()
        for key in pressed:
            page.page.keyboard.press(key)

    return act


def fail_writing(page: Any) -> None:
    page.status("done")
    page.widget.test_engine.broken = MOE
    press("generate")(page)


LONG = " ".join([PROMPT, *["and"] * 22])
SILENT = "Kernel not connected"

SWEPT = [
    State("sweep empty", sweep_chart(n_facts=0), "No fact of this sweep was traced"),
    State("sweep", sweep_chart(), "1 unknown"),
    State("sweep fact", sweep_chart(True, example=5), "[data-side=own]"),
    State("sweep peaks", sweep_chart(shows="peaks"), "of facts"),
    State("sweep deep", sweep_chart(n_facts=140, n_layers=48, example=4), "Show 40 more"),
    State("sweep keys", sweep_chart(), "[open].rw-help", press("help")),
    State("sweep disconnected", unanswered(sweep_chart(True)), "the explorer does not follow"),
]

STATES = [
    *SWEPT,
    State("grid empty", TraceGrid, "This trace is empty"),
    State("grid recorded", recorded(), "recorded"),
    State("grid note", recorded(notes=(NOTE,)), NOTE),
    State("grid selected", recorded(selection=[(2, 3, "mlp")]), "Restored: 3 states"),
    State(
        "grid several",
        recorded(),
        "a live model is needed",
        click(("mlp", 2, 3), ("hidden", 2, 4)),
    ),
    State("grid partly computed", partly, "recorded"),
    State("grid estimate", estimated, "estimate"),
    State("grid compared", compared_grid, "Difference"),
    State("grid deep", recorded(prompt=LONG, n_layers=48, window=10), "48 layers"),
    State("grid keys", recorded(), "[open].rw-help", keys("?")),
    State("grid as table", recorded(), "View as picture", press("table")),
    State("grid share", recorded(scale="share"), "share"),
    State("grid colour blind", recorded(palette="cividis", values=True), "recorded"),
    State("explorer empty", explorer("", ""), "Write a prompt"),
    State("explorer queued", queued, "waiting for the model"),
    State("explorer first running", explorer(slow=True), "8/192 states", step),
    State("explorer preview", explorer(slow=True, preview=True), "0/192 states"),
    State("explorer filling in", explorer(slow=True, preview=True), "8/192 states", step),
    State("explorer done", explorer(), "Nothing restored"),
    State("explorer pointed", explorer(), "MLP layer 3", point),
    State("explorer keyboard", explorer(), "Restored: 1 state", keyboard),
    State("explorer selected", explorer(), "Restored: 3 states", click(("mlp", 2, 3))),
    State(
        "explorer multi", explorer(), "Restored: 4 states", click(("mlp", 2, 3), ("hidden", 2, 4))
    ),
    State("explorer answering", explorer(), "updating…", hold),
    State("explorer changed form", explorer(), "changed since this trace", type_prompt),
    State("explorer cancelled", explorer(slow=True), "cancelled", cancel),
    State("explorer error", explorer(), "is not in the prompt", wrong_subject),
    State("explorer restoration error", explorer(), "The model is gone.", break_restore),
    State("explorer edited since", explorer(retrace=False), "was edited since", edit_model),
    State("explorer compared", explorer(), "[data-side=change]", edit_model),
    State("explorer comparing", explorer(), "8/192 states", edit_slowly),
    State("explorer disconnected", unanswered(explorer()), SILENT),
    State("explorer deep", explorer(LONG, n_layers=48), "48 layers", click(("mlp", 2, 24))),
    State("explorer flow", explorer(), "[data-flow]", turn("flow")),
    State("explorer flow restored", explorer(), "[data-flow]", turn("flow", ("mlp", 2, 3))),
    State("explorer flow pointed", explorer(), "[data-flow]", point_at_flow),
    State("explorer lens", explorer(), "[role=grid].rw-lens", turn("lens")),
    State("explorer lens restored", explorer(), "[role=grid].rw-lens", turn("lens", ("mlp", 2, 3))),
    State("explorer heads", explorer(), "head 1 at “Needle”, the strongest", open_heads),
    State("explorer heads restored", explorer(), "restoring one by one: 4 of 32", heads_of_several),
    State("explorer heads refused", explorer(), "cannot be taken apart", break_heads),
    State("explorer path", explorer(), "Select these", find_path),
    State("explorer path sought", explorer(), "looking:", look_for_path),
    State("explorer path on flow", explorer(), "[data-flow]", path_on_flow),
    State("explorer history", explorer(), "[data-run='2']", run_twice),
    State("explorer downloads", explorer(), "Numbers, CSV", open_downloads),
    State("explorer kept as A", explorer(), "Stop comparing", keep_a),
    State("explorer A and B", explorer(), "[data-side=change]", a_beside_b),
    State("explorer A elsewhere", explorer(), "Not cell by cell", a_of_another_prompt),
    State("explorer near subject", explorer(), "Use “Space Needle”", near_subject),
    State("explorer twice", explorer(f"{PROMPT} {SUBJECT} and"), "which one"),
    State("explorer code", explorer(), "[aria-label='Code of this view']", code_by_hand),
    State("edit empty", panel(form=None), "Name a subject"),
    State("edit form", panel(), "[data-action=apply]:enabled"),
    State("edit settings", panel(), "learning rate", open_settings),
    State("edit running", panel(slow=True), "[data-steps]", apply_slowly),
    State("edit done", panel(), "weights match the history ✓", press("apply")),
    State("edit history", panel(NEEDLE, FUJI, NEEDLE), "One paraphrase does not follow."),
    State("edit long target", panel(STATION), "strength × 0.75", weaken),
    State("edit reverted", panel(NEEDLE), "Reapply", press("revert")),
    State("edit asking", panel(NEEDLE), "Already applied", press("apply")),
    State("edit layer from trace", panel(), "peaks at layer 5", press("suggest")),
    State("edit own prompt", panel(NEEDLE), "From the Space Needle", own_prompt),
    State("edit mismatch", panel(NEEDLE), "do not match the history ✗", mismatch),
    State("edit cancelled", panel(slow=True), "no edit was made", stop_edit),
    State("edit error", panel(), "Pass second_moment", fail_edit),
    State("edit disconnected", unanswered(panel(NEEDLE)), SILENT),
    State("predictions empty", PredictionCompare, "Predictions"),
    State("predictions", predictions(), "0.910"),
    State("predictions first token", predictions(target_of="Paris-Orly"), "first token of"),
    State("predictions log", predictions(metric="logprob"), "−0.094"),
    State("predictions rank", predictions(metric="rank"), "2 → 1"),
    State("generations empty", GenerationCompare, "Generations"),
    State("generations running", generations(slow=True), "writing"),
    State("generations done", generations(), "same"),
    State("generations cancelled", generations(slow=True), "cancelled", stop_writing),
    State("generations error", generations(), "Pass second_moment", fail_writing),
    State("generations disconnected", unanswered(generations()), SILENT),
]
