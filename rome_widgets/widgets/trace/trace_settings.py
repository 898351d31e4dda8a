"""Settings of a trace, as a form holds them and a run is kept by."""

from __future__ import annotations

from dataclasses import dataclass

from rome_widgets.records.trace_metric import Metric


@dataclass(frozen=True)
class TraceSettings:
    """Everything that decides a trace besides the model. Hashable: a key for kept runs."""

    prompt: str
    subject: str
    noise: float = 3.0
    """Multiple of σ."""
    samples: int = 10
    seed: int = 1
    window: int | None = None
    """Layers restored together by an MLP or attention cell; None lets the model's depth decide."""
    answer: str | None = None
    """The word whose probability is followed; None takes the clean run's own."""
    place: tuple[int, int] | None = None
    """Characters of the subject, where that may not be its last occurrence in the prompt."""
    answer_id: int | None = None
    """The very token to follow, where it must be that of another trace; goes before `answer`."""
    all_mentions: bool = False
    """Corrupt every mention of the subject, not one."""
    ids: tuple[int, ...] | None = None
    """The ids of the prompt, where it was given as messages or ids and its text has others."""
    said: tuple[tuple[int, int], ...] | None = None
    """Characters that messages say, where it was given as these: where a subject is looked for."""
    metric: Metric = "probability"
    """What is measured of a prediction."""
    against: str | None = None
    """The second answer of a difference of logits."""
    other_subject: str | None = None
    """Who stands in for the subject in the corrupted run, in place of noise."""
