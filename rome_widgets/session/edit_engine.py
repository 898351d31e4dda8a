"""The engine of an `EditPanel`: a language model, its edits, and what is known of its facts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from rome_widgets import bundled
from rome_widgets.editing import choose_layer
from rome_widgets.editing.compare import (
    SideBySide,
    SidesAfter,
    compare_all_edits,
    compare_strengths,
)
from rome_widgets.editing.edit import Edit, edit
from rome_widgets.editing.methods import METHODS, methods_for
from rome_widgets.editing.request import read_request
from rome_widgets.errors import Cancelled, PromptError, StateError
from rome_widgets.evaluation.metrics import Question, measure
from rome_widgets.model.language_model import LanguageModel, check_language_model, to_numpy
from rome_widgets.model.tokens import RenderedPrompt, is_ids, is_messages
from rome_widgets.model.word_scores import score_words
from rome_widgets.records.edit import EditProgress
from rome_widgets.records.fact import HOLE, Fact, fill
from rome_widgets.records.metrics import PROMPT_KINDS, PromptKind, WordScore
from rome_widgets.session.generation_engine import GeneratingEngine
from rome_widgets.session.session import Flag, KnownEdit
from rome_widgets.session.targets import about_target
from rome_widgets.widgets.edit.edit_rows import SHOULD_CHANGE
from rome_widgets.widgets.edit.engine import (
    GROUPS,
    EditRecord,
    EditRequest,
    Group,
    ModelState,
    Outcome,
    PromptChange,
    TargetInfo,
    TestPrompt,
)
from rome_widgets.widgets.live.engine import Stop, Tell

MOST_TESTS = 6
"""Known prompts of one group that are compared."""
KIND_OF_GROUP: dict[Group, PromptKind] = {
    "rewrite": "efficacy",
    "paraphrase": "paraphrase",
    "neighborhood": "neighborhood",
    "other": "others",
}
"""What the metrics call the groups of a panel's prompts."""


class EditingEngine(GeneratingEngine):
    """Answers an `EditPanel`'s requests with a `LanguageModel`.

    Args:
        lm: The model.
        second_moment, seed: See `rome_widgets.edit`.
    """

    examples = (
        EditRequest("{} is in the city of", "The Space Needle", "Paris", "Seattle"),
        EditRequest("The capital of {} is", "France", "Berlin", "Paris"),
        EditRequest("{} plays the", "Miles Davis", "piano", "trumpet"),
    )
    """Facts that most models hold."""

    def __init__(self, lm: LanguageModel, second_moment: Any = None, seed: int = 0) -> None:
        super().__init__(check_language_model(lm))
        self.n_layers = lm.n_layers
        self.session.history()  # From here on an edit is known that is taken out again soon.
        # An iterator would be used up by the first edit.
        iterator = isinstance(second_moment, Iterator)
        self._second_moment = list(second_moment) if iterator else second_moment
        self._seed = seed

    @property
    def methods(self) -> dict[str, dict[str, Any]]:
        """The methods by name, each with its title and this model's numbers."""
        return methods_for(self.lm)

    def edit(
        self, request: EditRequest, progress: Tell[EditProgress], cancelled: Stop
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
        made.apply()
        self.session.know(made, request, scores)
        return _record(self.session.history()[made.id])

    def set_applied(self, edit: str, applied: bool) -> None:
        """Apply or revert an edit of the history; in any order."""
        made = self.find(edit)
        made.apply() if applied else made.revert()

    def set_strength(self, edit: str, strength: float) -> None:
        """Scale an edit: 0 is without it, 1 is as computed."""
        self.find(edit).strength = strength

    def revert_all(self) -> None:
        """Back to the weights as they were loaded; the history stays."""
        self.lm.revert_all()

    def find(self, edit: str) -> Edit:
        """An edit of the history; a `StateError` where there is none of this id."""
        return self._known(edit).edit

    def _known(self, edit: str) -> KnownEdit:
        history = self.session.history()
        if edit not in history:
            raise StateError(
                f"There is no edit {edit!r}.",
                "One of this model's history was wanted.",
                "See the panel's records.",
            )
        return history[edit]

    def records(self) -> list[EditRecord]:
        """The history, oldest first."""
        return [_record(known) for known in self.session.history().values()]

    def state(self) -> ModelState:
        """How many edits are active, and what the weights are, bit for bit."""
        found = self.lm.weights_state()
        return ModelState(found.n_edits, found.matches, found.original)

    def read_fact(self, prompt: Any, subject: str) -> Any:
        """The fact that chat messages or token ids state; text, facts and records as they are.

        Raises:
            PromptError: A template of text would be read as other ids.
        """
        if isinstance(prompt, str | Fact | Mapping) and not (is_messages(prompt) or is_ids(prompt)):
            return prompt
        text = self.lm.read_prompt(prompt, subject)
        if isinstance(text, RenderedPrompt) and not text.plain:
            raise PromptError(
                "These token ids are not those that the tokenizer gives their text.",
                "A prompt that a form can hold as text was wanted.",
                "Edit it with rome_widgets.edit, which takes messages and ids as they are.",
            )
        if not subject:
            return str(text)
        ((start, stop),) = self.lm.find_subject(text, subject)
        return Fact(text[:start] + HOLE + text[stop:], text[start:stop])

    def suggest_layer(self, request: EditRequest, cancelled: Stop) -> tuple[int, str]:
        """The layer that a trace of this request points to, and why."""

        def check() -> None:
            if cancelled():
                raise Cancelled("The search for a layer was cancelled.")

        asked = read_request(self.lm, request.template, request.subject, request.target)
        return choose_layer.layer_of_peak(
            self.lm, *choose_layer.traced_effects(self.lm, asked, check)
        )

    def about_target(self, request: EditRequest) -> TargetInfo:
        """The target's tokens, its usual spelling, and others that the model knows."""
        return about_target(self.lm, request)

    def layer_at_peak(self, effects: Mapping[int, float], total: float) -> tuple[int, str]:
        """The layer that the effects of a trace point to, and why."""
        return choose_layer.layer_of_peak(self.lm, effects, total)

    def tests(self, request: EditRequest) -> list[TestPrompt]:
        """Prompts that an edit of this fact should reach, or leave alone.

        Of the bundled model its table says them; of any other, the neighbors that the latest edit
        of the fact measured.
        """
        made = [known.edit for known in self.session.history().values()]
        of_it = [each for each in made if each.fact.text == request.prompt]
        return self._tests(request, of_it[-1] if of_it else None)

    def _tests(self, request: EditRequest, made: Edit | None) -> list[TestPrompt]:
        if bundled.is_bundled(self.lm):
            return list(known_tests(request.template, request.subject))
        neighbors = () if made is None else made.report.neighbors
        return [
            TestPrompt(neighbor.prompt, "neighborhood", None, answer)
            for neighbor in neighbors[:MOST_TESTS]
            if (answer := neighbor.answer.strip())
        ]

    def compare(self, request: EditRequest, prompts: Sequence[TestPrompt]) -> list[PromptChange]:
        """What each prompt leads to unedited and now."""
        outcomes = self._outcomes(request, prompts, compare_all_edits(self.lm))
        return [
            PromptChange(prompt, before, after, *self._first_tokens(prompt, request, before.token))
            for prompt, (before, after) in zip(prompts, outcomes, strict=True)
        ]

    def _outcomes(
        self, request: EditRequest, prompts: Sequence[TestPrompt], sides: SideBySide
    ) -> list[list[Outcome]]:
        """What each prompt leads to on each side."""
        after, n_sides = SidesAfter(sides), sides.n_sides
        rows = to_numpy(after.probabilities([self._ids(prompt.text) for prompt in prompts]))
        asked = [
            (prompt.text, word) for prompt in prompts for word in _words(prompt, request) if word
        ]
        texts, words = zip(*asked, strict=True) if asked else ((), ())
        scores = [iter(score_words(self.lm, texts, words, after.side(n))) for n in range(n_sides)]
        found = []
        for number, prompt in enumerate(prompts):
            before = int(rows[0, number].argmax())
            ids = [
                self.lm.answer_ids(prompt.text, word) if word else None
                for word in _words(prompt, request)
            ]
            said = [[next(each) if i else None for i in ids] for each in scores]
            if _follows_itself(prompt):
                ids[1] = [before]
            found.append([self._outcome(rows[n, number], ids, said[n]) for n in range(n_sides)])
        return found

    def _outcome(
        self,
        probabilities: Any,
        ids: Sequence[Sequence[int] | None],
        scores: Sequence[WordScore | None],
    ) -> Outcome:
        """`ids` and `scores` are of the target and of the true object."""
        top = int(probabilities.argmax())
        (target, target_first, says_target), (true, true_first, says_true) = (
            _whole_and_first(probabilities, *each) for each in zip(ids, scores, strict=True)
        )
        return Outcome(
            self.lm.token_text(top),
            float(probabilities[top]),
            target,
            true,
            target_first,
            true_first,
            says_target,
            says_true,
        )

    def _first_tokens(
        self, prompt: TestPrompt, request: EditRequest, said: str
    ) -> tuple[str | None, str | None]:
        """Of a test's target and of its true object; of a prompt of one's own, what was `said`."""
        target, true = (
            self.lm.token_text(self.lm.answer_ids(prompt.text, word)[0]) if word else None
            for word in _words(prompt, request)
        )
        return target, said if _follows_itself(prompt) else true

    def _ids(self, text: str) -> Sequence[int]:
        return self.lm.prompt_ids(text)

    def at_strengths(self, edit: str, strengths: Sequence[float]) -> list[Outcome]:
        """What an edit's own prompt would lead to at each strength; no weight is touched."""
        known = self._known(edit)
        request = _request(known)
        prompt = TestPrompt(request.prompt, "rewrite")
        several = compare_strengths(self.lm, known.edit, strengths)
        (outcomes,) = self._outcomes(request, [prompt], several)
        return outcomes

    def _scores(self, made: Edit, request: EditRequest) -> dict[str, float | None]:
        """Accuracy on the prompts that are known, with the edit alone; it is not applied yet.

        Accuracy is by the likeliest token, of whole words; see `rome_widgets.records.metrics`.
        """
        questions: dict[PromptKind, list[Question]] = {kind: [] for kind in PROMPT_KINDS}
        for prompt in (TestPrompt(request.prompt, "rewrite"), *self._tests(request, made)):
            changes = prompt.group in SHOULD_CHANGE
            right = (prompt.target or request.target) if changes else prompt.true_object
            if right:
                questions[KIND_OF_GROUP[prompt.group]].append(Question(prompt.text, right))
        edited = compare_strengths(self.lm, made, (1.0,))
        found = measure(
            self.lm, questions, lambda rows: [(range(len(rows)), edited.probabilities(rows)[0])]
        )
        return {kind: metrics.accuracy for kind, metrics in found}


def _whole_and_first(
    probabilities: Any, ids: Sequence[int] | None, score: WordScore | None
) -> tuple[float | None, float | None, bool | None]:
    """Probability of a word, that of its first token if there are more, and whether it is said."""
    if not ids:
        return None, None, None
    first = float(probabilities[ids[0]])
    if score is None or len(ids) == 1:
        return first, None, None if score is None else score.likeliest
    return score.joint_probability, first, score.likeliest


def _words(prompt: TestPrompt, request: EditRequest) -> tuple[str | None, str | None]:
    """A test's target and its true object, where it has them."""
    true = prompt.true_object or (None if prompt.group == "free" else request.true_object)
    return prompt.target or request.target, true


def _follows_itself(prompt: TestPrompt) -> bool:
    """Whether it follows what the model said before: a prompt of one's own, of nothing true."""
    return prompt.group == "free" and not prompt.true_object


def _request(known: KnownEdit) -> EditRequest:
    """What was asked for; of an edit made elsewhere, what it says of itself."""
    fact, report = known.edit.fact, known.edit.report
    return known.request or EditRequest(
        fact.prompt, fact.subject, fact.target, None, report.method, report.layer
    )


def _record(known: KnownEdit) -> EditRecord:
    made, report, request = known.edit, known.edit.report, _request(known)
    stale = ("It was computed on top of an edit that was reverted since.",)
    return EditRecord(
        id=made.id,
        request=request,
        layer=report.layer,
        layer_reason=request.layer_reason or report.why_layer,
        norm_ratio=report.norm_ratio,
        warnings=(*report.warnings, *(stale if made.stale else ())),
        scores=known.scores,
        applied=made.applied,
        strength=made.strength,
        curve=tuple(step.loss for step in report.steps),
    )


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
