"""Everything the engine does, step by step, as numbers that can be compared with those of a CPU."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from accelerate import dispatch_model

import rome_widgets as rw
from tests.helpers import families, tiny

FORM = {"prompt": "{} w9 w26 w5 w8", "subject": "w14 w15", "target": "w20"}
"""An edit; tiny.PROMPT without its first token."""
SETTINGS = {"steps": 4, "ridge": 0.1}
FEW_TEXTS = ["w1 w7 w12 w4 w6"]
TEXTS = [" ".join(f"w{(i * k + 3) % 29}" for i in range(12)) for k in range(1, 5)]
STATES = [(2, 2, "hidden"), (3, 1, "mlp"), (5, 3, "attn")]
EDITED_LAYER = 1
IDS = torch.tensor([[3, 14, 15, 9]])


def lm_of(family: str, device: Any = None, *, dtype: torch.dtype = torch.float32) -> Any:
    """A random model of a family, moved to the device before it is attached."""
    model = families.tiny_family(family, dtype=dtype)
    model = model if device is None else model.to(device)
    return rw.LanguageModel(model, tiny.word_tokenizer(), name=family)


def spread_lm(family: str, places: Sequence[Any]) -> Any:
    """A model whose parts accelerate has spread: a place for the start, each block, and the end."""
    model = families.tiny_family(family, dtype=torch.float32)
    blocks = families.FAMILIES[family].names["hidden"]
    trunk = blocks.split(".")[0]
    where = {blocks.format(layer): place for layer, place in enumerate(places[1:-1])}
    names = [f"{trunk}.{name}" for name, _ in model.get_submodule(trunk).named_children()]
    names += [name for name, _ in model.named_children() if name != trunk]
    ends = ["norm", "ln_f"]
    if model.get_input_embeddings().weight is not model.get_output_embeddings().weight:
        ends.append("lm_head")  # else it stays where the embedding is
    for name in names:
        if not any(block.startswith(f"{name}.") for block in where):
            where[name] = places[-1] if name.endswith(tuple(ends)) else places[0]
    spread = dispatch_model(model, where, main_device=places[0], force_hooks=True)
    return rw.LanguageModel(spread, tiny.word_tokenizer(), name=family)


def bits(model: Any) -> dict[str, bytes]:
    """The bytes of every weight."""
    return {
        name: weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        for name, weight in model.named_parameters()
        if not weight.is_meta
    }


def numbers(value: Any) -> np.ndarray:
    """Every number in a result, in one row."""
    if isinstance(value, torch.Tensor):
        return value.detach().double().cpu().numpy().ravel()
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return np.concatenate([np.empty(0), *map(numbers, value)])
    return np.atleast_1d(np.asarray(value, dtype=float)).ravel()


def difference(one: Any, other: Any) -> float:
    """Largest difference of two results, as a share of what is compared or of 1."""
    one, other = numbers(one), numbers(other)
    if one.shape != other.shape:
        return float("inf")
    off = np.abs(one - other) / np.maximum(1, np.abs(one))
    return float(np.max(np.where(np.isnan(one) & np.isnan(other), 0, off), initial=0.0))


class Steps:
    """The steps of one model; what one leaves, later ones use.

    Args:
        lm: The model.
        folder: Where files go.
    """

    def __init__(self, lm: Any, folder: Any) -> None:
        self.lm, self.folder = lm, folder
        self._edit: Any = None

    @property
    def _tracer(self) -> Any:
        return tiny.tiny_tracer(self.lm)

    def _computed(self, method: str, moment: Any, **more: Any) -> Any:
        before = bits(self.lm.model)
        settings = {"steps": 4} if method.startswith("ft") else SETTINGS
        if not method.startswith("ft"):
            settings = settings | {"prefixes": [(4, 2), (6, 1)]}
        options = {"layer": EDITED_LAYER, "second_moment": moment, "settings": settings} | more
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._edit = rw.edit(self.lm, *FORM.values(), method=method, **options)
        assert bits(self.lm.model) == before, "computing an edit wrote a weight"
        return self._edit

    def _edited(self, method: str, moment: Any, **more: Any) -> Any:
        edit, before = self._computed(method, moment, **more), bits(self.lm.model)
        report = edit.report
        found = [report.update_norm, report.weight_norm, *(step.loss for step in report.steps)]
        found += [report.perplexity.after, edit.preview([tiny.PROMPT])[0]]
        with edit:
            found.append(self.lm.next_token_probabilities(IDS))
            assert self.lm.weights_state().matches
        assert bits(self.lm.model) == before, "an edit was not reverted bit for bit"
        return found

    # --------------------------------------------------------------------------- tracing

    def attach(self) -> Any:
        again = rw.LanguageModel(self.lm.model, tiny.word_tokenizer())
        assert (again.engine, self.lm.engine) == ("replay", "replay"), again.engine
        return [len(again.geometry.attn), len(again.geometry.mlp), again.n_parameters]

    def memory_sizing(self) -> Any:
        assert self.lm.tokens_per_call >= 1
        return []

    def runs(self) -> Any:
        tracer = self._tracer
        return [tracer.clean, tracer.corrupted]

    def trace(self) -> Any:
        return self._tracer.trace().scores

    def trace_with_predictions(self) -> Any:
        return [top for _, top in self._tracer.trace("hidden", record=3).recorded.values()]

    def restore(self) -> Any:
        found = [self._tracer.restore(states).distributions for states in (STATES, [])]
        return [*found, self._tracer.restore([(-1, -1, "hidden"), (-1, -1, "mlp")]).distributions]

    def sever(self) -> Any:
        severed = self._tracer.sever("mlp").sever("attn", 3)
        return severed.trace().scores

    def estimate(self) -> Any:
        return self._tracer.estimate().scores

    def path(self) -> Any:
        runs = self._tracer.restore([]).distributions
        lost = int((runs[0] - runs[1]).argmax())  # of some families the likeliest token loses none
        tracer = tiny.tiny_tracer(self.lm, answer=lost)
        return tracer.find_path(0.5, max_states=3, kinds="hidden").scores

    def flow(self) -> Any:
        flow = self._tracer.flow(STATES)
        return [flow.written, flow.corrupted, flow.restored, flow.noise]

    def lens(self) -> Any:
        return [run.probabilities for run in self._tracer.lens(STATES).runs]

    def answer_of_two_tokens(self) -> Any:
        whole = tiny.tiny_tracer(self.lm, answer="w4 w5").whole
        return [whole.clean, whole.corrupted]

    def noise_on_the_device(self) -> Any:
        noise = torch.ones(3, 2, self.lm.d_embedding, device=self.lm.device)
        return rw.CausalTracer(self.lm, tiny.PROMPT, tiny.SUBJECT, noise=noise).corrupted

    def noise_in_spreads(self) -> Any:
        noise = rw.Noise.times_std(3.0, ["w3 w4", "w9", "w11 w12 w13"])
        return rw.CausalTracer(self.lm, tiny.PROMPT, tiny.SUBJECT, noise=noise, samples=2).corrupted

    # --------------------------------------------------------------------------- editing

    def rome(self) -> Any:
        return self._edited("rome", "identity")

    def rome_with_few_keys(self) -> Any:
        return self._edited("rome", FEW_TEXTS)

    def r_rome_with_statistics(self) -> Any:
        return self._edited("r-rome", TEXTS)

    def ft(self) -> Any:
        return self._edited("ft", None)

    def ft_l(self) -> Any:
        return self._edited("ft-l", None)

    def rome_where_a_trace_peaks(self) -> Any:
        return self._computed("rome", "identity", layer=None).report.layer

    def statistics(self) -> Any:
        path = self.folder / "moment.safetensors"
        gathered = rw.second_moment(self.lm, TEXTS, EDITED_LAYER, path=path, ridge=0.1)
        again = rw.second_moment(self.lm, TEXTS, EDITED_LAYER, path=path, ridge=0.1)
        key = torch.ones(len(gathered.matrix), device=self.lm.device)
        return [gathered.matrix, again.matrix, gathered.solve(key)]

    def compare_and_generate(self) -> Any:
        edit = self._edit or self._computed("rome", "identity")
        found = edit.compare(["w3 w9", tiny.PROMPT], generate=4)
        ordered = [sorted(each.rows, key=lambda row: row.id) for each in found]
        return [[row.before, row.after] for rows in ordered for row in rows]

    def strength(self) -> Any:
        edit, before = self._edit or self._computed("rome", "identity"), bits(self.lm.model)
        found = []
        edit.apply()
        for strength in (0.5, 2.0, 1.0):
            edit.strength = strength
            found.append(self.lm.next_token_probabilities(IDS))
        edit.revert()
        assert bits(self.lm.model) == before
        return found

    def files(self) -> Any:
        edit = self._computed("rome", "identity")
        again = rw.load_edit(self.lm, edit.save(self.folder / "edit.safetensors"))
        assert again.id == edit.id
        again.apply().revert()
        trace = self._tracer.trace("hidden")
        kept = rw.load_trace(trace.save(self.folder / "trace.safetensors"))
        self.lm.save_pretrained(self.folder / "whole")
        assert edit.to_code()
        return [kept.scores, again.report.update_norm]

    def peft(self) -> Any:
        import peft

        folder = self._computed("rome", "identity").to_peft(self.folder / "adapter")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # peft asks transformers by an old name
            adapted = peft.PeftModel.from_pretrained(copy.deepcopy(self.lm.model), str(folder))
        lm = rw.LanguageModel(adapted.eval(), tiny.word_tokenizer())
        traced = tiny.tiny_tracer(lm).trace("mlp").scores
        return [traced, lm.next_token_probabilities(IDS)]

    # --------------------------------------------------------------------------- widgets

    def explorer(self) -> Any:
        explorer = rw.TraceExplorer(self.lm, tiny.PROMPT, tiny.SUBJECT, noise=2.0, samples=3)
        assert explorer.wait(60)
        assert not explorer.error, explorer.error
        explorer.selection = [(2, 2, "mlp")]
        assert explorer.wait(60)
        assert not explorer.error, explorer.error
        found = explorer.restoration.probability
        explorer.close()
        return found

    def panel(self) -> Any:
        before = bits(self.lm.model)
        panel = rw.EditPanel(
            self.lm, **FORM, layer=EDITED_LAYER, second_moment="identity", settings=SETTINGS
        )
        record = panel.apply(wait=True)
        assert record is not None, panel.error
        panel.set_strength(record.id, 0.5)
        assert panel.wait(60)
        compared = rw.GenerationCompare(self.lm, ["w3 w9"], max_new_tokens=3)
        assert compared.wait(60)
        panel.revert(record.id)
        assert panel.wait(60)
        assert not panel.error, panel.error
        panel.close()
        compared.close()
        assert bits(self.lm.model) == before, "the panel left the weights changed"
        return []
