"""Files with a right checksum and something else in a field: refused in words, or as good as any.

Whatever loads works in every method that shows it.
"""

import json
import warnings
from contextlib import suppress
from itertools import count

import numpy as np
import pytest
import torch

import rome_widgets as rw
from rome_widgets.editing import edit_file
from rome_widgets.editing.site import find_site
from rome_widgets.editing.statistics import second_moment_file
from rome_widgets.editing.statistics.choose_second_moment import second_moment_of
from rome_widgets.files import checksummed_file, trace_file
from rome_widgets.records.trace import WholeAnswer
from rome_widgets.widgets import EditPanel, PredictionCompare, TraceGrid
from tests.helpers import tiny
from tests.helpers.counts import FORGED_FILES
from tests.helpers.fake_editor import FakeEditor
from tests.helpers.forging import forged
from tests.helpers.records import make_trace, restoration_of


def check_all(path, kind, load, show):
    """None of them raises anything but a word of ours, on loading, and some load."""
    random, loaded = np.random.RandomState(3), 0
    for number in range(FORGED_FILES):
        into = forged(path, kind, random)
        try:
            found = load(into)
        except kind.error:
            continue
        loaded += 1
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                show(found, path.with_name("again"))
        except Exception as error:
            header, arrays = checksummed_file.read(into, kind._replace(arrays="numpy"))
            shapes = {name: (array.dtype, array.shape) for name, array in arrays.items()}
            raise AssertionError(f"forged file {number}: {header}, {shapes}") from error
    assert 0 < loaded < FORGED_FILES


SHOWN = count()


def show_trace(trace, path):
    repr(trace), trace._repr_html_(), trace.to_frame(), trace.remarks, trace.complete
    if next(SHOWN) % 8 == 0:  # a chart takes ten times as long as all the rest
        trace.chart().to_dict()
        with suppress(rw.RomeWidgetsError):
            trace.recovery_chart().to_dict()
    rw.load_trace(trace.save(path))
    other = TraceGrid(trace, before=trace)
    grid = TraceGrid(trace)
    for kind in trace.kinds:
        trace.strongest(kind), trace.indirect_effect(kind)
        grid.selection = [(trace.subject_span[0], 0, kind)]
        assert grid._restoration
        grid.select_states(trace.cell(0, 0, kind))
    for widget in (grid, other):
        json.dumps(widget.get_state(), default=bytes.hex, allow_nan=False)
        widget.to_text(), widget.to_html_table(), widget._still()
        widget.close()
    panel = EditPanel(FakeEditor(), trace=trace)
    json.dumps(panel.get_state(), default=bytes.hex, allow_nan=False)
    panel.close()


def test_traces(tmp_path):
    whole = WholeAnswer("New York", (" New", " York"), 0.25, 2.5e-11)
    path = make_trace(whole=whole, subject_spans=((0, 1), (1, 2))).save(tmp_path / "trace")
    check_all(path, trace_file.TRACE, rw.load_trace, show_trace)


def show_restoration(restoration, path):
    repr(restoration), restoration._repr_html_(), restoration.recovery
    restoration.clean, restoration.corrupted, restoration.probability, restoration.named(8)
    rw.load_restoration(restoration.save(path))
    compared = PredictionCompare(restoration)
    json.dumps(compared.get_state(), default=bytes.hex, allow_nan=False)
    compared.to_text(), compared.to_html_table()
    compared.close()


def test_restorations(tmp_path):
    path = restoration_of("x").save(tmp_path / "restoration")
    check_all(path, trace_file.RESTORATION, rw.load_restoration, show_restoration)


@pytest.fixture(scope="module")
def lm():
    return tiny.tiny_lm(scale=20)


@pytest.mark.parametrize("method", ["rome", "ft"])
def test_edits(lm, tmp_path, method):
    settings = {"steps": 2, "prefixes": [(3, 1)]} if method == "rome" else {"steps": 2}
    change = rw.edit(
        lm,
        "w3 {} w9",
        "w14 w15",
        "w5",
        method=method,
        settings=settings,
        second_moment="identity",
    )
    path = change.save(tmp_path / "edit")

    def show(edit, again):
        repr(edit), edit._repr_html_(), repr(edit.report), edit.id, edit.stale
        report = edit.report
        repr((report.layer, report.layers_text, report.norm_ratio, report.probability, report.rho))
        compile(edit.to_code(), "code", "exec")
        edit.to_code().encode("utf-8", "surrogatepass")
        assert rw.load_edit(lm, edit.save(again)).id == edit.id
        for asks in (
            lambda: edit.compare("w1 w2"),
            lambda: edit.preview("w1 w2"),
            edit.perplexity,
            lambda: edit.warnings,
            edit.apply,
            lambda: edit.apply(force=True),
            lambda: edit.to_peft(again.with_name("adapter")),
        ):
            with suppress(rw.RomeWidgetsError):
                asks()
            lm.revert_all(force=True)

    check_all(path, edit_file.FORMAT, lambda into: rw.load_edit(lm, into), show)


def test_second_moments(lm, tmp_path):
    for name, texts in (("keys", ["w1 w2 w3"]), ("total", ["w1 w2 w3 w4 w5 w6 w7"] * 5)):
        path = tmp_path / name
        rw.second_moment(lm, texts, 1, path=path)
        site = find_site(lm, 1)

        def load(into, site=site):
            return second_moment_of(site, into, wanted=True, ridge=1e-4)

        def show(moment, again):
            repr(moment), moment.matrix
            with suppress(rw.RomeWidgetsError):
                assert torch.isfinite(moment.solve(torch.ones(tiny.D_MLP))).all()

        check_all(path, second_moment_file.FORMAT, load, show)
