"""Unit costs are times; the counts are tested where a plan is (`evaluation/test_plan.py`)."""

from rome_widgets.tracing.unit_costs import Grids, measure_unit_costs, work_of_prompt
from rome_widgets.tracing.waves import Extent
from tests.helpers import tiny

GRIDS = Grids(("hidden", "mlp"), window=3, samples=4)


def test_pieces_are_timed_with_and_without_replay():
    for engine in ("replay", "whole passes"):
        lm = tiny.shared_lm("gpt2", engine=engine)
        costs = measure_unit_costs(lm, [3, 14, 15, 9], 1)
        assert min(costs[:2]) > 0
        assert costs.vocabulary == tiny.VOCAB


def test_whole_passes_run_every_layer_of_every_cell():
    lm = tiny.shared_lm("gpt2", engine="whole passes")
    work = work_of_prompt(lm, Extent(lm.n_layers, 7, 1), 2, GRIDS, tiny.VOCAB, alone=True)
    cells = 2 * 7 * lm.n_layers
    assert (work.block_rows, work.head_rows) == (4 * cells * 7 * lm.n_layers, 4 * cells)
