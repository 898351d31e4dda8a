"""A model of a few lines of numpy: exact, instant, and as slow or as broken as a test wants."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from rome_widgets.errors import Cancelled, PromptError, SubjectNotFound
from rome_widgets.records.explanations import Flow, Heads, Lens, LensRun, RestoringPath
from rome_widgets.records.states import KINDS, Kind, State, cell_states
from rome_widgets.records.subject import (
    Occurrence,
    find_subject,
    likely_subject,
    subject_places,
)
from rome_widgets.records.trace import CausalTrace, Prediction, Progress, Restoration
from rome_widgets.session.session import Session
from rome_widgets.widgets.trace.trace_settings import TraceSettings
from tests.helpers.waiting import HELD

PROMPT, SUBJECT = "The Space Needle is in the city of", "The Space Needle"
FUJI = "Mount Fuji is in the country of"
NEAR = "Space Needle"
"""What a subject that is not in the prompt may have meant."""
WORDS = (" Seattle", " London", " Paris", " Dublin", " Santiago", " Chicago", " the")
CLEAN, CORRUPTED = 0.9352, 0.0357
SITES = {"hidden": (4, 1.3), "mlp": (3, 1.6), "attn": (6, 1.1)}
EXPECTED = 4.0
"""Seconds that a grid is said to take."""
HEADS = (0.1, 0.6, 0.05, -0.02)
"""Of what an attention brings back, the share that each head does alone."""
WRITTEN: dict[Kind, float] = {"hidden": 1.0, "mlp": 0.4, "attn": 0.25}


def fake_trace(
    prompt: str = PROMPT,
    subject: str = SUBJECT,
    *,
    tokens: Sequence[str] | None = None,
    span: tuple[int, int] | None = None,
    n_layers: int = 8,
    window: int = 3,
    scores: dict | None = None,
    **more,
) -> CausalTrace:
    """A trace with an early and a late site, as the paper finds them."""
    words = tuple(tokens or split(prompt))
    start, stop = span or subject_words(prompt, subject)
    values = {
        "prompt": prompt,
        "subject": subject,
        "tokens": words,
        "token_ids": tuple(range(len(words))),
        "subject_span": (start, stop),
        "answer": WORDS[0],
        "answer_id": 0,
        "clean": CLEAN,
        "corrupted": CORRUPTED,
        "scores": scores
        or {kind: landscape(kind, len(words), stop - 1, n_layers) for kind in KINDS},
        "windows": {"hidden": 1, "mlp": window, "attn": window},
        "n_layers": n_layers,
        "samples": 10,
        "seed": 1,
        "noise": {"text": "3.0 × σ (σ = 0.128, n = 3412)"},
        "model": "fake world",
        "baseline": tuple(predictions(CORRUPTED)),
    }
    return CausalTrace(**{**values, **more})


def landscape(kind: str, n_pos: int, last: int, n_layers: int) -> np.ndarray:
    """Probabilities `[pos, layer]`: a bump at the last subject token and one at the end."""
    centre, width = SITES[kind]
    layers = np.arange(n_layers) * 8 / n_layers
    early = 0.42 * np.exp(-(((layers - centre) / width) ** 2) / 2)
    late = 0.9 / (1 + np.exp(-(layers - 6.3) * 3)) if kind != "mlp" else 0.03 * layers / 7
    scores = np.full((n_pos, n_layers), CORRUPTED)
    scores += 0.012 * np.sin(np.arange(n_pos)[:, None] * 3.1 + layers * 1.7)
    scores[last] += early
    scores[-1] += late * (CLEAN - CORRUPTED) * (1.0 if kind == "hidden" else 0.75)
    return np.clip(scores, 0.0, CLEAN)


def rough(scores: np.ndarray) -> np.ndarray:
    """An estimate of these scores: the right order, the wrong numbers."""
    return np.minimum(CORRUPTED + 1.2 * (scores - CORRUPTED), 1)


def predictions(restored: float) -> list[Prediction]:
    share = (restored - CORRUPTED) / (CLEAN - CORRUPTED)
    clean = np.array([CLEAN, 0.0002, 0.0016, 0.0006, 0.0151, 0.0082, 0.02])
    corrupted = np.array([CORRUPTED, 0.0886, 0.2423, 0.0403, 0.0195, 0.0077, 0.01])
    mixed = corrupted + share * (clean - corrupted)
    rows = [
        Prediction(word, i, float(clean[i]), float(corrupted[i]), float(mixed[i]))
        for i, word in enumerate(WORDS)
    ]
    return sorted(rows, key=lambda row: -row.restored)


def fake_flow(trace: CausalTrace, states: Sequence[State]) -> Flow:
    """Noise on the subject spreads to later tokens, and ebbs downstream of restored states."""
    shape = n_pos, n_layers = len(trace.tokens), trace.n_layers
    (start, stop), layers = trace.subject_span, np.arange(n_layers)
    reached = np.zeros(shape)
    reached[start:stop] = 1.1 - 0.4 * layers / n_layers
    reached[stop:] = 0.7 / (1 + np.exp(4 - layers * 8 / n_layers))
    back = np.zeros(shape)
    for pos, layer, _ in states:
        back[pos, layer:] = np.maximum(back[pos, layer:], 0.8)
        later = 0.7 * np.clip((layers - layer) / n_layers, 0, 1)
        back[pos + 1 :] = np.maximum(back[pos + 1 :], later)
    corrupted: dict[Kind, np.ndarray] = {kind: WRITTEN[kind] * reached for kind in KINDS}
    shares: dict[Kind, np.ndarray] = {kind: back.copy() for kind in KINDS}
    for pos, layer, kind in states:
        shares[kind][pos, layer] = 1
    noise = np.zeros(n_pos)
    noise[start:stop] = 1.7
    return Flow(
        states=tuple(states),
        kinds=KINDS,
        written={kind: np.full(shape, WRITTEN[kind]) for kind in KINDS},
        corrupted=corrupted,
        restored={kind: corrupted[kind] * (1 - shares[kind]) for kind in KINDS},
        moved={kind: corrupted[kind] * shares[kind] for kind in KINDS},
        noise=noise,
    )


def fake_lens_run(name: str, answer: float, n_layers: int) -> LensRun:
    """From " the" in the first layers to what the run predicts after the last."""
    last = np.array([row.restored for row in sorted(predictions(answer), key=lambda row: row.id)])
    first = np.array([0.001, 0.002, 0.003, 0.002, 0.001, 0.002, 0.3])
    shares = 1 / (1 + np.exp(5 - 8 * np.arange(n_layers) / n_layers))
    shares[-1] = 1
    table = first + shares[:, None] * (last - first)
    return LensRun(
        name,
        probabilities=tuple(table[:, 0].tolist()),
        ranks=tuple((1 + (table > table[:, :1]).sum(axis=1)).tolist()),
        top=tuple(
            tuple((WORDS[i], float(row[i])) for i in np.argsort(-row)[:5].tolist()) for row in table
        ),
    )


def split(prompt: str) -> list[str]:
    words = prompt.split(" ")
    return [words[0], *(f" {word}" for word in words[1:])]


def subject_words(prompt: str, subject: str) -> tuple[int, int]:
    at = prompt.rfind(subject)
    if at < 0 or not subject:
        raise SubjectNotFound(
            f"The subject {subject!r} is not in the prompt {prompt!r}.",
            "The subject must stand in the prompt letter for letter.",
            f"Did you mean {NEAR!r}?",
            NEAR,
        )
    start = prompt[:at].count(" ")
    return start, start + subject.count(" ") + 1


def words_at(prompt: str, place: tuple[int, int]) -> tuple[int, int]:
    """The words that these characters of a prompt are in."""
    start = prompt[: place[0]].count(" ")
    return start, start + prompt[slice(*place)].count(" ") + 1


class FakeEngine:
    """Implements `TraceEngine`.

    Args:
        session: Of another engine of the same model; its own if not given.
        slow: Wait before each row of a trace until `step` is set, then clear it.
        preview: Tell an estimate first, as far from the exact grid as one may be.

    `edit(0.9)` takes nine tenths of the fact away, `edit(0)` gives them back; `tell(1)` says that
    the model holds one edit.
    """

    model_name = "fake world"
    load_code = "rw.load()"
    default_samples = 10
    examples = ((PROMPT, SUBJECT), ("Mount Fuji is in the country of", "Mount Fuji"))

    def __init__(
        self,
        n_layers: int = 8,
        *,
        slow: bool = False,
        row_seconds: float = 0.0,
        preview: bool = False,
        session: Session | None = None,
    ) -> None:
        self.n_layers = n_layers
        edits = self._edits = []
        self.session = session or Session(self.model_name, lambda: edits)
        self.preview = preview
        self.slow = slow
        self.row_seconds = row_seconds
        self.step = threading.Event()
        self.restore_gate = threading.Event()
        self.restore_gate.set()
        self.broken: Exception | None = None
        self.taken = 0.0
        self.identity = 0
        self.traced: list[TraceSettings] = []
        self.resumed: list[CausalTrace | None] = []
        """What each trace went on from."""
        self.restored: list[tuple[State, ...]] = []
        self.paths: list[float] = []
        self.opened: list[tuple[int, tuple[int, ...]]] = []
        """Layer and positions of the heads that were asked for."""
        self.flows: list[tuple[State, ...]] = []
        self.lenses: list[tuple[State, ...]] = []
        self.threads: set[str] = set()

    def edit(self, taken: float) -> None:
        """Change the weights; whoever shows the model must still be told."""
        self.taken = taken
        self.identity += 1

    def tell(self, count: int) -> None:
        """Say that the model holds `count` edits, to everybody who shows it."""
        self._edits[:] = range(count)
        self.session.edits_changed()

    def read_prompt(
        self, prompt: str, subject: str, occurrence: Occurrence | None = None
    ) -> TraceSettings:
        if occurrence is None:
            return TraceSettings(prompt, subject)
        every = occurrence == "all"
        place = None if every else find_subject(prompt, subject, occurrence)[0][-1]
        return TraceSettings(prompt, subject, place=place, all_mentions=every)

    n_subjects = 1209

    def token_text(self, token_id: int) -> str:
        return WORDS[token_id]

    def subject_places(self, prompt: str, subject: str, said=None) -> list[tuple[int, int]]:
        return subject_places(prompt, subject, said)

    def likely_subject(self, prompt: str) -> str:
        return likely_subject(prompt)

    def _edited(self, trace: CausalTrace, answer_id: int | None) -> CausalTrace:
        """The trace as the edited model gives it; it says Paris unless another word is followed."""
        if not self.taken:
            return trace
        kept = 1 - self.taken
        if answer_id is None:
            return replace(trace, answer=WORDS[2], answer_id=2)
        shares = {"hidden": kept, "mlp": kept**2, "attn": kept}
        scores = {
            kind: CORRUPTED
            + shares[kind] * (grid - CORRUPTED)
            + self.taken * 0.02 * (kind == "attn")
            for kind, grid in trace.scores.items()
        }
        clean = CORRUPTED + kept * (CLEAN - CORRUPTED)
        return replace(trace, scores=scores, clean=clean)

    def trace(
        self,
        settings: TraceSettings,
        progress: Callable[[Progress], None],
        cancelled: Callable[[], bool],
        resume: CausalTrace | None = None,
    ) -> CausalTrace:
        self.threads.add(threading.current_thread().name)
        self.traced.append(settings)
        if self.broken:
            raise self.broken
        whole = fake_trace(
            settings.prompt,
            settings.subject,
            span=settings.place and words_at(settings.prompt, settings.place),
            n_layers=self.n_layers,
            window=settings.window or 3,
            samples=settings.samples,
            seed=settings.seed,
            noise={"text": f"{settings.noise:.1f} × σ (σ = 0.128, n = 3412)"},
        )
        whole = self._edited(whole, settings.answer_id)
        partial = {kind: np.full_like(grid, np.nan) for kind, grid in whole.scores.items()}
        total = sum(grid.size for grid in partial.values())
        self.resumed.append(resume)
        for kind, grid in resume.scores.items() if resume else ():
            partial[kind][:] = grid
        if self.preview and not resume:
            guess = self._like(
                whole, {k: rough(grid) for k, grid in whole.scores.items()}, settings
            )
            progress(Progress(0, total, replace(guess, estimated=True), EXPECTED))
        for kind in KINDS:
            for pos in range(len(whole.tokens)):
                if not np.isnan(partial[kind][pos]).any():
                    continue
                self._pause(cancelled)
                if cancelled():
                    raise Cancelled("The trace was stopped.", self._like(whole, partial, settings))
                partial[kind][pos] = whole.scores[kind][pos]
                done = int(sum((~np.isnan(grid)).sum() for grid in partial.values()))
                progress(Progress(done, total, self._like(whole, partial, settings)))
        return whole

    def _pause(self, cancelled: Callable[[], bool]) -> None:
        if self.row_seconds:
            threading.Event().wait(self.row_seconds)
        while self.slow and not cancelled():
            if self.step.wait(0.01):
                self.step.clear()
                return

    def _like(self, whole: CausalTrace, scores: dict, settings: TraceSettings) -> CausalTrace:
        return replace(whole, scores={kind: grid.copy() for kind, grid in scores.items()})

    def subject_at(
        self, settings: TraceSettings, start: int, stop: int
    ) -> tuple[str, tuple[int, int]]:
        words = settings.prompt.split(" ")
        if not 0 <= start < stop <= len(words):
            raise PromptError(f"The positions {start} to {stop} are not in the prompt.")
        first = len(" ".join(words[:start])) + (start > 0)
        subject = " ".join(words[start:stop])
        return subject, (first, first + len(subject))

    def restore(
        self, settings: TraceSettings, selection: Sequence[State], single: bool = False
    ) -> FakeRestoration:
        self.threads.add(threading.current_thread().name)
        assert self.restore_gate.wait(HELD)
        self.restored.append(tuple(selection))
        if self.broken:
            raise self.broken
        return FakeRestoration(settings, tuple(selection), self.n_layers, single)

    def find_path(
        self,
        settings: TraceSettings,
        recovery: float,
        progress: Callable[[RestoringPath], None],
        cancelled: Callable[[], bool],
    ) -> RestoringPath:
        """The states that bring most back, one after another, each six tenths of its own rise."""
        self.threads.add(threading.current_thread().name)
        self.paths.append(recovery)
        if self.broken:
            raise self.broken
        scores = fake_trace(settings.prompt, settings.subject, n_layers=self.n_layers).scores
        tried = [
            (float(grid[pos, layer]), State(pos, layer, kind))
            for kind, grid in scores.items()
            for pos in range(len(grid) - 1)
            for layer in range(self.n_layers)
        ]
        path = RestoringPath((), (), WORDS[0], CLEAN, CORRUPTED, recovery, False, 0)
        for score, state in sorted(tried, reverse=True):
            if path.reached:
                break
            self._pause(cancelled)
            if cancelled():
                raise Cancelled("The search was stopped.")
            so_far = path.scores[-1] if path.states else CORRUPTED
            path = replace(
                path,
                states=(*path.states, state),
                scores=(
                    *path.scores,
                    min(CLEAN, so_far + 0.6 * (score - CORRUPTED)),
                ),
                n_restored=path.n_restored + len(tried),
            )
            path = replace(path, reached=path.recovery >= recovery)
            progress(path)
        return path

    def heads(
        self,
        settings: TraceSettings,
        layer: int,
        positions: Sequence[int],
        progress: Callable[[Heads], None],
        cancelled: Callable[[], bool],
    ) -> Heads:
        """The rise of each attention cell, shared out among the heads; one token after another."""
        self.threads.add(threading.current_thread().name)
        self.opened.append((layer, tuple(positions)))
        if self.broken:
            raise self.broken
        trace = fake_trace(settings.prompt, settings.subject, n_layers=self.n_layers)
        rises = trace.indirect_effect("attn")[list(positions), layer]
        scores = np.full((len(positions), len(HEADS)), np.nan)
        runs = WORDS[0], CLEAN, CORRUPTED, trace.tokens
        for row, rise in enumerate(rises):
            self._pause(cancelled)
            if cancelled():
                raise Cancelled("The heads were stopped.")
            scores[row] = CORRUPTED + rise * np.array(HEADS)
            progress(Heads(layer, tuple(positions), scores.copy(), *runs))
        return Heads(layer, tuple(positions), scores, *runs)

    def flow(
        self, settings: TraceSettings, selection: Sequence[State], single: bool = False
    ) -> Flow:
        self.flows.append(tuple(selection))
        trace, states = self._inside(settings, selection, single)
        return fake_flow(trace, states)

    def lens(
        self, settings: TraceSettings, selection: Sequence[State], single: bool = False
    ) -> Lens:
        self.lenses.append(tuple(selection))
        _, states = self._inside(settings, selection, single)
        restored = FakeRestoration(settings, tuple(selection), self.n_layers).probability
        clean = CLEAN - self.taken * (CLEAN - CORRUPTED)
        ends = {"clean": clean, "corrupted": CORRUPTED}
        ends |= {"restored": restored} if states else {}
        ends |= {"unedited": CLEAN} if self.taken else {}
        runs = tuple(fake_lens_run(name, end, self.n_layers) for name, end in ends.items())
        return Lens(WORDS[0], 0, states, runs)

    def _inside(
        self, settings: TraceSettings, selection: Sequence[State], single: bool
    ) -> tuple[CausalTrace, tuple[State, ...]]:
        """The trace of these settings and the states that the selected cells restore."""
        self.threads.add(threading.current_thread().name)
        assert self.restore_gate.wait(HELD)
        if self.broken:
            raise self.broken
        trace = fake_trace(
            settings.prompt,
            settings.subject,
            n_layers=self.n_layers,
            window=1 if single else settings.window or 3,
        )
        return trace, tuple(sorted({s for cell in selection for s in trace.cell(*cell)}))


class FakeRestoration(Restoration):
    """A restoration whose probability adds up what its cells bring back one by one."""

    def __init__(
        self,
        settings: TraceSettings,
        selection: tuple[State, ...],
        n_layers: int,
        single: bool = False,
    ) -> None:
        trace = fake_trace(settings.prompt, settings.subject, n_layers=n_layers)
        window = 1 if single else settings.window or 3
        states = sorted(
            {
                s
                for pos, layer, kind in selection
                for s in cell_states(pos, layer, kind, window, n_layers)
            }
        )
        rise = sum(trace.scores[kind][pos, layer] - CORRUPTED for pos, layer, kind in selection)
        rows = sorted(predictions(float(min(CLEAN, CORRUPTED + rise))), key=lambda row: row.id)
        distributions = np.array([[row.clean, row.corrupted, row.restored] for row in rows]).T
        super().__init__(
            settings.prompt,
            trace.tokens,
            tuple(states),
            WORDS[0],
            0,
            distributions,
            dict(enumerate(WORDS)),
        )
