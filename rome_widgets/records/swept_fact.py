"""One fact of a sweep: its trace by the roles of its tokens, or why there is none.

Source:
    Meng et al. 2022, figures 1 and 2, and the published code's plots of averages: which tokens are
    one row, and that "middle subject" and "further" pool all of theirs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

import numpy as np

from rome_widgets.errors import StateError, said
from rome_widgets.records.html import paragraph, quoted, shortened, table, visible
from rome_widgets.records.states import Kind
from rome_widgets.records.trace import ReadOnlyArrays

Role = Literal["first subject", "middle subject", "last subject", "first after", "further", "last"]
ROLES: tuple[Role, ...] = get_args(Role)
"""The roles of tokens, in the order of a prompt; those before the subject have none."""
ROLE_TITLES: Mapping[Role, str] = {
    "first subject": "First subject token",
    "middle subject": "Middle subject tokens",
    "last subject": "Last subject token",
    "first after": "First subsequent token",
    "further": "Further tokens",
    "last": "Last token",
}
"""The roles as the paper's figures name their rows."""
_OF_ONE_TOKEN: tuple[Role, ...] = (
    *("last subject", "first subject", "middle subject"),
    *("last", "first after", "further"),
)
"""Which role a single token is said to have, where it has two."""


def check_role(role: object) -> Role:
    """The role, if there is one of that name.

    Raises:
        StateError: There is none.
    """
    if isinstance(role, str) and role in ROLES:
        return role
    raise StateError(f"There is no role {said(role)}.", f"Roles are {', '.join(map(repr, ROLES))}.")


Status = Literal["traced", "unknown", "failed"]
STATUSES: tuple[Status, ...] = get_args(Status)


def positions_of_roles(n_pos: int, span: tuple[int, int]) -> dict[Role, range]:
    """The positions of each role in a prompt; of some there are none.

    A subject of one token is both its first and its last, and has no middle. Where one token
    follows the subject, it is both the first after it and the last. Where none does, the subject's
    last is also the prompt's, and there is no first after it.

    Args:
        n_pos: Tokens of the prompt.
        span: Half-open span of the subject.

    Example:
        >>> positions_of_roles(7, (1, 4))["further"]
        range(5, 6)
    """
    (start, stop), last = span, n_pos - 1
    return {
        "first subject": range(start, start + 1),
        "middle subject": range(start + 1, stop - 1),
        "last subject": range(stop - 1, stop),
        "first after": range(stop, min(stop + 1, n_pos)),
        "further": range(stop + 1, last),
        "last": range(last, n_pos),
    }


class Peak(NamedTuple):
    """Where restoring a state of one fact brings most back."""

    pos: int
    role: Role
    layer: int
    effect: float
    """Indirect effect there."""


@dataclass(frozen=True, eq=False, repr=False)
class SweptFact(ReadOnlyArrays):
    """Holds the trace of one fact of a sweep, or says why it was not traced.

    Example:
        >>> fact = sweep.facts[0]
        >>> fact.status, fact.by_role("mlp").shape
        ('traced', (6, 8))
    """

    number: int
    """Its place among the facts that were given, from 0."""
    prompt: str
    subject: str
    status: Status
    """"traced"; "unknown", where the model says something else; "failed", with a `reason`."""
    reason: str = ""
    """Why it was not traced, a sentence."""
    target: str = ""
    """What was to follow the prompt, where the fact says it."""
    answer: str = ""
    """The token that is followed, or that an unknown fact is answered with; as text."""
    answer_id: int | None = None
    tokens: tuple[str, ...] = ()
    """Printable text of each position."""
    subject_span: tuple[int, int] = (0, 0)
    """Half-open, in positions; of several mentions the last."""
    clean: float = math.nan
    """The metric of the clean run."""
    corrupted: float = math.nan
    """The same with the subject corrupted and nothing restored, mean over samples."""
    scores: Mapping[Kind, np.ndarray] = field(default_factory=dict)
    """`[pos, layer]` per kind: the same with that place restored."""
    severed: Mapping[Kind, np.ndarray] = field(default_factory=dict)
    """`[layer]` per kind: with the hidden state at the subject's last token restored, while that
    token's outputs of this kind are severed."""

    def __repr__(self) -> str:
        answer = f" → {quoted(self.answer, 24)}" if self.answer else ""
        return f"SweptFact({quoted(self.prompt)}{answer},\n    {shortened(self._became, 90)})"

    def _repr_html_(self) -> str:
        peaks = [(kind, self.peak(kind)) for kind in self.scores]
        rows = [[kind, peak.role, str(peak.layer), peak.effect] for kind, peak in peaks]
        head = f"{self.prompt} → {self.answer.strip()}: {self._became}"
        names = ["kind", "strongest at", "layer", "indirect effect"]
        return paragraph(head) + (table(rows, names) if rows else "")

    @property
    def _became(self) -> str:
        if self.status == "traced":
            return f"clean {self.clean:.4f}, corrupted {self.corrupted:.4f}"
        return f"{self.status}: {visible(self.reason)}"

    @property
    def total_effect(self) -> float:
        """`clean - corrupted`; NaN of a fact that was not traced."""
        return self.clean - self.corrupted

    @property
    def positions(self) -> dict[Role, range]:
        """The positions of each role."""
        return positions_of_roles(len(self.tokens), self.subject_span)

    def indirect_effect(self, kind: Kind) -> np.ndarray:
        """`[pos, layer]`: what restoring each place adds to `corrupted`.

        Raises:
            StateError: That kind was not traced.
        """
        if not isinstance(kind, str) or kind not in self.scores:
            raise StateError(
                f"Fact {self.number} ({self.status}) has no scores of kind {said(kind)}.",
                f"It has {', '.join(map(repr, self.scores)) or 'none'}.",
            )
        return self.scores[kind] - self.corrupted

    def by_role(self, kind: Kind) -> np.ndarray:
        """`[role, layer]`: mean indirect effect over the role's tokens; NaN where it has none.

        Raises:
            StateError: That kind was not traced.
        """
        effects = self.indirect_effect(kind)
        nothing = np.full(effects.shape[1], np.nan)
        places = self.positions.values()
        return np.stack([effects[place].mean(axis=0) if place else nothing for place in places])

    def peak(self, kind: Kind) -> Peak:
        """Where the indirect effect is greatest, from the subject on.

        Raises:
            StateError: That kind was not traced.
        """
        start = self.subject_span[0]
        effects = self.indirect_effect(kind)[start:]
        row, layer = np.unravel_index(int(effects.argmax()), effects.shape)
        pos, places = start + int(row), self.positions
        role: Role = next(role for role in _OF_ONE_TOKEN if pos in places[role])
        return Peak(pos, role, int(layer), float(effects[row, layer]))
