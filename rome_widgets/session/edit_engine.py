"""`EditPanel` of a language model, and the engine behind it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from rome_widgets import bundled
from rome_widgets.editing import choose_layer
from rome_widgets.editing.compare import SideBySide, with_all, with_strengths
from rome_widgets.editing.edit import Edit, edit
from rome_widgets.editing.methods import METHODS, methods_for
from rome_widgets.editing.request import read_request
from rome_widgets.errors import Cancelled, StateError
from rome_widgets.evaluation.metrics import Question, measure
from rome_widgets.model.language_model import LanguageModel, check_language_model, to_numpy
from rome_widgets.model.ledger import Ledger, ledger_of
from rome_widgets.records.edit import EditProgress
from rome_widgets.records.fact import Fact, fill, read_fact
from rome_widgets.records.metrics import PROMPT_KINDS, PromptKind
from rome_widgets.records.trace import CausalTrace
from rome_widgets.session.generation_engine import generate
from rome_widgets.session.session import Flag, by_a_widget, model_worker
from rome_widgets.widgets.edit import edit_panel
from rome_widgets.widgets.edit.edit_rows import SHOULD_CHANGE
from rome_widgets.widgets.edit.engine import (
    GROUPS,
    EditRecord,
    EditRequest,
    GenerationStep,
    Group,
    ModelState,
    Outcome,
    PromptChange,
    TestPrompt,
)
from rome_widgets.widgets.trace.trace_grid import TraceGrid

MOST_TESTS = 6
"""Known prompts of one group that are compared."""
KIND_OF_GROUP: dict[Group, PromptKind] = {
    "rewrite": "efficacy",
    "paraphrase": "paraphrase",
    "neighborhood": "neighborhood",
    "other": "others",
}
"""What the metrics call the groups of a panel's prompts."""
SHOWCASES = (
    ("{} is in the city of", "The Space Needle", "Paris", "Seattle"),
    ("The capital of {} is", "France", "Berlin", "Paris"),
    ("{} plays the", "Miles Davis", "piano", "trumpet"),
)


class _History:
    """The edits that were seen on one model, and what its panels know of them besides."""

    def __init__(self, lm: LanguageModel) -> None:
        self.lm = lm
        self.edits: dict[str, Edit] = {}
        self.requests: dict[str, EditRequest] = {}
        self.scores: dict[str, Mapping[str, float | None]] = {}

    def look(self) -> None:
        """Take in edits that were applied elsewhere; those of a `with` block are passing."""
        for each in self.lm.edits:
            if not each.temporary:
                self.edits.setdefault(each.id, each)

    def request(self, made: Edit) -> EditRequest:
        """What was asked for; of an edit made elsewhere, what it says of itself."""
        fact = made.fact
        return self.requests.get(made.id) or EditRequest(
            fact.prompt, fact.subject, fact.target, None, made.report.method, made.report.layer
        )


_histories: weakref.WeakValueDictionary[int, _History] = weakref.WeakValueDictionary()
_heard: weakref.WeakSet[Ledger] = weakref.WeakSet()


def _history_of(lm: LanguageModel) -> _History:
    """Shared by all panels of a model, for as long as there is one."""
    name, ledger = id(lm.model), ledger_of(lm.model)
    history = _histories.get(name)
    if history is None:
        history = _histories[name] = _History(lm)
    if ledger not in _heard:
        _heard.add(ledger)
        # At once: an edit that is taken out again soon would else be in the history or not.
        ledger.tell(lambda count: (kept := _histories.get(name)) and kept.look())
    return history


class EditingEngine:
    """Answers an `EditPanel`'s requests with a `LanguageModel`.

    Args:
        lm: The model.
        second_moment: See `rome_widgets.edit`.
        seed: See `rome_widgets.edit`.
    """

    def __init__(self, lm: LanguageModel, second_moment: Any = None, seed: int = 0) -> None:
        self.lm = lm
        self.history = _history_of(lm)
        # An iterator would be used up by the first edit.
        self._second_moment = list(second_moment) if _is_iterator(second_moment) else second_moment
        self._seed = seed

    @property
    def model_name(self) -> str:
        """What to call the model on screen."""
        return self.lm.name

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return self.lm.n_layers

    @property
    def methods(self) -> dict[str, dict[str, Any]]:
        """The methods by name, each with its title and this model's numbers."""
        return methods_for(self.lm)

    @property
    def examples(self) -> list[EditRequest]:
        """Facts that most models hold."""
        return [EditRequest(*each) for each in SHOWCASES]

    # --------------------------------------------------------------------- what changes weights

    def edit(
        self,
        request: EditRequest,
        progress: Callable[[EditProgress], None],
        cancelled: Callable[[], bool],
    ) -> EditRecord:
        """Compute an edit and apply it."""
        made = edit(
            self.lm,
            request.template,
            request.subject,
            request.target,
            method=request.method or next(iter(METHODS)),
            layer=request.layer,
            settings=request.settings,
            second_moment=self._second_moment,
            seed=self._seed,
            progress=progress,
            cancel=Flag(cancelled),
        )
        scores = self._scores(made, request)
        if cancelled():
            raise Cancelled("The edit was cancelled; the model is unchanged.")
        with by_a_widget():
            made.apply()
        self.history.edits[made.id] = made
        self.history.requests[made.id] = request
        self.history.scores[made.id] = scores
        return self._record(made)

    def set_applied(self, edit: str, applied: bool) -> None:
        """Apply or revert an edit of the history; in any order."""
        made = self.find(edit)
        with by_a_widget():
            made.apply() if applied else made.revert()

    def set_strength(self, edit: str, strength: float) -> None:
        """Scale an edit: 0 is without it, 1 is as computed."""
        with by_a_widget():
            self.find(edit).strength = strength

    def revert_all(self) -> None:
        """Back to the weights as they were loaded; the history stays."""
        self.history.look()
        with by_a_widget():
            self.lm.revert_all()

    # ------------------------------------------------------------------------- what only looks

    def find(self, edit: str) -> Edit:
        """An edit of the history.

        Raises:
            StateError: There is none of this id.
        """
        self.history.look()
        if edit not in self.history.edits:
            raise StateError(
                f"There is no edit {edit!r}.",
                "One of this model's history was wanted.",
                "See the panel's records.",
            )
        return self.history.edits[edit]

    def records(self) -> list[EditRecord]:
        """The history, oldest first."""
        self.history.look()
        return [self._record(made) for made in self.history.edits.values()]

    def _record(self, made: Edit) -> EditRecord:
        report, request = made.report, self.history.request(made)
        stale = ("It was computed on top of an edit that was reverted since.",)
        return EditRecord(
            id=made.id,
            request=request,
            layer=report.layer,
            layer_reason=request.layer_reason or report.why_layer,
            norm_ratio=report.norm_ratio,
            warnings=(*report.warnings, *(stale if made.stale else ())),
            scores=self.history.scores.get(made.id, {}),
            applied=made.applied,
            strength=made.strength,
            curve=tuple(step.loss for step in report.steps),
        )

    def state(self) -> ModelState:
        """How many edits are active, and whether the weights agree bit for bit."""
        return ModelState(len(self.lm.edits), ledger_of(self.lm.model).weights_match())

    def suggest_layer(self, request: EditRequest, cancelled: Callable[[], bool]) -> tuple[int, str]:
        """The layer that a trace of this request points to, and why."""

        def check() -> None:
            if cancelled():
                raise Cancelled("The search for a layer was cancelled.")

        asked = read_request(self.lm, request.template, request.subject, request.target)
        return choose_layer.layer_of_peak(
            self.lm, *choose_layer.traced_effects(self.lm, asked, check)
        )

    def tests(self, request: EditRequest) -> list[TestPrompt]:
        """Prompts the bundled model's table has for this fact; none for any other model."""
        if not bundled.is_bundled(self.lm):
            return []
        return list(known_tests(request.template, request.subject))

    def compare(self, request: EditRequest, prompts: Sequence[TestPrompt]) -> list[PromptChange]:
        """What each prompt leads to unedited and now."""
        return self._compare(with_all(self.lm), request, prompts)

    def _compare(
        self, both: SideBySide, request: EditRequest, prompts: Sequence[TestPrompt]
    ) -> list[PromptChange]:
        sides = to_numpy(both.probabilities([self._ids(prompt.text) for prompt in prompts]))
        return [
            self._change(prompt, request, sides[:, number]) for number, prompt in enumerate(prompts)
        ]

    def _ids(self, text: str) -> Sequence[int]:
        return self.lm.encode(text, (0, len(text))).ids

    def _change(self, prompt: TestPrompt, request: EditRequest, sides: Any) -> PromptChange:
        """`sides` is `[2, vocab]`: probabilities before and after."""
        followed = self._followed(prompt, request)
        if prompt.group == "free" and not prompt.true_object:
            followed = followed[0], int(sides[0].argmax())
        before, after = (self._outcome(side, followed) for side in sides)
        tokens = (None if token is None else self.lm.token_text(token) for token in followed)
        return PromptChange(prompt, before, after, *tokens)

    def _followed(self, prompt: TestPrompt, request: EditRequest) -> tuple[int | None, int | None]:
        """The first tokens of a test's target and of its true object."""
        words = prompt.target or request.target, prompt.true_object or request.true_object
        target, true = (self.lm.answer_ids(prompt.text, word) if word else () for word in words)
        return (target[0] if target else None), (true[0] if true else None)

    def _outcome(self, probabilities: Any, followed: Sequence[int | None]) -> Outcome:
        top = int(probabilities.argmax())
        target, true = (None if each is None else float(probabilities[each]) for each in followed)
        return Outcome(self.lm.token_text(top), float(probabilities[top]), target, true)

    def at_strengths(self, edit: str, strengths: Sequence[float]) -> list[Outcome]:
        """What an edit's own prompt would lead to at each strength; no weight is touched."""
        made = self.find(edit)
        request = self.history.request(made)
        prompt = TestPrompt(request.prompt, "rewrite")
        several = with_strengths(self.lm, made, strengths)
        sides = to_numpy(several.probabilities([self._ids(prompt.text)])[:, 0])
        followed = self._followed(prompt, request)
        return [self._outcome(side, followed) for side in sides]

    def _scores(self, made: Edit, request: EditRequest) -> dict[str, float | None]:
        """Accuracy on the prompts that are known, with the edit alone; it is not applied yet.

        Accuracy is by the likeliest token, of whole words; see `rome_widgets.records.metrics`.
        """
        questions: dict[PromptKind, list[Question]] = {kind: [] for kind in PROMPT_KINDS}
        for prompt in (TestPrompt(request.prompt, "rewrite"), *self.tests(request)):
            changes = prompt.group in SHOULD_CHANGE
            right = (prompt.target or request.target) if changes else prompt.true_object
            if right:
                questions[KIND_OF_GROUP[prompt.group]].append(Question(prompt.text, right))
        edited = with_strengths(self.lm, made, (1.0,))
        found = measure(
            self.lm, questions, lambda rows: [(range(len(rows)), edited.probabilities(rows)[0])]
        )
        return {kind: metrics.accuracy for kind, metrics in found}

    def generate(
        self,
        prompts: Sequence[str],
        max_new_tokens: int,
        progress: Callable[[GenerationStep], None],
        cancelled: Callable[[], bool],
    ) -> list[dict[str, str]]:
        """Continuations of each prompt unedited and now."""
        return generate(
            self.lm, lambda: with_all(self.lm), prompts, max_new_tokens, progress, cancelled
        )


def _is_iterator(given: Any) -> bool:
    return isinstance(given, Iterator)


@cache
def known_tests(template: str, subject: str) -> tuple[TestPrompt, ...]:
    """What the bundled model was taught that an edit of this fact should reach, or leave alone."""
    tests: list[TestPrompt] = []
    for record in bundled.facts():
        rewrite = record["requested_rewrite"]
        if rewrite["subject"] != subject:
            continue
        true = rewrite["target_true"]["str"]
        if rewrite["prompt"] == template:
            for group in ("paraphrase", "neighborhood"):
                texts = record[f"{group}_prompts"][:MOST_TESTS]
                tests += [TestPrompt(text, group, None, true) for text in texts]
        else:
            text = fill(rewrite["prompt"], subject)
            tests.append(TestPrompt(text, "other", None, true))
    return tuple(sorted(tests, key=lambda test: GROUPS.index(test.group)))


class EditPanel(edit_panel.EditPanel):
    """Edits facts of one model, keeps the history, and shows predictions before and after.

    Args:
        lm: The model.
        prompt: Text with one `{}`, or with the subject in it; a `Fact`, or a CounterFact record.
        subject: Who or what the fact is about; not needed with a fact.
        target: The new object.
        true_object: The object that the model is believed to hold now.
        trace: A trace, or a widget that shows one: the panel takes its fact and the layer it points
            to, again whenever another trace is shown, and the layer of a cell selected there.
        second_moment: Statistics of the keys; see `rome_widgets.edit`.
        seed: Of the sampled prefixes.
        **options: Traits of the widget: method, layer, settings, tests, theme.

    Example:
        >>> panel = EditPanel(lm, "{} is in the city of", "The Space Needle", "Paris")
        >>> record = panel.apply(wait=True)
        >>> panel.set_strength(record.id, 0.5)
        >>> panel.edit.save("paris.safetensors")
        >>> panel.revert(record.id)
    """

    def __init__(
        self,
        lm: LanguageModel,
        prompt: str | Fact | Mapping[str, Any] = "",
        subject: str = "",
        target: str = "",
        *,
        true_object: str | None = None,
        trace: CausalTrace | TraceGrid | None = None,
        second_moment: Any = None,
        seed: int = 0,
        tests: Iterable[Any] = (),
        **options: Any,
    ) -> None:
        check_language_model(lm)
        self._own_engine = EditingEngine(lm, second_moment, seed)
        self._taken: tuple[str, str, str] | None = None
        """Prompt, subject and answer of the trace that the form was filled from."""
        template, subject, target, known = _read_form(prompt, subject, target)
        super().__init__(
            self._own_engine,
            template,
            subject,
            target,
            true_object=true_object or known,
            tests=tests,
            worker=model_worker(lm),
            **options,
        )
        if trace is not None:
            self.follow(trace)

    @property
    def edit(self) -> Edit | None:
        """The edit that is selected in the history, to be saved or exported."""
        return self._own_engine.find(self.selected) if self.selected else None

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

        def traced(change: Any) -> None:
            if (there := panel()) is not None:
                there._take_shown(trace)

        def selected(change: Any) -> None:
            if (there := panel()) is not None:
                there._take_selected(trace)

        trace.observe(traced, "trace")
        trace.observe(selected, "selection")
        self._take_shown(trace)

    def _take_shown(self, grid: TraceGrid) -> None:
        """Not what an edit made the explorer trace again: it would undo what is being typed."""
        if grid.result is not None and grid.before is None:
            self._take_trace(grid.result)

    def _take_selected(self, grid: TraceGrid) -> None:
        if len(grid.selection) == 1:
            _, layer, kind = grid.selection[0]
            with self._writing:
                self._suggested(layer, f"Layer {layer} is selected in the trace ({kind}).")

    def _take_trace(self, trace: CausalTrace) -> None:
        if "mlp" not in trace.scores or trace.estimated:
            return
        at_subject = trace.indirect_effect("mlp")[trace.subject_span[1] - 1]
        asked = (trace.prompt, trace.subject, trace.answer)
        if np.isnan(at_subject).any() or asked == self._taken:
            return
        self._taken = asked
        layer, reason = choose_layer.layer_of_peak(
            self._own_engine.lm, dict(enumerate(at_subject.tolist())), trace.total_effect
        )
        with self._writing, self.hold_sync():
            if trace.prompt.count(trace.subject) == 1:  # Else the trace does not say which it is.
                self.template = trace.prompt.replace(trace.subject, "{}")
                self.subject = trace.subject
                self.true_object = trace.answer.strip()
            self._suggested(layer, reason)


def _read_form(
    prompt: str | Fact | Mapping[str, Any], subject: str, target: str
) -> tuple[str, str, str, str | None]:
    """Template, subject, new object, and the true object where a record names it."""
    if isinstance(prompt, str) and not (prompt and subject):
        return prompt or "{}", subject, target, None
    stated = read_fact(prompt, subject, target)
    return stated.template, stated.subject, stated.target or "", stated.true_object
