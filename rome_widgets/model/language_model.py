"""Language models as the rest of the package sees them: parts, tokens, and one way to run.

The user's model is only read: what runs are stand-ins of its modules, in eval mode (see
`stand_in`).
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from rome_widgets.errors import (
    ArgumentError,
    NonFinite,
    NotCausal,
    RomeWidgetsError,
    SaveFailed,
    StateError,
    UnsupportedModel,
    WeightsNotLoaded,
    WrappedModel,
    said,
)
from rome_widgets.model import tokens
from rome_widgets.model.eval_mode import device_of, run_in_eval_mode
from rome_widgets.model.hooks import Visitor, run_hooked
from rome_widgets.model.identity import Identity, IdentityReader, tokenizer_state
from rome_widgets.model.ledger import ledger_of
from rome_widgets.model.memory import free_memory, needs_memory
from rome_widgets.model.progress_bar import counting
from rome_widgets.model.quantised import unpacked_from
from rome_widgets.model.replay import CannotReplay, Replay, find_replay
from rome_widgets.model.stand_in import running_stand_ins, standing_in
from rome_widgets.model.structure.geometry import (
    CHECKS,
    Geometry,
    all_logits,
    find_geometry,
    non_finite_error,
    own_logits,
    probe_ids,
    tolerance,
)
from rome_widgets.model.structure.head import last_logits_only
from rome_widgets.model.tokenizer_copy import copy_tokenizer
from rome_widgets.model.wrappers import check_wrappers, prove_wrappers, unwrap, wrappers_of
from rome_widgets.records.arguments import (
    Listener,
    a_path,
    callback,
    optional,
    several,
    takes,
    text,
    truth,
)
from rome_widgets.records.call_progress import CallProgress
from rome_widgets.records.edit import WeightsState
from rome_widgets.records.fact import HOLE
from rome_widgets.records.html import and_more, plural, quoted, shortened, table
from rome_widgets.records.numbers import as_float, whole_number
from rome_widgets.records.states import Kind, check_kinds
from rome_widgets.records.staying import Stays
from rome_widgets.records.subject import Occurrence, Span, subject_places

T = TypeVar("T")

MOST_LINES = 4
"""Of the list of a model's edits."""

PROBE_TEXT = "The capital of France is"
"""Read as any prompt, with a start token where the tokenizer gives one."""
TOKENS_ON_CPU = 1024
"""Tokens per call of a block on a CPU: its intermediate values should stay near its caches."""
MOST_TOKENS_ON_GPU = 32768
WIDTHS_PER_TOKEN = 30
"""Numbers of d_model width that a block keeps per token while it runs, at most."""
_POSITIONS = ("max_position_embeddings", "max_seq_len", "max_sequence_length", "n_positions")
"""Names by which configurations say how many positions there are."""
_UNLIMITED = 1_000_000
"""A tokenizer without a limit states a huge number; anything above this is no limit."""


class LanguageModel(Stays):
    """Wraps a model and its tokenizer, checked and ready to trace.

    What is traced is what `model(...)` would compute now in eval mode, with its hooks, adapters and
    weights as they are at the moment: what was made of another is refused, with what changed.

    Args:
        model: A causal language model of transformers; `torch.compile`, nnsight and PEFT
            wrappers are unwrapped. One in training mode runs as after `model.eval()`.
        tokenizer: Its tokenizer, or the processor that holds it; never changed.
        name: What to call it on screen; its own name or path by default.
        progress: Called after each check of it; None shows a progress bar where it lasts, False
            none.

    Raises:
        UnsupportedModel: The parts could not be found, or the probe pass disproved them.
        NonFinite: The model computes NaN or infinity, as Gemma does in float16.

    Example:
        >>> lm = rw.LanguageModel(model, tokenizer, name="my model")
        >>> lm
        LanguageModel('my model': 8 layers, d_model 192, float32 on cpu)
    """

    _instead = (
        "Load it there, or wrap a copy of the model: "
        "rome_widgets.LanguageModel(copy.deepcopy(lm.model), lm.tokenizer)."
    )

    @takes(name=optional(text), progress=callback)
    @needs_memory("attach the model")
    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        *,
        name: str | None = None,
        progress: Listener[CallProgress] = None,
    ) -> None:
        tokenizer = tokens.find_tokenizer(tokenizer)
        self.model = unwrap(model)
        check_kind_of_model(self.model)
        self._wrappers = wrappers_of(model)
        check_wrappers(self._wrappers, self.model)
        self.tokenizer: Any = tokenizer
        self._encoder_copy, self._encoder_state = _own_copy(tokenizer)
        self._encoding = threading.local()
        self._token_texts: dict[int, str] = {}
        self.name = name or _own_name(self.model)
        self.notes: tuple[str, ...] = _notes_of(self.model)
        """What to know of its weights, such as how they were quantised before; sentences."""
        self._fitting_tokens: int | None = None
        self._remembered: dict[str, tuple[Hashable, Any]] = {}
        self._identities = IdentityReader(self.model, tokenizer, self._wrappers)
        self._attaching = threading.RLock()
        with counting(progress, "Attaching", "check") as steps:
            done = itertools.count(1)
            self._attach(
                self._identities.read(), lambda: steps.at(next(done), CHECKS + 2, "checks")
            )
        prove_wrappers(self._wrappers, self.model, probe_ids(self.model))
        self._prove_range()

    def _attach(self, before: Identity, checked: Callable[[], None] = lambda: None) -> None:
        """Find the model's parts, and prove that they can be replayed."""
        self._look(lambda: self._find_parts(before.foreign, checked))
        self._attached_to = before.structure, before.foreign
        self._looked_at = before.foreign

    def _look(self, passes: Callable[[], T]) -> T:
        """Run passes that show what a pass changes in the modules themselves."""
        return self.run(
            lambda: self._identities.leaving_out_what_changes(standing_in(self.model), passes)
        )

    def _find_parts(self, foreign: tuple[str, ...], checked: Callable[[], None]) -> None:
        try:
            geometry = find_geometry(self.model, checked)
            if foreign:
                self._prove_alike(foreign)
        except UnsupportedModel as error:
            raise _because_of_hooks(error, foreign) from error.__cause__
        if foreign:
            geometry = _naming(geometry, foreign)
        last_only = last_logits_only(self.model, geometry)
        checked()
        replay, no_replay = None, ""
        try:
            if not foreign:
                replay = find_replay(self.model, geometry, probe_ids(self.model), last_only)
        except CannotReplay as reason:
            no_replay = str(reason)
        checked()
        self.geometry: Geometry = geometry
        self._last_only, self._replay, self._no_replay = last_only, replay, no_replay

    def _prove_alike(self, foreign: tuple[str, ...]) -> None:
        """Foreign code does to stand-ins what it does in the user's own call.

        That call is not asked in training mode, nor where it would be compiled first.
        """
        running = running_stand_ins()
        if running is None or running.in_training or running.compiled:
            return
        ids = probe_ids(self.model)
        found, own = all_logits(self.model, ids), own_logits(self.model, ids)
        if not (found - own).abs().max() <= tolerance(own.dtype) * own.abs().max():
            raise UnsupportedModel(
                f"{type(self.model).__name__} computes otherwise in a pass of ours than in its "
                "own call.",
                "Code that acts on copies of the modules, with the same weights, was wanted.",
            )

    def _prove_range(self) -> None:
        """In float16, that a sentence overflows nowhere: Gemma does, at its start token.

        Raises:
            NonFinite: It does, with the first module where.
        """
        if self.dtype != torch.float16:
            return
        try:
            ids = self.prompt_ids(PROBE_TEXT)
        except RomeWidgetsError:  # whoever asks with a prompt of their own is told
            return
        self.next_token_probabilities(torch.tensor([ids], device="cpu"))

    def up_to_date(self, now: Identity | None = None) -> LanguageModel:
        """Itself, after its parts were found again where the model is built otherwise by now.

        Whoever begins something with the model asks for it, or goes on with it.

        Args:
            now: The present identity, where it is known.

        Raises:
            UnsupportedModel: See the class.
        """
        with self._attaching:
            check_wrappers(self._wrappers, self.model)
            now, (structure, foreign) = now or self.identity, self._attached_to
            # What was found beside foreign hooks may be more without them.
            if now.structure != structure or (foreign and now.foreign != foreign):
                self._attach(now)
            elif now.foreign != self._looked_at:  # such as weights made anew for each pass
                self._look(lambda: all_logits(self.model, probe_ids(self.model)))
            self._looked_at = now.foreign
        return self

    @property
    @needs_memory("look at the weights")
    def identity(self) -> Identity:
        """Everything that decides what the model computes now; see `identity`.

        Equal as long as the model is the same. It costs 1.8 ms on the bundled model, a twelfth of
        a short pass on one of 135 million weights; on a GPU it waits for the device once (see
        `IdentityReader`).
        """
        return self._identities.read(self.tokenizer)

    @property
    def settled_identity(self) -> Hashable:
        """As `identity`, but the same again after edits that were taken out.

        They leave the bits as they were, while torch counts that they were written.
        """
        ledger = ledger_of(self.model)
        names, values = ledger.ever_edited, ledger.original_values
        found = self.identity
        return (found.without(names), values) if names and values is not None else found

    @property
    def foreign(self) -> tuple[str, ...]:
        """Hooks and replaced forwards of somebody else that act in every pass, in words."""
        return self.identity.foreign

    @property
    def replay(self) -> Replay | None:
        """The blocks, callable by themselves; None where only whole passes are right.

        Foreign hooks see whole passes, as in the user's own call: on a part of a prompt they may
        act elsewhere.
        """
        return None if self._replay is None or self.foreign else self._replay

    @replay.setter
    def replay(self, replay: Replay | None) -> None:
        self._replay = replay

    @property
    def no_replay(self) -> str:
        """Why there are whole passes only, a clause; empty where replay is right."""
        if foreign := self.foreign:
            return f"{and_more(foreign)} may not act alike on a part of the prompt"
        return self._no_replay

    @property
    def _encoder(self) -> Any:
        """A copy of the tokenizer for our own encoding.

        A call sets truncation and padding in the tokenizer, which the user's code, in another
        thread perhaps, must never see. Copied again when the user changed the tokenizer.
        """
        if (held := getattr(self._encoding, "encoder", None)) is not None:
            return held
        if tokenizer_state(self.tokenizer) != self._encoder_state:
            self._encoder_copy, self._encoder_state = _own_copy(self.tokenizer)
            self._token_texts = {}
        return self._encoder_copy

    def __repr__(self) -> str:
        edits = f", {plural(len(self.edits), 'edit')}" if self.edits else ""
        return (
            f"LanguageModel({quoted(self.name)}: {self.n_layers} layers, "
            f"d_model {self.geometry.d_model}, {self._precision} on {self.device}{edits})"
        )

    def _repr_html_(self) -> str:
        rows: list[tuple[str, str]] = [
            ("layers", str(self.n_layers)),
            ("width", str(self.geometry.d_model)),
            ("parameters", f"{self.n_parameters:,}"),
            ("precision", f"{self._precision} on {self.device}"),
            ("states", ", ".join(self.kinds)),
            ("engine", self.engine),
            ("edits", ", ".join(map(repr, self.edits)) or "none"),
            *(("note", note) for note in self.notes),
        ]
        return table(rows, caption=self.name)

    @property
    def _precision(self) -> str:
        return str(self.dtype).removeprefix("torch.")

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return self.geometry.n_layers

    @property
    def d_embedding(self) -> int:
        """Width of the input embedding; OPT-350m projects it to another width before block 0."""
        return self._embedding.weight.shape[1]

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of state that this model has."""
        return self.geometry.kinds

    @property
    def engine(self) -> str:
        """How states are restored: "replay", or "whole passes" and the reason."""
        if self._replay is not None and not self.foreign:
            return "replay"
        return f"whole passes: {self.no_replay}"

    @property
    def n_parameters(self) -> int:
        """Number of weights."""
        return sum(weight.numel() for weight in self.model.parameters())

    @property
    def device(self) -> torch.device:
        """Where token ids go: the device of the input embedding."""
        return device_of(self._embedding)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the input embedding, in which noise is added."""
        return self._embedding.weight.dtype

    @property
    def n_positions(self) -> int | None:
        """Longest prompt in tokens: the smaller of what tokenizer and model state.

        None where rotary positions are scaled by the length of the prompt, and so never end.
        """
        config = self.model.config.get_text_config()
        if rotates_without_end(config):
            return None
        limits = [getattr(config, name, None) for name in _POSITIONS]
        limits.append(getattr(self.tokenizer, "model_max_length", None))
        # A file may state anything; what is no number is no limit.
        known = [int(limit) for limit in map(as_float, limits) if 0 < limit < _UNLIMITED]
        return min(known, default=None)

    @property
    def _embedding(self) -> Any:
        """The input embedding, or the adapter in its place, which has no more than its weight."""
        return self.model.get_submodule(self.geometry.embedding)

    @property
    def _n_embeddings(self) -> int:
        return self._embedding.weight.shape[0]

    # ------------------------------------------------------------------------------- text

    def read_prompt(self, prompt: Any, subject: Any = None) -> str:
        """The prompt as text, whether it is text, chat messages, or token ids.

        What is no text keeps the ids it was given as; see `tokens.read_prompt`. One `{}` in it is
        the place of the subject, where that is not in it.

        Raises:
            PromptError: Something else, or messages without a chat template.
        """
        if isinstance(prompt, str):
            return prompt
        self._encoder.chat_template = getattr(self.tokenizer, "chat_template", None)
        text = tokens.read_prompt(self._encoder, prompt)
        if not isinstance(subject, str) or subject in text or text.count(HOLE) != 1:
            return text
        start = text.index(HOLE)
        return self.with_words(text, (start, start + len(HOLE)), subject.strip())

    def find_subject(
        self,
        prompt: str,
        subject: str | Span | Sequence[Span],
        occurrence: Occurrence | None = None,
    ) -> list[Span]:
        """The characters of a prompt that are its subject, one span per mention that is meant."""
        return tokens.find_in_prompt(self._encoder, prompt, subject, occurrence)[0]

    def subject_places(self, prompt: str, subject: str) -> list[Span]:
        """Every mention of a subject that may be meant, as spans of characters."""
        return subject_places(prompt, subject, tokens.words_of(self._encoder, prompt))

    def subject_at(self, prompt: str, start: int, stop: int) -> tuple[str, tuple[int, int]]:
        """The words at these positions of a prompt, and which characters they are."""
        return tokens.subject_at(self._encoder, prompt, start, stop)

    def with_ids(
        self, prompt: str, ids: Iterable[int] | None, said: Iterable[Span] | None = None
    ) -> str:
        """A prompt that was read before; see `tokens.with_ids`."""
        if ids is None and said is None:
            return prompt
        return tokens.with_ids(self._encoder, prompt, ids, said)

    def start_of_words(self, prompt: str, before: int) -> int:
        """Where the words begin that the character `before` is among; see `tokens`."""
        return tokens.start_of_words(self._encoder, prompt, before)

    def with_words(self, prompt: str, place: tuple[int, int], words: str) -> str:
        """The prompt with `words` in place of these characters, read in the same way."""
        return tokens.replaced(self._encoder, prompt, place, words)

    def encode(
        self,
        prompt: Any,
        subject: str | Span | Sequence[Span],
        occurrence: Occurrence | None = None,
    ) -> tokens.EncodedPrompt:
        """The prompt as positions, with the subject's spans; see `tokens.encode_prompt`."""
        return tokens.encode_prompt(
            self._encoder,
            self.read_prompt(prompt),
            subject,
            occurrence,
            max_tokens=self.n_positions,
            n_embeddings=self._n_embeddings,
        )

    def prompt_ids(self, prompt: Any) -> tuple[int, ...]:
        """The token ids of a whole prompt.

        Raises:
            PromptError: Nothing to encode.
            ContextTooLong: More tokens than the model has positions.
            VocabMismatch: A token id without an embedding row.
        """
        text = self.read_prompt(prompt)
        tokens.check_text(text, "prompt")
        ids = tokens.read_text(self._encoder, text).ids
        return tuple(
            tokens.check_ids(ids, max_tokens=self.n_positions, n_embeddings=self._n_embeddings)
        )

    def token_text(self, token_id: int) -> str:
        """Printable text of a token id; ids beyond the vocabulary are named, never fatal."""
        token_id = whole_number(token_id, "token_id", 0, 2**63 - 1)
        if token_id not in self._token_texts:
            self._token_texts[token_id] = tokens.token_text(self._encoder, token_id)
        return self._token_texts[token_id]

    @contextmanager
    def encoding_alike(self) -> Iterator[None]:
        """Within it this thread encodes by the tokenizer as it is now, which is looked at once.

        A look at one of 262,144 tokens takes as long as to encode ten prompts.
        """
        outer = getattr(self._encoding, "encoder", None)
        self._encoding.encoder = self._encoder
        try:
            yield
        finally:
            self._encoding.encoder = outer

    def encode_alone(self, text: str) -> list[int]:
        """Token ids of a text by itself, without special tokens, such as a subject for σ.

        Raises:
            VocabMismatch: A token id without an embedding row.
        """
        tokens.check_text(text, "text")
        return self._checked(tokens.encode_without_specials(self._encoder, text))

    def rows(self, ids: Iterable[Iterable[int]]) -> Tensor:
        """`[row, pos]` on the model's device: token ids on their way into a pass, all by this way.

        On a GPU an index that is out of range ends the process, so none gets there unchecked.

        Args:
            ids: Rows of one length.

        Raises:
            ContextTooLong: More tokens than the model has positions.
            VocabMismatch: A token id without an embedding row.
        """
        limits = {"max_tokens": self.n_positions, "n_embeddings": self._n_embeddings}
        listed = [tokens.check_ids(list(row), **limits) for row in ids]
        return torch.tensor(listed, dtype=torch.long, device=self.device)

    def encode_text(self, text: str) -> list[int]:
        """Token ids of a text of any length, as of a prompt."""
        tokens.check_text(text, "text")
        return self._checked(tokens.read_text(self._encoder, text).ids)

    def answer_ids(self, prompt: Any, word: str) -> list[int]:
        """The tokens with which `prompt` goes on to `word`; see `tokens.answer_ids`.

        Raises:
            VocabMismatch: A token id without an embedding row, or one that is never predicted.
        """
        text = self.read_prompt(prompt)
        tokens.check_text(text, "prompt")
        ids = self._checked(tokens.answer_ids(self._encoder, text, word))
        head: Any = self.model.get_output_embeddings()
        return tokens.check_ids(ids, n_predicted=getattr(head, "out_features", None))

    def _checked(self, ids: list[int]) -> list[int]:
        return tokens.check_ids(ids, n_embeddings=self._n_embeddings)

    def _readable(self, ids: Tensor) -> Tensor:
        """`[row, pos]` ids on their way into a pass; those on a GPU already came by `rows`."""
        whole = isinstance(ids, Tensor) and not (ids.is_floating_point() or ids.is_complex())
        if not whole or ids.ndim != 2 or not ids.numel():
            raise ArgumentError(
                f"The token ids are {said(ids)}.",
                "A tensor of whole numbers with two axes, row and position, was wanted.",
                "Make it with lm.rows([ids]).",
            )
        if ids.device.type == "cpu":
            self._checked([int(each) for each in ids.aminmax()])
        return ids

    # -------------------------------------------------------------------------------- runs

    def next_token_probabilities(
        self, ids: Tensor, visitors: Iterable[tuple[str, Visitor]] = ()
    ) -> Tensor:
        """Probabilities of the next token after each row, with visitors at named modules.

        Args:
            ids: `[batch, pos]` token ids; rows are of one length, so nothing is padded.
            visitors: Module name and visitor; see `hooks.run_hooked`.

        Returns:
            `[batch, vocab]`, softmax taken in float32, or float64 where the logits are.

        Raises:
            NonFinite: NaN or infinity in the logits, with the first module that makes it.
            VocabMismatch: A token id without an embedding row.
        """
        return self.next_token_logits(ids, visitors).softmax(dim=-1)

    def next_token_logits(
        self, ids: Tensor, visitors: Iterable[tuple[str, Visitor]] = (), *, gradients: bool = False
    ) -> Tensor:
        """`[batch, vocab]`, in float32 or float64; else as `next_token_probabilities`."""
        return self._finite_logits(ids, visitors, gradients=gradients)[:, -1]

    def probabilities_at_end(
        self, ids: Tensor, n_positions: int, visitors: Iterable[tuple[str, Visitor]] = ()
    ) -> Tensor:
        """`[batch, n_positions, vocab]`: what follows each of the last positions.

        Else as `next_token_probabilities`.
        """
        logits = self._finite_logits(ids, visitors, gradients=False, n_positions=n_positions)
        return logits.softmax(dim=-1)

    def _finite_logits(
        self,
        ids: Tensor,
        visitors: Iterable[tuple[str, Visitor]],
        *,
        gradients: bool,
        n_positions: int = 1,
    ) -> Tensor:
        """`[batch, n_positions, vocab]` after the last positions, in float32 or float64."""
        ids = self._readable(ids).to(self.device)
        named = self.named(visitors)

        def last_logits() -> Tensor:
            return self.last_logits(ids, n_positions)

        def finite_logits() -> Tensor:
            logits = run_hooked(last_logits, named)
            if not torch.isfinite(logits).all():
                raise non_finite_error(self.model, last_logits, named)
            return logits

        return upcast(self.run(finite_logits, gradients=gradients))

    def run(self, call: Callable[[], T], *, gradients: bool = False) -> T:
        """`call()` in eval mode, undisturbed; within it, `standing_in` gives what runs.

        Whatever runs the model goes through here; see `run_in_eval_mode`.

        Raises:
            UnsupportedModel: The model is in training mode, and code of the user's own makes that
                act all the same.
        """

        def proved() -> T:
            self._prove_no_dropout()
            return call()

        return run_in_eval_mode(self.model, proved, gradients=gradients)

    def _prove_no_dropout(self) -> None:
        """Code of a user's own may call their modules, where training mode acts."""
        running = running_stand_ins()
        if running is None or running.proved:
            return
        running.proved = True
        if not (running.in_training and running.calls_users_code):
            return
        ids = probe_ids(self.model)
        one, other = all_logits(self.model, ids), all_logits(self.model, ids)
        if not (one - other).abs().max() <= tolerance(one.dtype) * one.abs().max():
            raise UnsupportedModel(
                f"{type(self.model).__name__} is in training mode, and a hook or a replaced "
                "forward calls its modules directly, so that values are dropped.",
                "Passes that repeat themselves were wanted.",
                "Say model.eval() first.",
            )

    def named(self, visitors: Iterable[tuple[str, Visitor]]) -> list[tuple[nn.Module, Visitor]]:
        """Modules and visitors, from names of modules and visitors."""
        return [(self.model.get_submodule(name), visitor) for name, visitor in visitors]

    def last_logits(self, ids: Tensor, n_positions: int) -> Tensor:
        """`[batch, n_positions, vocab]`, and no more of them where the model can do so.

        To be called within `run`.
        """
        return all_logits(self.model, ids, **self.keeping(n_positions))[:, -n_positions:]

    def keeping(self, n_positions: int) -> dict[str, Any]:
        """Keywords with which the model computes logits of its last positions only, if it can."""
        return dict.fromkeys(self._last_only, n_positions)

    @needs_memory("look tokens up")
    def embed(self, ids: Iterable[int]) -> Tensor:
        """`[pos, d_embedding]`: what the input-embedding module puts out for `ids`."""
        n_ids = self._n_embeddings
        listed = [whole_number(i, "A token id", 0, n_ids - 1) for i in several(ids, "ids")]
        row = torch.tensor([listed], dtype=torch.long, device=self.device)
        return self.run(lambda: standing_in(self._embedding)(row))[0].detach()

    @property
    def tokens_per_call(self) -> int:
        """Tokens that one call of a block gets: what memory holds, and a fraction of a second."""
        if self._fitting_tokens is not None:
            return self._fitting_tokens
        if self.device.type == "cuda":
            return self.tokens_in_memory(WIDTHS_PER_TOKEN, MOST_TOKENS_ON_GPU)
        return TOKENS_ON_CPU

    def tokens_in_memory(self, widths: int, most: int) -> int:
        """Of how many tokens half of the free memory holds so many numbers of d_model width each.

        Args:
            widths: Numbers of d_model width per token.
            most: No more than these; all of them on a CPU, of whose memory nobody is asked.
        """
        per_token = widths * self.geometry.d_model * self.dtype.itemsize
        free = [free_memory(device) for device in self._gpus]
        return max(1, min([most, *(bytes_ // (2 * per_token) for bytes_ in free)]))

    @property
    def _gpus(self) -> set[torch.device]:
        """Those that its blocks run on; accelerate may have spread them."""
        blocks = map(self.model.get_submodule, self.geometry.blocks)
        return {place for place in map(device_of, blocks) if place.type == "cuda"}

    def use_less_memory(self, tokens: int) -> None:
        """From now on at most half of `tokens` in a call, with which memory ran out."""
        tokens = whole_number(tokens, "tokens", 0)
        self._fitting_tokens = max(1, min(self.tokens_per_call, tokens) // 2)

    def forget_memory(self) -> None:
        """Take what memory there is as if it had never run out."""
        self._fitting_tokens = None

    def remember(self, name: str, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` gives, made once for a key; of each name, the latest is kept with the model.

        Args:
            name: What it is.
            key: What it depends on.
            make: Makes it.
        """
        kept = self._remembered.get(name)
        if kept is None or kept[0] != key:
            kept = self._remembered[name] = (key, make())
        return kept[1]

    # ------------------------------------------------------------------------------- edits

    @property
    def edits(self) -> AppliedEdits:
        """The edits that the weights carry, oldest first."""
        return AppliedEdits(ledger_of(self.model).edits)

    @needs_memory("compare the weights")
    def weights_state(self) -> WeightsState:
        """Whether the weights are the original ones, edited, or written by somebody else.

        Compares every matrix that an edit ever changed bit for bit.

        Example:
            >>> lm.weights_state().original
            True
        """
        return ledger_of(self.model).state()

    @takes(force=truth)
    @needs_memory("revert the edits")
    def revert_all(self, *, force: bool = False) -> None:
        """Take every edit away: the weights are bit for bit what they were before the first.

        Args:
            force: Also where somebody else has written an edited matrix; that is overwritten.

        Raises:
            ModelChanged: Somebody else has written an edited matrix; nothing was overwritten.
        """
        ledger_of(self.model).revert(self.edits, force=force)

    @takes(folder=a_path(SaveFailed, "folder"))
    @needs_memory("save the model")
    def save_pretrained(self, folder: str | os.PathLike[str]) -> Path:
        """Write model and tokenizer as they are now, edits included; returns the folder.

        transformers, and `rome_widgets.load`, read it as any other checkpoint; the edits are
        part of its weights and can no longer be reverted there.

        Other files in the folder stay. Nothing is half written: what transformers cannot save,
        or the disk has no room for, leaves the folder as it was.

        Raises:
            SaveFailed: The folder could not be written, or the model not saved.
        """
        from rome_widgets.model.save import save_model

        save_model(self.model, self.tokenizer, Path(folder))
        return Path(folder)

    # ------------------------------------------------------------------------------- kinds

    def check_kinds(self, kinds: Any) -> tuple[Kind, ...]:
        """The kinds asked for, in the order of `KINDS`; "all" is all that this model has.

        Raises:
            StateError: No such kind, or none in this model.
        """
        has = self.geometry.kinds
        wanted = has if isinstance(kinds, str) and kinds == "all" else check_kinds(kinds)
        missing = [kind for kind in wanted if kind not in has]
        if missing:
            raise StateError(
                f"{self.name} has no states of kind {', '.join(map(repr, missing))}: "
                f"{self.geometry.equation} is all that its blocks add.",
                f"Its kinds are {', '.join(map(repr, has))}.",
                f"Ask for kinds={has!r}.",
            )
        return wanted

    def sites(self, kind: Kind) -> tuple[str, ...]:
        """Module names, by layer, whose outputs are the states of `kind`."""
        (kind,) = check_kinds(kind)
        return self.geometry.names(kind)


class AppliedEdits(tuple[Any, ...]):
    """The edits that a model carries, oldest first."""

    __slots__ = ()

    def __repr__(self) -> str:
        lines = [f"  {shortened(repr(edit), 96)}" for edit in self[:MOST_LINES]]
        more = [f"  and {len(self) - MOST_LINES} more"] if len(self) > MOST_LINES else []
        return "\n".join([plural(len(self), "edit"), *lines, *more])

    def _repr_html_(self) -> str:
        rows = [(number, repr(edit)) for number, edit in enumerate(self, 1)]
        return table(rows, caption=plural(len(self), "edit"))


def check_kind_of_model(model: Any) -> None:
    """Refuse what is not a loaded causal language model.

    Raises:
        WrappedModel, NotCausal, WeightsNotLoaded, UnsupportedModel: With the reason.
    """
    name = type(model).__name__
    config = getattr(model, "config", None)
    if config is None or not hasattr(model, "get_output_embeddings"):
        children = model.named_children() if isinstance(model, nn.Module) else ()
        inner = [f".{key}" for key, each in children if hasattr(each, "get_input_embeddings")]
        if inner:
            raise WrappedModel(
                f"{name} wraps a model in {', '.join(inner)}.",
                "The transformers model itself was wanted.",
                f"Pass model{inner[0]}.",
            )
        raise UnsupportedModel(
            f"{name} is not a transformers model.",
            "A causal language model of transformers was wanted.",
            "Load one with rome_widgets.load(...) or AutoModelForCausalLM.",
        )
    if getattr(config, "is_encoder_decoder", False):
        raise NotCausal(
            f"{name} is an encoder-decoder model.",
            "A decoder-only model that predicts the next token was wanted.",
        )
    if model.get_output_embeddings() is None:
        raise NotCausal(
            f"{name} has no language-model head.",
            "A model that predicts the next token was wanted.",
            "Load it with AutoModelForCausalLM, if it was trained for that.",
        )
    meta = [key for key, weight in model.named_parameters() if weight.device.type == "meta"]
    offloaded = any(hasattr(module, "_hf_hook") for module in model.modules())
    if meta and not offloaded:
        raise WeightsNotLoaded(
            f"{len(meta)} weights of {name} are on the meta device, {meta[0]} among them.",
            "Weights with values were wanted.",
            "Load the checkpoint before attaching.",
        )


def check_language_model(lm: Any) -> LanguageModel:
    """`lm`, if it is one.

    Raises:
        UnsupportedModel: Something else, such as the transformers model itself.
    """
    if not isinstance(lm, LanguageModel):
        raise UnsupportedModel(
            f"{type(lm).__name__} is not a LanguageModel.",
            "What rome_widgets.load returns was wanted.",
            f"Load it: rome_widgets.load({said(lm)})."
            if isinstance(lm, str)
            else "Wrap it: rome_widgets.LanguageModel(model, tokenizer).",
        )
    return lm


def rotates_without_end(config: Any) -> bool:
    """Whether a configuration scales rotary positions by the length of the prompt."""
    stated = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    by_kind = [each for each in stated.values() if isinstance(each, Mapping)] or [stated]
    kinds = [str(each.get("rope_type", each.get("type"))) for each in by_kind]
    return "dynamic" in kinds


def check_finite(logits: Tensor) -> Tensor:
    """The logits, unless there is NaN or infinity among them.

    Raises:
        NonFinite: There is. Where the pass can be repeated, `non_finite_error` names the module.
    """
    if torch.isfinite(logits).all():
        return logits
    raise NonFinite(
        "The model predicts NaN or infinity.",
        "Finite logits were wanted.",
        "Check its weights, take edits of great strength out, or load it in float32.",
    )


def upcast(logits: Tensor) -> Tensor:
    """Convert logits to float32, or leave them in float64, for a softmax."""
    return logits.to(torch.float64 if logits.dtype == torch.float64 else torch.float32)


def probabilities_of(logits: Tensor) -> Tensor:
    """Softmax over the last axis in float32, or in float64 where the logits are."""
    return upcast(logits).softmax(dim=-1)


def to_numpy(tensor: Tensor) -> np.ndarray:
    """A float64 array on the CPU."""
    return tensor.detach().double().cpu().numpy()


def _own_copy(tokenizer: Any) -> tuple[Any, Hashable]:
    """A copy of a tokenizer, and the state that it was copied in."""
    state = tokenizer_state(tokenizer)
    return copy_tokenizer(tokenizer), state


def _notes_of(model: nn.Module) -> tuple[str, ...]:
    source = unpacked_from(model)
    return (f"The weights were unpacked from {source}.",) if source else ()


def _naming(geometry: Geometry, foreign: tuple[str, ...]) -> Geometry:
    """The geometry, in which a reason against an edit names the foreign code that may be why."""
    refusal = tuple(
        None if why is None else f"{why}, with {and_more(foreign)} in place"
        for why in geometry.edit_refusal
    )
    return replace(geometry, edit_refusal=refusal)


def _because_of_hooks(error: UnsupportedModel, foreign: tuple[str, ...]) -> UnsupportedModel:
    """The error, naming the foreign hooks that may be why."""
    if not foreign:
        return error
    return type(error)(
        f"{error.found.rstrip('.')}, with {and_more(foreign)} in place.",
        error.wanted,
        "Take off what was put there, attach, and put it back: it then acts in every trace.",
    )


def _own_name(model: nn.Module) -> str:
    path = getattr(model.config, "_name_or_path", "")
    return str(path).rstrip("/").rsplit("/", 1)[-1] or type(model).__name__
