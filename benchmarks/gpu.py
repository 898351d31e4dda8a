"""Grids, clicks, edits and memory on a CUDA GPU, in wall time and within ten minutes.

    python -m benchmarks.gpu [--real FOLDER_OR_GGUF ...] [--model gpt2-xl gpt-j]
        [--precision float32 tf32 bfloat16 float16] [--seconds 540] [--out FILE]
    python -m benchmarks.gpu --tiny          # the same path in small, on the CPU if need be

One row per model and precision, appended to a file as soon as it is there: what is measured before
the time is up, or before the machine is gone, is kept. Cells of every grid are compared with a
reference on the CPU in float32, and the row says how far apart the scores of that grid are: a flat
one would agree with anything. Random models get a last norm so large that their predictions are
sharp; real ones come as folders or .gguf files. Without a GPU this says what it would measure.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

import rome_widgets as rw
from benchmarks import jobs, naive, report
from benchmarks.jobs import KINDS, Cell, Job, Shape

MODELS = {"gpt2-xl": jobs.GPT2_XL, "gpt-j": jobs.GPTJ}
TINY = {
    "gpt2-xl": Shape(5, 48, 2, vocabulary=199),
    "gpt-j": Shape(4, 16, 2, vocabulary=99, rotary=4),
}
FLOORS = {("gpt2-xl", "tf32"): {"grid ratio": 30.0, "click ms": 20.0}}
"""At least as many times as fast as naive cells; at most as many milliseconds."""
ALLOWED = {"float32": 1e-3, "tf32": 0.05, "bfloat16": 0.3, "float16": 0.05}
"""Largest difference to the reference, as a share of the range of its scores."""
LEAST_RANGE = 0.05
"""Between the scores of the compared cells; less would gate nothing."""
LOGITS = 6.0
"""Standard deviation of a random model's logits, with which its likeliest token is likely."""
PROMPT, SUBJECT = "The Eiffel Tower is in the city of", "The Eiffel Tower"
TRIED, GRIDS, CLICKS = 8, 3, 50


@dataclass(frozen=True)
class Precision:
    """In what a model is kept, and whether its float32 products may use TF32."""

    name: str

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return getattr(torch, "float32" if self.name == "tf32" else self.name)

    def choose(self) -> None:
        """As a user does it, for the whole process."""
        torch.backends.cuda.matmul.fp32_precision = "tf32" if self.name == "tf32" else "ieee"


@dataclass
class Rows:
    """Appends rows to a file, each with the time it took and where it was measured."""

    path: Path
    seconds: float
    """After which nothing is begun."""
    started: float = field(default_factory=time.perf_counter)
    failed: bool = False

    def measure(self, name: str, precision: Precision, call: Callable[[], dict[str, Any]]) -> None:
        """One row, whatever happens in it."""
        begun = time.perf_counter()
        if begun - self.started > self.seconds:
            row: dict[str, Any] = {"not measured": f"{self.seconds:.0f} s were over"}
        else:
            try:
                row = call()
            except Exception as error:  # the next row may do
                row = {"complaints": [f"{type(error).__name__}: {error}"]}
            row["seconds"] = round(time.perf_counter() - begun, 1)
        self.failed |= bool(row.get("complaints"))
        about = {"model": name, "precision": precision.name, "commit": report.commit()}
        about |= {"machine": machine(), "torch": torch.__version__}
        about |= {"transformers": transformers.__version__}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**about, **row}, ensure_ascii=False) + "\n")
            file.flush()
        print(f"{name}, {precision.name}:")
        print("\n".join(f"   {what}: {_short(value)}" for what, value in row.items()), flush=True)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def machine() -> str:
    """What it was measured on."""
    return f"one {torch.cuda.get_device_name()}" if torch.cuda.is_available() else report.cpu()


# ---------------------------------------------------------------------- models and prompts


class RandomWork:
    """A random model of a known shape: random words, against naive passes on either device."""

    def __init__(self, shape: Shape, device: str, dtype: torch.dtype) -> None:
        model = sharpened(jobs.make_model(shape, device=device, dtype=dtype))
        self._reference = copy.deepcopy(model).to("cpu", torch.float32)
        self.lm = jobs.attached(model, shape)
        self._first = max(range(TRIED), key=self._effect)

    def _effect(self, seed: int) -> float:
        tracer = Job(self.lm, seed=seed).tracer()
        return tracer.clean - tracer.corrupted

    def tracers(self) -> Iterator[rw.CausalTracer]:
        """One prompt after the other; first the one that noise changes most."""
        return (Job(self.lm, seed=self._first + more).tracer() for more in range(10_000))

    def reference(self, cells: list[Cell]) -> list[np.ndarray]:
        """`[vocab]` per cell of the first prompt, on the CPU."""
        job = Job(self.lm, seed=self._first)
        passes = naive.Published(self._reference, job.ids, job.span, torch.from_numpy(job.noise))
        return [passes.cell(job.states(cell)).numpy() for cell in cells]

    def naive_cell(self, cell: Cell) -> None:
        """One naive pass, on the model's own device."""
        job = Job(self.lm, seed=self._first)
        job.naive().cell(job.states(cell))

    def edit(self) -> rw.Edit:
        """Of a random prompt."""
        arguments = ("{} w7 w8", "w3 w4", "w9")
        return rw.edit(self.lm, *arguments, layer=1, second_moment="identity")


class RealWork:
    """A model from a folder or file: true sentences, against whole passes on the CPU."""

    def __init__(self, path: str, device: str, dtype: torch.dtype) -> None:
        self.lm = rw.load(path, device=device, dtype=dtype)
        self._on_cpu = rw.load(path, device="cpu", dtype=torch.float32)
        self._on_cpu.replay = None
        self._noise = rw.Noise.absolute(
            3 * float(self.lm.embed(self.lm.encode_alone(SUBJECT)).std())
        )

    def _tracer(self, lm: rw.LanguageModel, seed: int) -> rw.CausalTracer:
        options = {"noise": self._noise, "samples": jobs.SAMPLES, "seed": seed}
        return rw.CausalTracer(lm, PROMPT, SUBJECT, **options)

    def tracers(self) -> Iterator[rw.CausalTracer]:
        """The same prompt, with other noise."""
        return (self._tracer(self.lm, seed) for seed in range(10_000))

    def reference(self, cells: list[Cell]) -> list[np.ndarray]:
        """`[vocab]` per cell of the first prompt, on the CPU."""
        tracer = self._tracer(self._on_cpu, 0)
        return [tracer.restore(tracer.cell(*cell)).distributions[2] for cell in cells]

    def naive_cell(self, cell: Cell) -> None:
        """One whole pass, on the model's own device."""
        whole = copy.copy(self.lm)
        whole.replay = None
        tracer = self._whole = getattr(self, "_whole", None) or self._tracer(whole, 0)
        tracer.restore(tracer.cell(*cell))

    def edit(self) -> rw.Edit:
        """Of a true sentence, at a layer in the middle."""
        layer = self.lm.n_layers // 3
        arguments = ("{} is in the city of", SUBJECT, "Rome")
        return rw.edit(self.lm, *arguments, layer=layer, second_moment="identity")


Work = RandomWork | RealWork


def sharpened(model: Any) -> Any:
    """A random model that predicts sharply, by a large norm before its head.

    Of a narrow one the blocks get matrices that do as much as those of GPT-2 XL.
    """
    ids = torch.arange(2, 14, device=model.device)[None]
    narrow = max(1.0, (jobs.GPT2_XL.d_model / model.config.n_embd) ** 0.5)
    with torch.no_grad():
        for weight in model.get_submodule("transformer.h").parameters():
            weight.mul_(narrow if weight.ndim == 2 else 1)
        spread = float(model(input_ids=ids).logits[0, -1].float().std())
        for weight in model.get_submodule("transformer.ln_f").parameters():
            weight.mul_(LOGITS / spread)
    return model


# ------------------------------------------------------------------------------- measuring


def wall(call: Callable[[], Any]) -> tuple[float, Any]:
    """Wall seconds of a call, with the GPU idle before and after, and what it returns."""
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    wait()
    start = time.perf_counter()
    result = call()
    wait()
    return time.perf_counter() - start, result


def measure(work: Work, precision: Precision, *, tiny: bool) -> dict[str, Any]:
    """Every figure of one model in one precision; what is wrong with them under `complaints`."""
    lm = work.lm
    weights = sum(weight.nbytes for weight in lm.model.parameters())
    row: dict[str, Any] = {
        "engine": lm.engine,
        "shape": f"{lm.n_layers} layers × {lm.geometry.d_model}",
        "weights GiB": weights / 2**30,
        "complaints": [] if lm.engine == "replay" else [f"the engine is {lm.engine}"],
    }
    row |= _grids(work, tiny=tiny)
    row |= _clicks(work, 3 if tiny else CLICKS)
    _compare(work, precision, row)
    _edit(work, row)
    return row


def _grids(work: Work, *, tiny: bool) -> dict[str, Any]:
    """Seconds of the three grids, both runs included, and their memory; and of naive cells."""
    tracers = work.tracers()
    next(tracers).trace(KINDS)  # warm
    on_gpu = work.lm.device.type == "cuda"
    before = torch.cuda.memory_allocated() if on_gpu else 0
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    ours = [wall(lambda: next(tracers).trace(KINDS))[0] for _ in range(1 if tiny else GRIDS)]
    peak = torch.cuda.max_memory_allocated() if on_gpu else 0
    cells = _cells(next(work.tracers()))
    work.naive_cell(cells[0])  # warm
    naive_cells = [wall(lambda cell=cell: work.naive_cell(cell))[0] for cell in cells]
    tracer = next(work.tracers())
    whole = statistics.median(naive_cells) * len(tracer.tokens) * work.lm.n_layers * len(KINDS)
    return {
        "grid s": statistics.median(ours),
        "naive grid s, extrapolated": whole,
        "naive cells": len(cells),
        "grid ratio": whole / statistics.median(ours),
        "peak GiB beside weights": (peak - before) / 2**30,
    }


def _cells(tracer: rw.CausalTracer) -> list[Cell]:
    """Some of each kind: where facts show, the ends, and some by chance."""
    random = np.random.RandomState(1)
    last, layers = len(tracer.tokens) - 1, tracer.lm.n_layers
    found = []
    for kind in KINDS:
        found.append(Cell(tracer.subject_span[1] - 1, layers // 4, kind))
        found.append(Cell(last, layers - 2, kind))
        others = zip(random.randint(last, size=2), random.randint(layers, size=2), strict=True)
        found += [Cell(int(pos), int(layer), kind) for pos, layer in others]
    return found


def _clicks(work: Work, count: int) -> dict[str, float]:
    """Milliseconds of a click in the middle and of the worst one, each on runs of its own."""
    middle, worst = [], []
    tracers = work.tracers()
    for _ in range(3 + count):  # the first three warm
        tracer = next(tracers)
        start, stop = tracer.subject_span
        states = [(stop - 1, work.lm.n_layers // 2, "hidden")], [(start, 0, "hidden")]
        for kept, state in zip((middle, worst), states, strict=True):
            kept.append(1000 * wall(lambda t=tracer, s=state: t.restore(s))[0])
    return {
        "click ms": statistics.median(middle[3:]),
        "click p95 ms": float(np.percentile(middle[3:], 95)),
        "worst click ms": statistics.median(worst[3:]),
        "worst click p95 ms": float(np.percentile(worst[3:], 95)),
    }


def _compare(work: Work, precision: Precision, row: dict[str, Any]) -> None:
    """Cells of the first grid beside the reference's, and whether these tell anything."""
    tracer = next(work.tracers())
    scores, cells = tracer.trace(KINDS).scores, _cells(tracer)
    wanted = np.array([float(each[tracer.answer_id]) for each in work.reference(cells)])
    found = np.array([scores[cell.kind][cell.pos, cell.layer] for cell in cells])
    spread, off = float(np.ptp(wanted)), float(np.abs(found - wanted).max())
    row |= {"clean": tracer.clean, "corrupted": tracer.corrupted, "range of scores": spread}
    row |= {"largest difference": off, "allowed": ALLOWED[precision.name] * spread}
    if not spread >= LEAST_RANGE:
        row["complaints"].append(f"scores lie within {spread:.2g}: they gate nothing")
    if not off <= row["allowed"]:
        row["complaints"].append(f"scores are off by {off:.2g}")


def _edit(work: Work, row: dict[str, Any]) -> None:
    """Seconds of an edit, and that it comes off bit for bit."""
    row["edit s"], edit = wall(work.edit)
    row["update norm"] = edit.report.update_norm
    row["apply s"], _ = wall(edit.apply)
    row["revert s"], _ = wall(edit.revert)
    if not work.lm.weights_state().original:
        row["complaints"].append("the edit was not reverted bit for bit")


def verdicts(name: str, precision: Precision, row: dict[str, Any]) -> None:
    """Complain of every floor that was missed."""
    for what, floor in FLOORS.get((name, precision.name), {}).items():
        said = report.verdict(row[what], floor, at_least=what == "grid ratio")
        row[f"{what} wanted"] = floor
        if "MISSED" in said:
            row["complaints"].append(f"{what} {row[what]:.2f}; {said}")


# ------------------------------------------------------------------------------------ main


def explain() -> None:
    """What a GPU would be used for."""
    print("There is no CUDA GPU here. With one, this measures, against one naive pass per cell:")
    for name, shape in MODELS.items():
        print(f"   {name} ({shape}): three grids of 12 tokens, clicks, an edit, peak memory")
    for (name, precision), floors in FLOORS.items():
        print(
            f"wanted for {name} in {precision}: grids >= {floors['grid ratio']:g} times as fast, "
            f"a click <= {floors['click ms']:g} ms"
        )
    print("python -m benchmarks.gpu --tiny runs the same path on the CPU.")


def main(arguments: list[str] | None = None) -> int:
    """Measure, write and print; 1 where there is something to complain of."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="tiny shapes, on the CPU if need be")
    parser.add_argument("--real", nargs="+", default=[], help="folders or .gguf files of models")
    parser.add_argument("--precision", nargs="+", choices=ALLOWED, default=list(ALLOWED))
    parser.add_argument("--model", nargs="*", choices=MODELS, default=list(MODELS))
    parser.add_argument("--seconds", type=float, default=540, help="nothing is begun after these")
    results = report.ROOT / "benchmarks" / "results" / "gpu.jsonl"
    parser.add_argument("--out", type=Path, default=results, help="the file that rows go to")
    options = parser.parse_args(arguments)
    on_gpu = torch.cuda.is_available()
    if not options.tiny and not on_gpu:
        explain()
        return 0
    rows = Rows(options.out, options.seconds)
    before = torch.backends.cuda.matmul.fp32_precision
    try:
        for name, make in _works(options, "cuda" if on_gpu else "cpu"):
            for precision in map(Precision, options.precision):
                precision.choose()
                rows.measure(
                    name, precision, lambda m=make, n=name, p=precision: _row(m, n, p, options)
                )
                if on_gpu:
                    torch.cuda.empty_cache()
    finally:
        torch.backends.cuda.matmul.fp32_precision = before
    return int(rows.failed)


def _works(
    options: argparse.Namespace, device: str
) -> Iterator[tuple[str, Callable[[torch.dtype], Work]]]:
    """The models by name, small ones first."""
    for path in options.real:
        yield Path(path).name, lambda dtype, path=path: RealWork(path, device, dtype)
    for name in options.model:
        shape = (TINY if options.tiny else MODELS)[name]
        yield name, lambda dtype, shape=shape: RandomWork(shape, device, dtype)


def _row(
    make: Callable[[torch.dtype], Work],
    name: str,
    precision: Precision,
    options: argparse.Namespace,
) -> dict[str, Any]:
    row = measure(make(precision.dtype), precision, tiny=options.tiny)
    if not options.tiny:
        verdicts(name, precision, row)
    return row


if __name__ == "__main__":
    sys.exit(main())
