"""Every public name has a docstring with an example, and every example runs.

What an example prints is compared only where the docstring shows it.
"""

import doctest
import inspect
import threading

import pytest

import rome_widgets as rw
from rome_widgets.tracing import noise
from tests.helpers.open_widgets import open_widgets


class Checker(doctest.OutputChecker):
    """Where nothing is shown, anything may be printed."""

    def check_output(self, want, got, optionflags):
        return not want or super().check_output(want, got, optionflags)


def examples():
    """Docstrings with examples: of the package, of public names, and of their methods."""
    found = doctest.DocTestFinder(recurse=False).find(rw, "rome_widgets")
    public = {name: getattr(rw, name) for name in rw.__all__}
    public |= {f"datasets.{name}": getattr(rw.datasets, name) for name in rw.datasets.__all__}
    found += doctest.DocTestFinder(recurse=False).find(rw.datasets, "rw.datasets")
    for name, thing in public.items():
        if not inspect.ismodule(thing):
            home = inspect.getmodule(thing)
            found += doctest.DocTestFinder().find(thing, f"rw.{name}", module=home)
    return [test for test in found if test.examples]


EXAMPLES = examples()
PROMPT = "The Space Needle is in the city of"


@pytest.fixture(scope="module")
def names(bundled_lm):
    """What the examples may take for given."""
    return {
        **{name: getattr(rw, name) for name in rw.__all__},
        **{name: getattr(rw.datasets, name) for name in ("FactRecord", "Probe")},
        "rw": rw,
        "lm": bundled_lm,
        "model": bundled_lm.model,
        "tokenizer": bundled_lm.tokenizer,
        "trace": rw.trace(bundled_lm, PROMPT, "The Space Needle"),
        "edit": rw.edit(bundled_lm, PROMPT, "The Space Needle", "Paris"),
        "evaluation": rw.evaluate(bundled_lm, rw.bundled.facts()[:1], progress=False),
        "sweep": rw.sweep(bundled_lm, rw.bundled.facts()[:2], samples=2),
        "threading": threading,
    }


@pytest.mark.parametrize("test", EXAMPLES, ids=lambda test: test.name)
def test_an_example_runs(test, names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if not any(each.want for each in test.examples):  # no number that depends on the draws
        monkeypatch.setattr(noise, "FEW_PARAMETERS", 0)  # ten, as of a larger model
    said = []
    runner = doctest.DocTestRunner(
        Checker(), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    )
    # Made anew: examples before have edited the model.
    tracer = rw.CausalTracer(names["lm"], PROMPT, "The Space Needle")
    names["trace"].save("needle.trace")
    test.globs = {**names, "tracer": tracer, "grid": rw.TraceGrid(names["trace"])}
    try:
        failed = runner.run(test, out=said.append).failed
    finally:
        for widget in open_widgets():  # also of those that no name was given
            assert not hasattr(widget, "wait") or widget.wait(60)
        names["lm"].revert_all()
    assert not failed, "".join(said)


def test_an_example_that_prints_something_else_would_be_noticed():
    test = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, 0)
    assert doctest.DocTestRunner(Checker()).run(test, out=lambda text: None).failed == 1


@pytest.mark.parametrize("name", sorted(set(rw.__all__) - set(rw._ROOMS)))
def test_a_public_name_has_a_docstring_with_an_example(name):
    assert f"rw.{name}" in {test.name for test in EXAMPLES}
