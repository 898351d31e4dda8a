r"""Which settings of an edit hold on models that nobody here trained: a study, row by row.

`select` keeps the CounterFact records that a model knows: its likeliest token after the prompt is
the true object's first. Neighbors are other subjects with the same true object in the same
relation, of which the model, before any edit, says the true object rather than the new one. The
first `--development` records of a shuffled list are for choosing, the others for the figures.
`run` edits each record by each of some configurations and appends one row per edit to a file; what
is there already is not done again. `table` prints means with intervals.

    python -m benchmarks.edit_defaults select --model FOLDER --facts counterfact.json --out R.json
    python -m benchmarks.edit_defaults run --model FOLDER --records R.json --out ROWS.jsonl \
        --configs "layer=3 stop_on=nll clamp=1 moment=identity" ... [--set test] [--most 60]
    python -m benchmarks.edit_defaults table ROWS.jsonl [--set test]

A configuration is words `name=value`: `method`, `layer`, `moment` ("identity", "self", or a folder
of `rw.second_moment(..., path=...)`), and any setting of the method. Words left out are defaults.
Rows name a folder of moments by its last part.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import rome_widgets as rw
from rome_widgets.evaluation.metrics import measure_record
from rome_widgets.model.word_scores import score_words
from rome_widgets.records.fact import Fact
from rome_widgets.records.metrics import (
    PROMPT_KINDS,
    SCORED,
    EditMetrics,
    KindMetrics,
    MetricsTotal,
)

NEIGHBORS = 5
AT_ONCE = 64
"""Facts that are looked at together."""


# ------------------------------------------------------------------------------ records


def select(lm: rw.LanguageModel, facts: Sequence[Mapping[str, Any]], wanted: int) -> list[Any]:
    """Records that the model knows, with neighbors that it gets right, in a shuffled order."""
    by_object: dict[tuple[str, str], list[str]] = defaultdict(list)
    for fact in facts:
        by_object[_relation_and_object(fact)] += fact["neighborhood_prompts"]
    order, found = random.Random(0), []
    shuffled = order.sample(
        [fact for fact in facts if fact["paraphrase_prompts"]], k=len(facts) // 2
    )
    for first in range(0, len(shuffled), AT_ONCE):
        for fact in _known(lm, shuffled[first : first + AT_ONCE]):
            new, true = _words(fact)
            subject, own = fact["requested_rewrite"]["subject"], Fact.from_record(fact).text
            others = {*by_object[_relation_and_object(fact)]} - {own}
            others = sorted(each for each in others if subject not in each)
            asked = order.sample(others, min(2 * NEIGHBORS, len(others)))
            right = _preferring(lm, asked, true, new)[:NEIGHBORS]
            if len(right) >= 2:
                found.append({**fact, "neighborhood_prompts": right})
        print(f"{len(found)} of {wanted} among {first + AT_ONCE}", flush=True)
        if len(found) >= wanted:
            break
    return found[:wanted]


def _relation_and_object(fact: Mapping[str, Any]) -> tuple[str, str]:
    return fact["requested_rewrite"]["prompt"], _words(fact)[1]


def _words(fact: Mapping[str, Any]) -> tuple[str, str]:
    """The new object and the true one."""
    rewrite = fact["requested_rewrite"]
    return rewrite["target_new"]["str"], rewrite["target_true"]["str"]


def _known(lm: rw.LanguageModel, facts: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those whose true object is what the model is likeliest to go on with."""
    prompts = [Fact.from_record(fact).text for fact in facts]
    scores = score_words(lm, prompts, [_words(fact)[1] for fact in facts])
    return [fact for fact, score in zip(facts, scores, strict=True) if score.likeliest]


def _preferring(lm: rw.LanguageModel, prompts: Sequence[str], right: str, other: str) -> list[str]:
    """Those after which one word is likelier than the other."""
    n = len(prompts)
    scores = score_words(lm, [*prompts, *prompts], [right] * n + [other] * n) if prompts else []
    return [
        prompt
        for prompt, one, two in zip(prompts, scores[:n], scores[n:], strict=True)
        if one.log_probability > two.log_probability
    ]


# -------------------------------------------------------------------------------- edits


def read_config(text: str) -> dict[str, Any]:
    """Words `name=value` as numbers where they are numbers, JSON where they are lists."""
    found: dict[str, Any] = {}
    for name, _, value in (word.partition("=") for word in text.split()):
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            found[name] = value
    return found


def run(
    lm: rw.LanguageModel, records: Sequence[Any], config: str, *, bare: bool
) -> Iterator[dict[str, Any]]:
    """One row per record; `bare` without neighbors that the report makes up."""
    settings = read_config(config)
    method, layer = settings.pop("method", "rome"), settings.pop("layer", None)
    moment = settings.pop("moment", None)
    if isinstance(moment, str) and Path(moment).is_dir():
        moment = str(Path(moment) / f"layer-{layer}.safetensors")
    for record in records:
        began = time.process_time()
        change = rw.edit(
            lm,
            record,
            method=method,
            layer=layer,
            settings=settings,
            second_moment=moment,
            neighbors=() if bare else None,
            progress=False,
        )
        cpu = time.process_time() - began
        with change:
            metrics = measure_record(lm, record)
        report = change.report
        yield {
            "model": lm.name,
            "config": named(config),
            "record": record["case_id"],
            "layer": report.layer,
            "cpu": round(cpu, 2),
            "steps": len(report.steps),
            "norm": report.norm_ratio,
            "warnings": list(report.warnings),
            "metrics": {kind: list(getattr(metrics, kind)) for kind in PROMPT_KINDS},
        }


def totals(rows: Sequence[Mapping[str, Any]]) -> MetricsTotal:
    """The figures of some rows together."""
    return MetricsTotal(
        tuple(
            EditMetrics(*(KindMetrics(*row["metrics"][kind]) for kind in PROMPT_KINDS))
            for row in rows
        )
    )


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line per model and configuration, the best S first."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["model"], row["config"]].append(row)
    lines = []
    for (model, config), some in groups.items():
        total = totals(some)
        means = [getattr(total, kind).success for kind in SCORED]
        cpu = sum(row["cpu"] for row in some) / len(some)
        told = sum(1 for row in some if row["warnings"])
        figures = "  ".join(map(str, means)) + f"  {100 * total.paraphrase.accuracy.value:.0f}"
        lines.append(
            (
                total.score,
                f"{model[:10]:10} n={len(some):3} S {100 * total.score:5.1f}  {figures}  "
                f"‖Δ‖ {sum(row['norm'] for row in some) / len(some):.3f}  {cpu:4.1f} s  "
                f"warned {told}  {config}",
            )
        )
    return [line for _, line in sorted(lines, key=lambda each: -each[0])]


def named(config: str) -> str:
    """A configuration as rows have it: where a folder of moments lies is nobody else's business."""
    words = (word.partition("=") for word in config.split())
    return " ".join(
        f"{name}={Path(value).name if name == 'moment' else value}" for name, _, value in words
    )


# ------------------------------------------------------------------------------ command


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("select", "run", "table"):
        command = commands.add_parser(name)
        if name == "table":
            command.add_argument("rows", nargs="+", type=Path)
        else:
            command.add_argument("--model", required=True)
            command.add_argument("--out", type=Path, required=True)
        if name == "select":
            command.add_argument("--facts", type=Path, required=True)
            command.add_argument("--wanted", type=int, default=160)
        if name == "run":
            command.add_argument("--records", type=Path, required=True)
            command.add_argument("--configs", nargs="+", required=True)
            command.add_argument("--most", type=int, default=1000)
            command.add_argument("--bare", action="store_true", help="without neighbors' outcomes")
        if name != "select":
            command.add_argument("--development", type=int, default=60)
            command.add_argument("--set", choices=("development", "test"), default="development")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if given.command == "table":
        every = [json.loads(line) for path in given.rows for line in path.read_text().splitlines()]
        print("\n".join(table([row for row in every if row["set"] == given.set])))
        return 0
    lm = rw.load(given.model)
    if given.command == "select":
        given.out.write_text(
            json.dumps(select(lm, json.loads(given.facts.read_text()), given.wanted))
        )
        return 0
    records = json.loads(given.records.read_text())
    n = given.development
    records = (records[:n] if given.set == "development" else records[n:])[: given.most]
    lines = given.out.read_text().splitlines() if given.out.exists() else []
    done = {(row["config"], row["record"]) for row in map(json.loads, lines)}
    for config in given.configs:
        missing = [record for record in records if (named(config), record["case_id"]) not in done]
        for row in run(lm, missing, config, bare=given.bare):
            with given.out.open("a") as file:
                file.write(json.dumps({"set": given.set, **row}) + "\n")
        print(config, "done", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
