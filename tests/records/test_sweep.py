"""Averages over facts, by hand."""

import math

import numpy as np
import pytest

from rome_widgets.errors import MissingExtra, StateError
from rome_widgets.records.sweep import Averages, Sweep
from rome_widgets.records.swept_fact import ROLES, SweptFact

ROW = {role: number for number, role in enumerate(ROLES)}


def fact_of(number, effects, span, corrupted=0.1, clean=0.9, **changes):
    grids = {kind: np.array(some, float) + corrupted for kind, some in effects.items()}
    tokens = tuple(f"t{n}" for n in range(len(next(iter(grids.values())))))
    fields = {
        "target": "d",
        "answer": " d",
        "answer_id": 9,
        "tokens": tokens,
        "subject_span": span,
        "clean": clean,
        "corrupted": corrupted,
        "scores": grids,
    }
    return SweptFact(number, f"prompt {number}", f"t{span[0]}", "traced", **(fields | changes))


def sweep_of(facts, kinds=("mlp",), n_layers=2, **changes):
    fields = {
        "model": "tiny",
        "kinds": kinds,
        "windows": dict.fromkeys(kinds, 1),
        "n_layers": n_layers,
        "samples": 10,
        "seed": 1,
        "noise": {"text": "3 × σ", "std": 0.3},
    }
    return Sweep(tuple(facts), **(fields | changes))


LONG = fact_of(0, {"mlp": [[0, 0], [0.2, 0], [0.1, 0], [0.3, 0], [0.5, 0.1], [0.7, 0]]}, (0, 5))
"""Three middle tokens, of which layer 0 has .2, .1, .3."""
SHORT = fact_of(1, {"mlp": [[0.1, 0], [0.6, 0], [0.9, 0.3], [0.2, 0]]}, (0, 3), 0.3, 0.6)
"""One middle token, with .6."""
UNKNOWN = SweptFact(2, "prompt 2", "t2", "unknown", "It says ' e'.", "d", " e", 8)
FAILED = SweptFact(3, "prompt 3", "t3", "failed", "The subject is not in it.")
SWEEP = sweep_of([LONG, SHORT, UNKNOWN, FAILED], notes=("a note",))


def test_facts_are_counted_by_what_became_of_them():
    assert (SWEEP.traced, SWEEP.unknown, SWEEP.failed) == ((LONG, SHORT), (UNKNOWN,), (FAILED,))
    assert SWEEP.total_effect.value == pytest.approx((0.8 + 0.3) / 2)
    assert SWEEP.total_effect.interval == pytest.approx(1.96 * 0.25 / math.sqrt(2))
    assert SWEEP.total_effect.n == 2


def test_pooled_roles_average_over_tokens_and_the_others_over_facts():
    effects = SWEEP.effects("mlp")
    assert effects.n.tolist() == [2, 4, 2, 2, 0, 2]
    middle = [0.2, 0.1, 0.3, 0.6]
    assert effects.mean[ROW["middle subject"], 0] == pytest.approx(0.3)
    spread = math.sqrt(sum((each - 0.3) ** 2 for each in middle) / 4)
    assert effects.interval[ROW["middle subject"], 0] == pytest.approx(1.96 * spread / 2)
    assert effects.mean[ROW["last subject"]] == pytest.approx([0.7, 0.2])
    assert effects.interval[ROW["last subject"]] == pytest.approx(
        [1.96 * 0.2 / math.sqrt(2), 1.96 * 0.1 / math.sqrt(2)]
    )
    assert effects.mean[ROW["last"], 0] == pytest.approx(0.45)
    assert np.isnan(effects.mean[ROW["further"]]).all()


def test_a_subject_of_one_token_and_one_token_after_it_are_in_two_rows_each():
    one = fact_of(0, {"mlp": [[0, 0], [0.4, 0.2], [0.3, 0.1]]}, (1, 2))
    effects = sweep_of([one]).effects("mlp")
    assert effects.n.tolist() == [1, 0, 1, 1, 0, 1]
    for first, second, wanted in (
        ("first subject", "last subject", [0.4, 0.2]),
        ("first after", "last", [0.3, 0.1]),
    ):
        assert effects.mean[ROW[first]] == pytest.approx(wanted)
        assert effects.mean[ROW[second]] == pytest.approx(wanted)
    assert np.isnan(effects.interval).all(), "one fact has no interval"
    assert "±" not in repr(sweep_of([one]))


def test_the_strongest_place_and_the_distribution_of_peaks():
    role, layer, mean = SWEEP.strongest("mlp")
    assert (role, layer, mean.value, mean.n) == ("last subject", 0, pytest.approx(0.7), 2)
    peaks = SWEEP.peaks("mlp")
    assert peaks.sum() == 2
    assert peaks[ROW["last subject"], 0] == peaks[ROW["last"], 0] == 1
    assert SWEEP.mean_peak("mlp").value == pytest.approx((0.7 + 0.9) / 2)


def test_severed_bars_stand_beside_the_hidden_state_with_nothing_severed():
    def severed(number, hidden, mlp, attn, corrupted):
        grid = [[0, 0], hidden, [0.3, 0]]
        cut = {"mlp": np.array(mlp) + corrupted, "attn": np.array(attn) + corrupted}
        return fact_of(number, {"hidden": grid}, (0, 2), corrupted, severed=cut)

    facts = [
        severed(0, [0.4, 0.6], [0.0, 0.6], [0.3, 0.5], 0.1),
        severed(1, [0.2, 0.2], [0.2, 0.0], [0.1, 0.1], 0.2),
    ]
    sweep = sweep_of(facts, ("hidden",))
    assert sweep.severed == ("mlp", "attn")
    bars = sweep.severed_effects()
    assert bars[None].mean[0] == pytest.approx([0.3, 0.4])
    assert bars["mlp"].mean[0] == pytest.approx([0.1, 0.3])
    assert bars["attn"].mean[0] == pytest.approx([0.2, 0.3])
    assert bars["mlp"].interval[0] == pytest.approx(
        [1.96 * 0.1 / math.sqrt(2), 1.96 * 0.3 / math.sqrt(2)]
    )
    assert bars["mlp"].n.tolist() == [2]
    with pytest.raises(StateError, match="severed=True"):
        SWEEP.severed_effects()


def test_a_sweep_of_nothing_says_so():
    empty = sweep_of([UNKNOWN, FAILED])
    assert empty.strongest("mlp") is None
    assert empty.total_effect.n == 0
    assert empty.effects("mlp").n.tolist() == [0] * len(ROLES)
    assert len(empty.to_frame()) == 0
    assert "0 traced, 1 unknown, 1 failed" in repr(empty)
    assert "Average" not in empty._repr_html_()
    with pytest.raises(StateError, match="no 'attn' scores"):
        empty.effects("attn")


def test_the_frame_has_a_row_per_fact_role_and_layer_from_which_the_averages_come():
    frame = SWEEP.to_frame()
    assert len(frame) == 5 * 2 + 5 * 2  # neither has a token that is "further"
    one = frame[(frame.fact == 0) & (frame.role == "middle subject") & (frame.layer == 0)].iloc[0]
    assert (one.n_tokens, one.indirect_effect) == (3, pytest.approx(0.2))
    assert one.score == pytest.approx(0.3)
    middle = frame[(frame.role == "middle subject") & (frame.layer == 0)]
    pooled = (middle.indirect_effect * middle.n_tokens).sum() / middle.n_tokens.sum()
    assert pooled == pytest.approx(SWEEP.effects("mlp").mean[ROW["middle subject"], 0])


def test_the_frame_of_facts_says_of_each_what_became_of_it():
    frame = SWEEP.facts_to_frame()
    assert frame.status.tolist() == ["traced", "traced", "unknown", "failed"]
    assert frame.mlp_role.tolist()[:2] == ["last", "last subject"]
    assert frame.mlp_effect[1] == pytest.approx(0.9)
    assert frame.reason[3] == "The subject is not in it."
    assert math.isnan(frame.total_effect[2])


def test_what_is_shown_names_counts_and_intervals():
    assert repr(SWEEP).splitlines() == [
        "Sweep(4 facts on 'tiny': 2 traced, 1 unknown, 1 failed,",
        "    total effect 0.550 ± 0.346 of probability,",
        "    mlp: last subject, layer 0, 0.700 ± 0.277)",
    ]
    page = SWEEP._repr_html_()
    for words in ("last subject", "0.700 ± 0.277", "The subject is not in it.", "a note"):
        assert words in page


def test_averages_of_nothing_are_unknown_and_arrays_cannot_be_written():
    nothing = Averages.of([np.empty((0, 3))], 3)
    assert np.isnan(nothing.mean).all()
    with pytest.raises(ValueError, match="read-only"):
        SWEEP.facts[0].scores["mlp"][0] = 1


def test_parquet_needs_a_package_and_says_which(tmp_path):
    path = tmp_path / "sweep.parquet"
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        with pytest.raises(MissingExtra, match="pip install pyarrow"):
            SWEEP.to_parquet(path)
        assert list(tmp_path.iterdir()) == []
    else:
        import pandas as pd

        found = pd.read_parquet(SWEEP.to_parquet(path))
        pd.testing.assert_frame_equal(found, SWEEP.to_frame())


def test_best_layers_are_those_of_one_role_whatever_peaks_elsewhere():
    assert SWEEP.best_layers("mlp").tolist() == [2, 0]
    late = fact_of(4, {"mlp": [[0, 0.1], [0.2, 0.3], [0.9, 0.8]]}, (0, 2))
    more = sweep_of([LONG, SHORT, late])
    assert more.best_layers("mlp").tolist() == [2, 1]
    assert more.best_layers("mlp", "middle subject").tolist() == [2, 0], "one has no middle"
    assert more.peaks("mlp")[ROW["last subject"]].tolist() == [1, 0], "the last token is stronger"
    with pytest.raises(StateError, match="no role 'end'"):
        more.best_layers("mlp", "end")


def test_colours_run_from_nothing_to_the_greatest_average_and_over_something():
    assert SWEEP.colour_ends == (0.0, pytest.approx(SWEEP.strongest("mlp")[2].value))
    weak = fact_of(0, {"mlp": [[0, 0], [0.01, 0]]}, (0, 1))
    assert sweep_of([weak]).colour_ends == (0.0, 0.1)
    assert sweep_of([UNKNOWN]).colour_ends == (0.0, 0.1)
