r"""The paper's figures and tables, for any model: a folder with a page that shows them.

    python -m benchmarks.paper bundled --out build/paper/bundled
    python -m benchmarks.paper gpt2-xl --out build/paper/gpt2-xl

The model is "bundled", a folder, a .gguf file or a name on the hub. `--known`, `--counterfact` and
`--zsre` say where the published data sets are; without them they are fetched, once, from where they
are published. The bundled model is asked about its own world instead.

    figure 1   the grids of one fact that the model knows
    figure 2   average indirect effects by token and layer; also curves, and single facts' peaks
    figure 3   the same with MLPs and attention severed at the subject's last token
    figure 5   edits by layer, at the subject's last token (`--layers`)
    table 1    zsRE
    table 4    CounterFact

Facts and records are random ones with `--seed`; `--facts`, `--draws` and `--records` make a long
run a short one, and the page says so. `--workers` shares the work among processes on this machine.
Whoever runs the same command again goes on where it ended.
Figures are SVG, tables CSV.

Source:
    Meng et al. 2022.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

import rome_widgets as rw
from benchmarks import report
from benchmarks.workers import pool_of
from rome_widgets.charts.sweep_charts import sites_chart
from rome_widgets.model.base_weights import digest_of_weights
from rome_widgets.records.evaluation import NONE
from rome_widgets.records.figures import shown_value
from rome_widgets.records.html import plural
from rome_widgets.records.metrics import Mean

METHODS = ("rome", "r-rome", "ft", "ft-l")
ZSRE_COLUMNS = ("zsre_efficacy", "zsre_paraphrase", "zsre_specificity")
TABLE_4_COLUMNS = ("S", "ES", "EM", "PS", "PM", "NS", "NM", "GE")
"""Consistency (RS) needs texts about every object, which are published nowhere by themselves."""
FIGURE_5 = ("ES", "PS", "NS")
GENERATED = 100
"""Tokens of a text after its prompt; the paper's have as many with it."""
NOT_MADE = (
    "Not made: KN, KE and MEND of tables 1 and 4; figure 5 at other tokens than the last of the "
    "subject; RS, whose reference texts are not at hand; the human evaluation of section 3.5."
)


class Part(NamedTuple):
    """A figure or a table of the page."""

    title: str
    file: Path
    words: str


class Paper:
    """What is made for one model, part by part, each in its own file."""

    def __init__(
        self, lm: rw.LanguageModel, options: argparse.Namespace, executor: Executor | None = None
    ) -> None:
        self._lm, self._options, self._executor = lm, options, executor
        self._folder: Path = options.out
        self._folder.mkdir(parents=True, exist_ok=True)
        self.parts: list[Part] = []

    def make(self) -> Path:
        """Everything, and the page that shows it.

        The page is written after each part, so that there is one to read from the beginning.
        """
        for part in (self._traces, self._counterfact, self._zsre, self._layers):
            part()
            page = self._write_page()
        return page

    # ---------------------------------------------------------------------------- traces

    def _traces(self) -> None:
        """Figures 1 to 3, of the facts that the model knows."""
        options = self._options
        facts = self._known_facts()
        some = facts.sample(min(options.facts or len(facts), len(facts)), options.seed)
        print(f"{len(facts)} facts are known, {len(some)} are traced", flush=True)
        if not len(some):
            return
        found = rw.sweep(
            self._lm,
            some,
            samples=options.draws,
            severed=True,
            path=self._folder / "sweep",
            executor=self._executor,
        )
        of = f"{len(found.traced)} of the {len(facts)} facts that the model knows"
        how = f"{of}; {plural(found.samples, 'draw')} of noise for each, seed {found.seed}."
        self._one_trace(found, some)
        self._figure("figure_2", "Figure 2: average indirect effects", found.chart(), how)
        self._figure("curves", "The same by layer", found.chart("curves"), how)
        self._figure("peaks", "Where single facts peak", found.chart("peaks"), how)
        self._figure("figure_3", "Figure 3: severed", found.chart("severed"), how)
        self._table("effects", "Section 2.2 in numbers", _numbers_of(found), how)

    def _one_trace(self, sweep: rw.Sweep, facts: rw.datasets.FactRecords) -> None:
        """Figure 1, of the fact whose total effect is nearest to the average."""
        average = sweep.total_effect.value
        usual = min(sweep.traced, key=lambda fact: abs(fact.total_effect - average))
        trace = rw.trace(self._lm, facts[usual.number], samples=self._options.draws)
        how = f"The fact whose total effect is nearest to the average. Answer: {trace.answer!r}."
        self._figure("figure_1", f"Figure 1: {trace.prompt}", trace.chart(), how)

    def _known_facts(self) -> rw.datasets.FactRecords:
        """Of known_1000, or of the bundled world; asking takes a while, so numbers are kept."""
        known, options = self._options.known, self._options
        facts = rw.datasets.bundled() if options.bundled else rw.datasets.known_facts(known)
        about = {"model": digest_of_weights(self._lm), "facts": facts.source, "of": len(facts)}
        kept = self._folder / "known.json"
        stated = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
        if stated.get("about") != about:
            found = {*rw.datasets.known_to(self._lm, facts)}
            numbers = [number for number, fact in enumerate(facts) if fact in found]
            stated = {"about": about, "numbers": numbers}
            kept.write_text(json.dumps(stated), encoding="utf-8")
        return rw.datasets.FactRecords((facts[each] for each in stated["numbers"]), facts.source)

    # ----------------------------------------------------------------------------- edits

    def _counterfact(self) -> None:
        """Table 4."""
        found = self._evaluate("counterfact", self._edited_records(), generate=GENERATED)
        how = f"{_of_records(found)} Percent, ± 95 %; GE in bits, of {GENERATED} written tokens."
        title = f"Table 4: {self._records_of('CounterFact')}"
        self._table("table_4", title, _columns(found, TABLE_4_COLUMNS), how)

    def _zsre(self) -> None:
        """Table 1; of the bundled world the same edits as in table 4."""
        if self._options.bundled:
            found = self._evaluate("counterfact", self._edited_records(), generate=GENERATED)
        else:
            found = self._evaluate("zsre", self._some(rw.datasets.zsre(self._options.zsre)))
        how = f"{_of_records(found)} Percent of tokens, ± 95 %."
        title = f"Table 1: {self._records_of('zsRE')}"
        self._table("table_1", title, _columns(found, ZSRE_COLUMNS), how)

    def _records_of(self, published: str) -> str:
        return "the bundled world" if self._options.bundled else published

    def _layers(self) -> None:
        """Figure 5, at the subject's last token."""
        records = self._edited_records()[: self._options.records_per_layer]
        rows, words = [], ""
        layers = self._options.layers
        for layer in range(self._lm.n_layers) if layers is None else layers:
            found = self._evaluate(f"layer_{layer}", records, methods=("rome",), layer=layer)
            words = _of_records(found)
            for name in FIGURE_5:
                mean = found.total("rome", name)
                rows.append(("last subject", layer, name, mean.value, mean.interval))
        if rows:
            names = ["role", "layer", "metric", "value", "interval"]
            chart = sites_chart(pd.DataFrame(rows, columns=names))
            title = "Figure 5: ROME by layer, at the subject's last token"
            self._figure("figure_5", title, chart, words)

    def _edited_records(self) -> rw.datasets.FactRecords:
        if self._options.bundled:
            return rw.bundled.with_ripples(self._some(rw.datasets.bundled("test")))
        return self._some(rw.datasets.counterfact(self._options.counterfact))

    def _some(self, records: rw.datasets.FactRecords) -> rw.datasets.FactRecords:
        """As many as are wanted, or all."""
        return records.sample(min(self._options.records, len(records)), self._options.seed)

    def _evaluate(self, name: str, records: Any, **options: Any) -> rw.Evaluation:
        print(f"{name}: {len(records)} records", flush=True)
        options = {"methods": self._options.methods, "seed": self._options.seed} | options
        options |= {"path": self._folder / name, "executor": self._executor}
        return rw.evaluate(self._lm, records, **options)

    # ------------------------------------------------------------------------------ page

    def _figure(self, name: str, title: str, chart: Any, words: str) -> None:
        file = self._folder / f"{name}.svg"
        chart.save(file)
        self.parts.append(Part(title, file, words))

    def _table(self, name: str, title: str, frame: pd.DataFrame, words: str) -> None:
        file = self._folder / f"{name}.csv"
        frame.to_csv(file)
        self.parts.append(Part(title, file, words))

    def _write_page(self) -> Path:
        command = f"python -m benchmarks.paper {' '.join(self._options.words)}"
        about = f"{self._lm.name}, by {command}, at {report.commit()}."
        shown = "\n".join(map(_section, self.parts))
        page = self._folder / "index.html"
        text = PAGE.format(
            title=escape(f"Locating and editing facts in {self._lm.name}"),
            about=escape(about),
            notes=escape(NOT_MADE),
            parts=shown,
        )
        page.write_text(text, encoding="utf-8")
        return page


PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
  body {{ max-width: 1080px; margin: 2em auto; padding: 0 1em;
    font: 16px/1.5 system-ui, sans-serif; }}
  figure {{ margin: 0; overflow-x: auto; }}
  table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
  th, td {{ padding: .2em .8em; text-align: right; border-bottom: 1px solid #ccc; }}
</style>
<h1>{title}</h1>
<p>{about}</p>
{parts}
<p>{notes}</p>
"""


def _section(part: Part) -> str:
    if part.file.suffix == ".svg":
        shown = f'<img src="{part.file.name}" alt="{escape(part.title)}">'
    else:
        frame = pd.read_csv(part.file, index_col=0, dtype=str, keep_default_na=False)
        shown = frame.to_html(border=0)
    head = f"<h2>{escape(part.title)}</h2><p>{escape(part.words)}"
    return f'{head} <a href="{part.file.name}">{part.file.name}</a></p><figure>{shown}</figure>'


def _numbers_of(sweep: rw.Sweep) -> pd.DataFrame:
    """What section 2.2 states, in percent, of this model."""
    rows = {
        "clean probability": Mean.of(fact.clean for fact in sweep.traced),
        "corrupted probability": Mean.of(fact.corrupted for fact in sweep.traced),
        "total effect": sweep.total_effect,
    }
    for kind in sweep.kinds:
        strongest = sweep.strongest(kind)
        if strongest is not None:
            role, layer, mean = strongest
            rows[f"{kind}: strongest average effect, {role}, layer {layer}"] = mean
        rows[f"{kind}: greatest effect of a fact, wherever it lies"] = sweep.mean_peak(kind)
    return pd.DataFrame({"percent, ± 95 %": {name: str(mean) for name, mean in rows.items()}})


def _columns(found: rw.Evaluation, names: Sequence[str]) -> pd.DataFrame:
    """A row per method, a cell per figure with its interval, as the paper prints them."""
    cells = {
        name: [_cell(name, found.total(method, name)) for method in found.methods] for name in names
    }
    return pd.DataFrame(cells, index=pd.Index(found.methods, name="editor"))


def _cell(name: str, mean: Mean) -> str:
    value = shown_value(name, mean.value)
    return value if math.isnan(mean.interval) else f"{value} ± {shown_value(name, mean.interval)}"


def _of_records(found: rw.Evaluation) -> str:
    n_failed = sum(row.method != NONE for row in found.failed)
    failed = f", {plural(n_failed, 'edit')} failed" if n_failed else ""
    return f"{plural(len(found.of(NONE)), 'random record')}{failed}."


def main(arguments: Sequence[str] | None = None) -> int:
    """Make it all; 0 in the end."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--out", type=Path, required=True)
    for name in ("known", "counterfact", "zsre"):
        parser.add_argument(f"--{name}", help="a file or an address")
    parser.add_argument("--facts", type=int, help="facts that are traced, at most; all")
    parser.add_argument("--draws", type=int, default=10, help="of noise, for each of them")
    parser.add_argument("--records", type=int, default=1000, help="records that are edited")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--layers", type=int, nargs="*", help="of figure 5; all, or none")
    parser.add_argument("--records-per-layer", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0, help="processes of one thread each")
    options = parser.parse_args(words)
    options.words, options.bundled = words, options.model == "bundled"
    lm = rw.load() if options.bundled else rw.load(options.model)
    with pool_of(options.workers) if options.workers else nullcontext() as executor:
        print(Paper(lm, options, executor).make())
    return 0


if __name__ == "__main__":
    sys.exit(main())
