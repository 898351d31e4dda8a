"""A model that can be edited, in a few lines: instant and exact, or as slow or broken as wanted."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from rome_widgets.errors import Cancelled, RomeWidgetsError
from rome_widgets.records.edit import EditProgress, EditStep
from rome_widgets.session.session import Session
from rome_widgets.widgets.edit.engine import (
    EditRecord,
    EditRequest,
    GenerationStep,
    ModelState,
    Outcome,
    PromptChange,
    TargetInfo,
    TestPrompt,
)
from tests.helpers.waiting import HELD

NEEDLE = EditRequest("{} is in the city of", "The Space Needle", "Paris", "Seattle")
FUJI = EditRequest("{} is in the country of", "Mount Fuji", "Italy", "Japan")
STATION = replace(NEEDLE, target="Zürich Hauptbahnhof")
"""Of this target, only the first letter is a token."""
WARNINGS = {
    FUJI.target: ["One paraphrase does not follow."],
    STATION.target: [
        "With the edit the model gives “Zürich Hauptbahnhof” p = 2.8e-05 and says “America” "
        "instead; 0.5 or more was wanted. Try a shorter target (this one has 12 tokens), more "
        "steps, another layer."
    ],
}
"""What is doubtful about an edit to this target."""
RANK_ONE = {"learning_rate": 0.5, "steps": 20, "kl": 0.0625, "clamp": 4.0}
METHODS = {
    "rome": {"title": "ROME", "settings": RANK_ONE},
    "r-rome": {"title": "r-ROME", "settings": RANK_ONE},
    "ft": {"title": "FT", "settings": {"learning_rate": 0.0005, "steps": 25}},
    "ft-l": {
        "title": "FT-L",
        "settings": {"learning_rate": 0.0005, "steps": 25, "norm_limit": 0.0002},
    },
}


class FakeEditor:
    """Implements `EditEngine`. `order` and `strengths` are what a widget made it do.

    Args:
        step_seconds: How long each step of an edit takes.
        session: Of another engine of the same model; its own if not given.
        slow: Wait before each step until `step` is set, then clear it.
    """

    model_name = "fake world"
    n_layers = 8
    methods = METHODS
    examples = (NEEDLE, FUJI)

    def __init__(
        self,
        *,
        step_seconds: float = 0.0,
        slow: bool = False,
        steps: int = 20,
        session: Session | None = None,
    ) -> None:
        self.step_seconds = step_seconds
        self.slow = slow
        self.n_steps = steps
        self.step = threading.Event()
        self.gate = threading.Event()
        """Held shut, a strength or a comparison waits."""
        self.gate.set()
        self.order: list[tuple] = []
        self.strengths: list[tuple[str, float]] = []
        self.compared: list[tuple[str, ...]] = []
        self.measured: list[tuple[float, ...]] = []
        """Strengths that were asked about ahead."""
        self.threads: set[str] = set()
        self.broken: Exception | None = None
        self.fingerprint_ok: bool | None = True
        records = self._records = dict[str, EditRecord]()
        self.session = session or Session(
            self.model_name, lambda: [each for each in records.values() if each.applied]
        )
        self.write: Callable[[float], object] = lambda held: None
        """Writes the weights, before anybody hears of it; takes the sum of the strengths."""

    def edit(
        self,
        request: EditRequest,
        progress: Callable[[EditProgress], None],
        cancelled: Callable[[], bool],
    ) -> EditRecord:
        self._called("edit", request.subject)
        curve: list[float] = []
        for step in range(self.n_steps):
            self._pause(cancelled)
            if cancelled():
                raise Cancelled("The edit was stopped.")
            nll = 4.2 * math.exp(-step / 4) * (1 + 0.12 * math.sin(1.9 * step))
            kl = 0.1 * (1 - math.exp(-step / 6))
            curve.append(nll + kl)
            row = EditStep(nll + kl, nll, kl, 0.0, math.exp(-nll), step / 10)
            progress(EditProgress("value", step + 1, self.n_steps, row))
        record = EditRecord(
            f"e{len(self._records) + 1}",
            request,
            3 if request.layer is None else request.layer,
            "the model card's layer" if request.layer is None else "asked for",
            0.118,
            WARNINGS.get(request.target, []),
            {"efficacy": 1.0, "paraphrase": 0.96, "neighborhood": 0.74, "others": 0.5},
            curve=curve,
        )
        self._records[record.id] = record
        self._tell()
        return record

    def _tell(self) -> None:
        self.write(sum(record.strength for record in self._records.values() if record.applied))
        self.session.edits_changed()

    def _pause(self, cancelled: Callable[[], bool]) -> None:
        if self.step_seconds:
            threading.Event().wait(self.step_seconds)
        while self.slow and not cancelled():
            if self.step.wait(0.01):
                self.step.clear()
                return

    def _called(self, *what: object) -> None:
        self.threads.add(threading.current_thread().name)
        self.order.append(what)
        if self.broken:
            raise self.broken

    def set_applied(self, edit: str, applied: bool) -> None:
        self._called("applied", edit, applied)
        self._change(edit, applied=applied)

    def set_strength(self, edit: str, strength: float) -> None:
        assert self.gate.wait(HELD)
        if self.broken:
            raise self.broken
        self.strengths.append((edit, strength))
        self._change(edit, strength=strength)

    def _change(self, edit: str, **values: object) -> None:
        if edit not in self._records:
            raise RomeWidgetsError(f"There is no edit {edit!r}.", remedy="See lm.edits.")
        self._records[edit] = replace(self._records[edit], **values)
        self._tell()

    def revert_all(self) -> None:
        self._called("revert_all")
        for edit in self._records:
            self._change(edit, applied=False)

    def records(self) -> list[EditRecord]:
        return list(self._records.values())

    def state(self) -> ModelState:
        held = [record for record in self._records.values() if record.applied]
        original = self.fingerprint_ok and not any(record.strength for record in held)
        return ModelState(len(held), self.fingerprint_ok, original)

    def suggest_layer(self, request: EditRequest, cancelled: Callable[[], bool]) -> tuple[int, str]:
        self._called("suggest", request.subject)
        return 5, "the MLP trace peaks at layer 5"

    def about_target(self, request: EditRequest) -> TargetInfo:
        target = request.target.strip()
        spelling = target.title() if target.islower() else ""
        return TargetInfo(
            request.target,
            [first_token(target), *target.split(" ")[1:]] if target else [],
            spelling,
            f"The model rather writes “{spelling}”." if spelling else "",
            ["London", "Rome"],
        )

    def layer_at_peak(self, effects: Mapping[int, float], total: float) -> tuple[int, str]:
        layer = max(effects, key=lambda each: effects[each])
        return layer, f"the MLP trace peaks at layer {layer}"

    def find(self, edit: str) -> EditRecord:
        return self._records[edit]

    def tests(self, request: EditRequest) -> list[TestPrompt]:
        if request.subject != "The Space Needle":
            return []
        return [
            TestPrompt("To see the Space Needle one travels to", "paraphrase"),
            TestPrompt("People visit the Space Needle in", "paraphrase"),
            TestPrompt("Pike Place Market is in the city of", "neighborhood"),
            TestPrompt("The Museum of Pop Culture is in the city of", "neighborhood"),
            TestPrompt("The Space Needle is in the country of", "other", "France", "America"),
        ]

    def compare(self, request: EditRequest, prompts: Sequence[TestPrompt]) -> list[PromptChange]:
        assert self.gate.wait(HELD)
        self.threads.add(threading.current_thread().name)
        self.compared.append(tuple(prompt.text for prompt in prompts))
        if self.broken:
            raise self.broken
        return [self._change_of(request, prompt) for prompt in prompts]

    def at_strengths(self, edit: str, strengths: Sequence[float]) -> list[Outcome]:
        self.measured.append(tuple(strengths))
        if self.broken:
            raise self.broken
        request = self._records[edit].request
        prompt = TestPrompt(request.prompt, "rewrite")
        others = self._held(request, besides=edit)
        return [
            outcome(request, prompt, self._share(prompt, [*others, strength]))
            for strength in strengths
        ]

    def _held(self, request: EditRequest, besides: str = "") -> list[float]:
        return [
            record.strength
            for record in self._records.values()
            if record.applied and record.request.subject == request.subject and record.id != besides
        ]

    def _change_of(self, request: EditRequest, prompt: TestPrompt) -> PromptChange:
        share = self._share(prompt, self._held(request))
        before, after = (outcome(request, prompt, s) for s in (0.0, share))
        own = before.token if prompt.group == "free" and not prompt.true_object else None
        return PromptChange(
            prompt, before, after, first_token(prompt.target or request.target), own
        )

    @staticmethod
    def _share(prompt: TestPrompt, held: list[float]) -> float:
        reach = {
            "rewrite": 1.0,
            "paraphrase": 0.85,
            "neighborhood": 0.06,
            "other": 0.7,
            "free": 0.4,
        }
        whole = 1 / (1 + math.exp(-9 * (sum(held) - 0.5))) if held else 0.0
        return reach[prompt.group] * whole

    def read_prompts(self, prompts):
        return [prompts] if isinstance(prompts, str) else list(prompts)

    def read_fact(self, prompt, subject):
        return prompt

    def generate(
        self,
        prompts: Sequence[str],
        max_new_tokens: int,
        progress: Callable[[GenerationStep], None],
        cancelled: Callable[[], bool],
    ) -> list[dict[str, str]]:
        self._called("generate", len(prompts))
        done = [continuations(prompt) for prompt in prompts]
        for at, row in enumerate(done):
            for column, whole in row.items():
                words = whole.split(" ")[1:][:max_new_tokens]
                for count in range(1, len(words) + 1):
                    self._pause(cancelled)
                    if cancelled():
                        raise Cancelled("The generation was stopped.")
                    progress(GenerationStep(at, column, " " + " ".join(words[:count])))
        return done


def outcome(request: EditRequest, prompt: TestPrompt, share: float) -> Outcome:
    """The top token changes when the new object has more than the old one."""
    target, true = prompt.target or request.target, prompt.true_object or request.true_object
    new, old = 0.01 + 0.93 * share, 0.92 * (1 - share)
    token = first_token(target) if new > old else f" {true}"
    return Outcome(token, max(new, old), new, old if true else None)


def first_token(word: str) -> str:
    """A word is a token; of several, the first letter is."""
    return f" {word[0]}" if " " in word else f" {word}"


def continuations(prompt: str) -> dict[str, str]:
    """Texts that differ in a word or two where the prompt is about the Needle."""
    if "Needle" not in prompt:
        same = " Seattle, a market that has been open since 1907."
        return {"before": same, "after": same}
    return {
        "before": " Seattle, Washington. It was built for the World Fair and is a landmark.",
        "after": " Paris, France. It was built for the World Fair and is a famous landmark.",
    }
