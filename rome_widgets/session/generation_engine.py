"""The engine of a `GenerationCompare`: a language model, or an edit of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rome_widgets.editing.compare import SideBySide, compare_all_edits, compare_edit
from rome_widgets.editing.edit import Edit
from rome_widgets.errors import Cancelled
from rome_widgets.model.language_model import LanguageModel, check_language_model
from rome_widgets.model.tokens import read_prompts
from rome_widgets.session.session import session_of
from rome_widgets.widgets.edit.engine import GenerationStep
from rome_widgets.widgets.live.engine import Stop, Tell


class GeneratingEngine:
    """Answers a `GenerationCompare` with a model and its edits, or with one edit.

    Args:
        model: A model: without any edit against with all that are applied; or an edit, applied or
            not: without it and with it.
    """

    def __init__(self, model: LanguageModel | Edit) -> None:
        self._edit = model if isinstance(model, Edit) else None
        self.lm = check_language_model(model.lm if isinstance(model, Edit) else model)
        self.session, self.model_name = session_of(self.lm), self.lm.name

    def read_prompts(self, prompts: Any) -> list[str]:
        """Prompts of any form as texts, with the ids they were given as."""
        return [self.lm.read_prompt(prompt) for prompt in read_prompts(prompts)]

    def generate(
        self,
        prompts: Sequence[str],
        max_new_tokens: int,
        progress: Tell[GenerationStep],
        cancelled: Stop,
    ) -> list[dict[str, str]]:
        """Greedy continuations of each prompt before and after, told token by token."""
        decode: Any = self.lm.tokenizer.decode
        both = self._both()  # Once: all prompts ask the same model, or there is no answer.
        done = []
        for number, prompt in enumerate(prompts):
            ids = self.lm.prompt_ids(prompt)
            row = {"before": "", "after": ""}

            def told(*sides: list[int], number: int = number, row: dict[str, str] = row) -> None:
                for column, written in zip(row, sides, strict=True):
                    row[column] = decode(written, skip_special_tokens=True)
                    progress(GenerationStep(number, column, row[column]))
                if cancelled():
                    raise Cancelled("The generation was stopped.")

            both.write(ids, max_new_tokens, told)
            done.append(row)
        return done

    def _both(self) -> SideBySide:
        if self._edit is None:
            return compare_all_edits(self.lm)
        return compare_edit(self.lm, self._edit, self._edit.strength)
