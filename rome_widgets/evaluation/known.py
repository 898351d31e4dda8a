"""Which facts a model knows: the true object is what it is likeliest to go on with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rome_widgets.errors import Cancelled, PromptError, RomeWidgetsError
from rome_widgets.model.language_model import LanguageModel, check_language_model
from rome_widgets.model.memory import needs_memory
from rome_widgets.model.progress_bar import shows_progress
from rome_widgets.model.undisturbed import undisturbed
from rome_widgets.model.word_scores import asking
from rome_widgets.records.arguments import Listener, callback, cancel_flag, takes
from rome_widgets.records.call_progress import CallProgress
from rome_widgets.records.fact import Fact
from rome_widgets.records.fact_record import FactRecord
from rome_widgets.records.fact_records import BadRecord, FactRecords
from rome_widgets.records.trace import CancelFlag


@takes(progress=callback, cancel=cancel_flag)
@shows_progress("Asking", "prompt")
@needs_memory("ask for facts")
@undisturbed
def known_to(
    lm: LanguageModel,
    records: Iterable[Fact | Mapping[str, Any]],
    *,
    progress: Listener[CallProgress] = None,
    cancel: CancelFlag | None = None,
) -> FactRecords:
    """Those of the facts that a model knows, in their order.

    It knows a fact if its likeliest token after the prompt is the first of the true object. Each
    prompt is run once, together with others of its length.

    Args:
        lm: The model.
        records: Facts with their true object, of one of `rw.datasets` or in any form that is known.
        progress: Called after each batch; None shows a progress bar, False none.
        cancel: Checked between batches; stops with `Cancelled`, which carries nothing.

    Returns:
        Also where it was given a list of records. What the model cannot be asked, such as a prompt
        longer than its context or a fact without an object, is added to `left_out`.

    Raises:
        PromptError: A record states no fact, or none of them can be asked.
        Cancelled: `cancel` was set.

    Source:
        Meng et al. 2022: traces are of facts that the model predicts. There the likeliest token has
        to be the whole object, so that objects of several tokens are never known.

    Example:
        >>> facts = rw.datasets.bundled().sample(50)
        >>> known = rw.datasets.known_to(lm, facts)
        >>> len(known) / len(facts) > 0.9
        True
    """
    lm = check_language_model(lm).up_to_date()
    given = records if isinstance(records, FactRecords) else FactRecords(records)
    rows: dict[tuple[int, ...], int] = {}
    wanted: list[tuple[FactRecord, int, int]] = []
    left_out = list(given.left_out)
    with lm.encoding_alike():
        for number, record in enumerate(given):
            try:
                row, token = _question(lm, record)
            except RomeWidgetsError as error:
                left_out.append(BadRecord(f"record {number}", str(error)))
            else:
                wanted.append((record, rows.setdefault(row, len(rows)), token))
    if not wanted:
        first = f" The first: {left_out[len(given.left_out)].reason}" if given else ""
        raise PromptError(
            f"None of the {len(given)} facts can be asked.{first}",
            "Facts with their true object were wanted.",
        )
    likeliest, done = [-1] * len(rows), 0
    for some, probabilities in asking(lm)(list(rows)):
        for number, token in zip(some, probabilities.argmax(dim=-1).tolist(), strict=True):
            likeliest[number] = token
        done += len(some)
        if callable(progress):
            progress(CallProgress(done, len(rows)))
        if cancel is not None and cancel.is_set() and done < len(rows):
            raise Cancelled(f"Cancelled after {done} of {len(rows)} prompts.")
    known = [record for record, row, token in wanted if likeliest[row] == token]
    return FactRecords(known, given.source, left_out)


def _question(lm: LanguageModel, record: FactRecord) -> tuple[tuple[int, ...], int]:
    """The row to run for a fact, and the token that is likeliest after it if the fact is known."""
    if not record.target:
        raise PromptError(f"{record!r} names no true object.", "One was wanted, as its target.")
    return tuple(lm.prompt_ids(record.text)), lm.answer_ids(record.text, record.target)[0]
