"""Wrong arguments end in the package's own errors, whichever public name they are given to.

Every public name is called with wrong kinds of thing in place of each of its arguments. It may do
what it was asked for, or refuse it by an error of the package; nothing else gets out, and the model
stays as it was. A new name or method fails the first test until it is in the tables here;
a new argument is tried by itself.
"""

import functools
import inspect
import json
import math
import operator
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
import traitlets

import rome_widgets as rw
from rome_widgets.files import download
from rome_widgets.session.session import session_of
from tests.helpers import tiny
from tests.helpers.published import FORMS

PROMPT, SUBJECT = tiny.PROMPT, tiny.SUBJECT
FACT = {"prompt": "w3 {} w9 w26", "subject": "w14 w15", "target": "w5"}
CELL = {"pos": 1, "layer": 2, "kind": "mlp"}
QUICK = {"samples": 2, "noise": rw.Noise.absolute(2.0)}
FEW_STEPS = {"steps": 2, "prefixes": ()}
SWEPT = [(PROMPT, SUBJECT)]
TUNED = {
    "records": [
        {
            "requested_rewrite": {
                "prompt": FACT["prompt"],
                "subject": SUBJECT,
                "target_new": {"str": "w5"},
                "target_true": {"str": "w6"},
            },
            "paraphrase_prompts": ["w14 w15"],
            "neighborhood_prompts": ["w3 w4 w9 w26"],
        }
    ],
    "layers": [2],
    "settings": [FEW_STEPS],
    "second_moment": "identity",
    "keep": False,
}
EVALUATED = {
    "records": TUNED["records"],
    "methods": ["ft"],
    "layer": 2,
    "settings": {"ft": {"steps": 1}},
}

WRONG = {
    "None": None,
    "a boolean": True,
    "below zero": -1,
    "too large": 10**400,
    "too large to print": 10**5000,
    "NaN": math.nan,
    "infinity": math.inf,
    "a complex number": 3 + 4j,
    "no text": "",
    "a word": "w14",
    "a null character": "\0",
    "half a surrogate pair": "\ud800",
    "bytes": b"x",
    "an empty list": [],
    "a list of None": [None],
    "a list of lists": [[1, 2], [3]],
    "an empty mapping": {},
    "a mapping": {"a": None},
    "a mapping by number": {1: 2},
    "an object": object(),
    "a class": object,
    "a function": lambda *_: None,
    "a meta tensor": torch.empty(2, device="meta"),
    "a meta scalar": torch.empty((), device="meta"),
    "a complex tensor": torch.zeros((), dtype=torch.complex64),
    "an array": np.zeros((2, 2)),
    "an empty array": np.zeros((0, 3)),
    "an array of objects": np.array([None, "x"], dtype=object),
    "an empty path": Path(),
    "an event": threading.Event(),
}

MADE_BY_THE_PACKAGE = {
    "CausalTrace",
    "Comparison",
    "datasets.BadRecord",
    "datasets.Probe",
    "Edit",
    "EditReport",
    "EvaluatedEdit",
    "Evaluation",
    "Flow",
    "Heads",
    "Lens",
    "Plan",
    "Prediction",
    "RankOneReport",
    "Restoration",
    "RestoringPath",
    "State",
    "Sweep",
    "SweptFact",
    "Tuning",
}
"""Records: nobody writes them by hand, so only their methods are called."""

FOR_USERS = {
    "answer_ids",
    "check_kinds",
    "embed",
    "encode",
    "encode_alone",
    "encode_text",
    "forget_memory",
    "prompt_ids",
    "read_prompt",
    "revert_all",
    "save_pretrained",
    "sites",
    "token_text",
    "use_less_memory",
}
"""Of the methods of a `LanguageModel` those that take what a person has; others are the engine's,
which gives them functions, spans and tensors of its own."""

OF_IPYWIDGETS = {"get_state", "set_state", "close", "wait"}
"""Methods of widgets that the host calls, and what only waits; messages have a test below."""

OF_EVERY_WIDGET = {"theme", "layout", "tooltip", "tabbable"}
"""Arguments of every widget, which one of them is tried with."""


WIDGETS = (
    *("TraceGrid", "TraceExplorer", "SweepChart"),
    *("EditPanel", "PredictionCompare", "GenerationCompare"),
)


class World:
    """A model, a trace and an edit of it, and widgets that show them."""

    def __init__(self, folder):
        self.folder = folder
        self.lm = tiny.tiny_lm("gpt2", scale=20)
        self.saved = self.lm.save_pretrained(folder / "model")
        self.trace = self.tracer.trace()
        self.restoration = self.tracer.restore([(1, 2, "hidden")])
        self.edit = rw.edit(self.lm, **FACT, layer=2, settings=FEW_STEPS, second_moment="identity")
        self.trace_file = self.trace.save(folder / "trace")
        self.restoration_file = self.restoration.save(folder / "restoration")
        self.edit_file = self.edit.save(folder / "edit")
        self.sweep = rw.sweep(self.lm, SWEPT, kinds="mlp", **QUICK)
        self.sweep_file = self.sweep.save(folder / "sweep")
        self.evaluation = rw.evaluate(self.lm, **EVALUATED)
        self.evaluation_file = self.evaluation.save(folder / "evaluation")

    @property
    def tracer(self):
        """New each time: an edit that came and went makes an old one refuse."""
        return rw.CausalTracer(self.lm, PROMPT, SUBJECT, **QUICK)

    def calls(self):
        """By public name, what it is called with."""
        prompt = {"prompt": PROMPT, "subject": SUBJECT}
        edit = {**FACT, "layer": 2, "settings": FEW_STEPS, "second_moment": "identity"}
        return {
            "CausalTracer": {"lm": self.lm, **prompt, **QUICK},
            "EditPanel": {"model": self.lm, **FACT},
            "EditSettings": {},
            "Fact": FACT,
            "FineTuningSettings": {},
            "GenerationCompare": {"model": self.lm, "prompts": PROMPT, "auto_run": False},
            "LanguageModel": {"model": self.lm.model, "tokenizer": self.lm.tokenizer},
            "Noise": {"scale": 1.0},
            "PredictionCompare": {"runs": self.restoration},
            "PredictionRun": {"name": "clean", "tokens": ["w1"], "probabilities": [0.5]},
            "RankOneSettings": {},
            "SecondMoment": {"about": "nothing"},
            "Subject": {"words": "w5"},
            "SweepChart": {"sweep": self.sweep},
            "TraceExplorer": {"model": self.lm, **prompt, "auto_run": False},
            "TraceGrid": {"trace": self.trace},
            "edit": {"lm": self.lm, **edit},
            "evaluate": EVALUATED | {"lm": self.lm},
            "load": {"name": self.saved},
            "load_edit": {"lm": self.lm, "path": self.edit_file},
            "load_evaluation": {"path": self.evaluation_file},
            "load_restoration": {"path": self.restoration_file},
            "load_trace": {"path": self.trace_file},
            "load_sweep": {"path": self.sweep_file},
            "methods": {},
            "plan": {"lm": self.lm, "facts": SWEPT, "samples": 2, "kinds": "mlp"},
            "register": {"name": "mine", "editor": None},
            "second_moment": {"lm": self.lm, "texts": ["w3 w4 w5"], "layers": 2},
            "sweep": {"lm": self.lm, "facts": SWEPT, **QUICK, "kinds": "mlp"},
            "tour": {"folder": self.folder / "tour"},
            "trace": {"lm": self.lm, **prompt, **QUICK, "kinds": "mlp"},
            "tune": TUNED | {"lm": self.lm},
            **{f"datasets.{name}": given for name, given in self.data_sets().items()},
        }

    def data_sets(self):
        """By name of a loader, what it is called with."""
        path = self.folder / "facts.json"
        path.write_text(json.dumps(list(FORMS.values())))
        loaders = ("counterfact", "known_facts", "mquake", "qaedit", "ripple_edits", "zsre")
        return {
            **{name: {"source": path} for name in loaders},
            "FactRecord": FACT,
            "FactRecords": {"records": [FACT]},
            "bundled": {},
            "known_to": {"lm": self.lm, "records": [FACT]},
            "relations": {"source": path},
            "table": {"source": [FACT]},
        }

    @functools.cached_property
    def objects(self):
        """By public name, one of its objects."""
        return {
            "CausalTrace": self.trace,
            "CausalTracer": self.tracer,  # of the weights as they were
            "Comparison": self.edit.compare(PROMPT)[0],
            "datasets.FactRecord": rw.datasets.FactRecord(**FACT),
            "datasets.FactRecords": rw.datasets.FactRecords([FACT] * 3),
            "Edit": self.edit,
            "EditReport": self.edit.report,
            "EditSettings": rw.EditSettings(),
            "EvaluatedEdit": self.evaluation.rows[0],
            "Evaluation": self.evaluation,
            "Fact": rw.Fact(**FACT),
            "FineTuningSettings": rw.FineTuningSettings(),
            "Flow": self.tracer.flow(),
            "Heads": self.tracer.heads(1, 2),
            "LanguageModel": self.lm,
            "Lens": self.tracer.lens(),
            "Noise": QUICK["noise"],
            "Plan": rw.plan(self.lm, SWEPT, samples=2),
            "Prediction": self.trace.baseline[0],
            "PredictionRun": rw.PredictionRun("clean", ["w1"], [0.5]),
            "RankOneReport": self.edit.report.details,
            "RankOneSettings": rw.RankOneSettings(),
            "Restoration": self.restoration,
            "RestoringPath": self.tracer.find_path(0.5, max_states=1),
            "SecondMoment": rw.SecondMoment("it", matrix=torch.eye(20, dtype=torch.float64)),
            "State": rw.State(1, 2, "mlp"),
            "Subject": rw.Subject("w5"),
            "datasets.BadRecord": rw.datasets.BadRecord("a file", "a reason"),
            "datasets.Probe": rw.datasets.Probe("w3", (("w5",),)),
            "Sweep": self.sweep,
            "SweptFact": self.sweep.facts[0],
            "Tuning": rw.tune(self.lm, **TUNED, progress=False),
            **{name: self.widget(name) for name in WIDGETS},
        }

    def widget(self, name):
        """A new widget."""
        makers = {
            "EditPanel": lambda: rw.EditPanel(self.lm),
            "GenerationCompare": lambda: rw.GenerationCompare(self.lm, PROMPT, auto_run=False),
            "PredictionCompare": lambda: rw.PredictionCompare(self.restoration),
            "SweepChart": lambda: rw.SweepChart(self.sweep),
            "TraceExplorer": self.explorer,
            "TraceGrid": lambda: rw.TraceGrid(self.trace),
        }
        return makers[name]()

    def explorer(self):
        """One that has traced."""
        made = rw.TraceExplorer(self.lm, PROMPT, SUBJECT, samples=2, auto_run=False)
        made.run(wait=True)
        return made

    def arguments(self):
        """What methods cannot do without; by class and name, or by the name alone."""
        return {
            "absolute": {"std": 1.0},
            "best_layers": {"kind": "mlp"},
            "by_role": {"kind": "mlp"},
            "answer_ids": {"prompt": PROMPT, "word": "w5"},
            "cell": CELL,
            "changed": {"given": {}},
            "check_kinds": {"kinds": "all"},
            "compare": {"prompts": PROMPT},
            "TraceExplorer.compare": {"a": self.trace},
            "effects": {"kind": "mlp"},
            "embed": {"ids": [1, 2]},
            "encode": {"prompt": PROMPT, "subject": SUBJECT},
            "encode_alone": {"text": PROMPT},
            "encode_text": {"text": PROMPT},
            "find_path": {"recovery": 0.5},
            "CausalTracer.find_path": {"recovery": 0.5, "max_states": 1, "kinds": "hidden"},
            "follow": {"trace": self.trace},
            "from_record": {"record": {}},
            "heads": {"layer": 1, "pos": 2},
            "Heads.strongest": {},
            "indirect_effect": {"kind": "mlp"},
            "link": {"explorer": rw.TraceExplorer(self.lm, auto_run=False)},
            "mean_peak": {"kind": "mlp"},
            "peak": {"kind": "mlp"},
            "peaks": {"kind": "mlp"},
            "preview": {"prompts": PROMPT},
            "prompt_ids": {"prompt": PROMPT},
            "read_prompt": {"prompt": PROMPT},
            "recall": {"run": 1},
            "restore": {"states": [(1, 2, "mlp")]},
            "revert": {"edit": "e"},
            "sample": {"n": 2},
            "Edit.revert": {},
            "save": {"path": self.folder / "file"},
            "save_pretrained": {"folder": self.folder / "folder"},
            "set_applied": {"edit": "e", "applied": True},
            "set_strength": {"edit": "e", "strength": 1.0},
            "Evaluation.of": {"method": "ft"},
            "Evaluation.total": {"method": "ft", "name": "ES"},
            "select_states": {"states": [(1, 2, "mlp")]},
            "sever": {"kind": "mlp"},
            "show": {"runs": self.restoration},
            "sites": {"kind": "mlp"},
            "solve": {"keys": torch.zeros(20)},
            "strongest": {"kind": "mlp"},
            "times_std": {"multiple": 1.0},
            "to_peft": {"folder": self.folder / "adapter"},
            "to_parquet": {"path": self.folder / "file"},
            "token_text": {"token_id": 3},
            "uniform": {"half_width": 1.0},
            "use_less_memory": {"tokens": 10**6},
            "value_at": CELL,
        }


@pytest.fixture(scope="module")
def shared_world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture
def world(shared_world):
    """One for all tests; what they wrote into its model is taken out again."""
    yield shared_world
    for widget in list(session_of(shared_world.lm)._listeners):
        widget.wait()
    shared_world.lm.revert_all()


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Where a word is the name of a file, it goes into a folder of the test's own; so does what is
    kept of a model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROME_WIDGETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "_open", nobody_answers)


def nobody_answers(url):
    """There is no network here."""
    raise OSError("no network")


def public(name):
    """What a public name is, which may be of the data sets."""
    return operator.attrgetter(name)(rw)


NAMES = [
    name
    for name in (*rw.__all__, *(f"datasets.{each}" for each in rw.datasets.__all__))
    if callable(made := public(name))
    and not (isinstance(made, type) and issubclass(made, BaseException))
]
CLASSES = [name for name in NAMES if isinstance(public(name), type)]


def methods_of(name):
    """The public methods of a class that are the package's own."""
    made = public(name)
    homes = [each for each in made.__mro__ if each.__module__.startswith("rome_widgets")]
    for method in dict.fromkeys(name for home in homes for name in vars(home)):
        of_the_engine = name == "LanguageModel" and method not in FOR_USERS
        hidden = method.startswith("_") or method in OF_IPYWIDGETS or of_the_engine
        if not hidden and callable(getattr(made, method)):
            yield method


def leaks(call, given, left_out=()):
    """What gets out of a call, with one wrong argument at a time, besides the package's errors."""
    found = []
    for name in inspect.signature(call).parameters:
        for what, value in WRONG.items() if name not in left_out else ():
            try:
                call(**{**given, name: value})
            except rw.RomeWidgetsError:
                continue
            except Exception as error:
                found.append(f"{name} is {what}: {type(error).__name__}: {error}")
    return found


def test_every_public_name_and_method_is_called_here(world):
    callables = {name for name in NAMES if name not in MADE_BY_THE_PACKAGE}
    assert set(world.calls()) == callables
    assert set(world.objects) == set(CLASSES)
    given = world.arguments()
    for name in CLASSES:
        for method in methods_of(name):
            call = getattr(world.objects[name], method)
            needed = [
                each.name
                for each in inspect.signature(call).parameters.values()
                if each.default is each.empty
            ]
            known = given.get(f"{name}.{method}", given.get(method, {}))
            assert set(needed) <= set(known), f"{name}.{method}"


@pytest.mark.parametrize("name", [name for name in NAMES if name not in MADE_BY_THE_PACKAGE])
def test_a_public_name_lets_out_only_the_packages_errors(world, name):
    left_out = set() if name == "TraceGrid" else OF_EVERY_WIDGET
    assert leaks(public(name), world.calls()[name], left_out) == []


@pytest.mark.parametrize("name", CLASSES)
def test_methods_let_out_only_the_packages_errors(world, name):
    made, given = world.objects[name], world.arguments()
    found = {
        method: leaks(
            getattr(made, method),
            {
                argument: value
                for argument, value in given.get(f"{name}.{method}", given.get(method, {})).items()
                if argument in inspect.signature(getattr(made, method)).parameters
            },
        )
        for method in methods_of(name)
    }
    assert {method: some for method, some in found.items() if some} == {}


def test_the_probe_would_notice():
    def call(number, text="w"):
        return number.real + len(text)

    assert any("text is None: TypeError" in leak for leak in leaks(call, {"number": 1}))


@pytest.mark.parametrize("name", WIDGETS)
def test_a_trait_that_refuses_a_value_says_so_in_the_packages_words_and_keeps_its_own(world, name):
    widget = world.widget(name)
    for trait in traits_of(widget):
        for value in WRONG.values():
            before = getattr(widget, trait)
            try:
                setattr(widget, trait, value)
            except rw.errors.TraitRefused:
                now = getattr(widget, trait)  # the panel's worker may have moved it meanwhile
                assert now is not value or now is before


def traits_of(widget):
    """The public traits that are the package's own."""
    return [
        name
        for name, trait in widget.traits().items()
        if not name.startswith("_") and trait.this_class.__module__.startswith("rome_widgets")
    ]


SENT = [None, True, -1, 10**30, math.nan, math.inf, "", "w", [], [None], [[1]], {}, {"id": None}]
"""What JSON can hold."""


@pytest.mark.parametrize("name", WIDGETS)
def test_whatever_the_page_sends_nothing_is_raised_and_the_widget_goes_on(world, name):
    widget = world.widget(name)
    form = (traitlets.Int, traitlets.Float, traitlets.Unicode, traitlets.Bool, traitlets.Enum)
    for trait in [
        name
        for name, trait in widget.traits(sync=True).items()
        if trait.this_class.__module__.startswith("rome_widgets")
        and (
            trait.metadata.get("echo_update") is False
            or isinstance(trait, form)
            or name in ("selection", "cursor", "settings", "tests")
        )
    ]:
        for value in SENT:
            for message in (value, [value], {"w": value}, [{"id": "a", "op": value}, value]):
                widget.set_state({trait: message})
    widget.set_state({"_request": {"op": "recall"}})
    widget.set_state({"_request": {"op": "subject", "start": "a"}})
    widget.set_state({"_strengths": {world.edit.id: [1, math.nan], "e": 5}})
    assert widget.to_text()


THREE = [
    3,
    np.int64(3),
    np.uint8(3),
    np.array(3),
    torch.tensor(3),
    torch.tensor(3, dtype=torch.int8),
]
HALF = [0.5, np.float32(0.5), np.array(0.5), torch.tensor(0.5), torch.tensor(0.5, dtype=torch.half)]


@pytest.mark.parametrize("number", THREE, ids=repr)
def test_whole_numbers_of_every_library_are_numbers_wherever_one_is_taken(world, number):
    lm, options = world.lm, {"subject": SUBJECT, **QUICK}
    made = rw.trace(lm, PROMPT, **{**options, "samples": number}, seed=number, window=number)
    assert (made.samples, made.seed, made.windows["mlp"]) == (3, 3, 3)
    assert rw.trace(lm, PROMPT, **options, answer=number, record=number).answer_id == 3
    assert rw.Noise(number) == rw.Noise(3.0)
    assert world.tracer.cell(number, number, "mlp") == world.tracer.cell(3, 3, "mlp")
    assert world.tracer.restore([(number, number, "mlp")], top=number).states == ((3, 3, "mlp"),)
    assert len(world.restoration.top(number)) == 3
    assert len(world.tracer.lens(k=number).runs[0].top[0]) == 3
    assert world.tracer.find_path(0.5, max_states=number).states
    assert lm.token_text(number) == "w3"
    settings = {"steps": number, "prefixes": ((number, number),)}
    change = rw.edit(
        lm, **FACT, layer=number, seed=number, settings=settings, second_moment="identity"
    )
    assert (change.report.layer, change.report.seed, change.report.settings["steps"]) == (3, 3, 3)
    assert world.edit.compare(PROMPT, k=number, generate=number)[0].rows
    assert rw.second_moment(lm, ["w3 w4"], layers=number).n_tokens == 2
    panel = rw.EditPanel(lm, **FACT, layer=number, settings={"steps": number})
    assert (panel.layer, panel.settings) == (3, {"steps": 3})
    explorer = rw.TraceExplorer(lm, PROMPT, SUBJECT, auto_run=False)
    for name in ("samples", "seed", "window", "noise"):
        setattr(explorer, name, number)
        assert getattr(explorer, name) == 3
        assert type(getattr(explorer, name)) in (int, float)
    grid = rw.TraceGrid(world.trace, selection=[(number, number, "mlp")], cursor=(number, 3, "mlp"))
    assert (grid.selection, grid.cursor) == ([(3, 3, "mlp")], (3, 3, "mlp"))
    grid.select(number, number, "mlp")
    assert grid.value_at(number, number, "mlp") == world.trace.scores["mlp"][3, 3]


@pytest.mark.parametrize("number", HALF, ids=repr)
def test_numbers_of_every_library_are_numbers_wherever_one_is_taken(world, number):
    assert rw.trace(world.lm, PROMPT, SUBJECT, samples=2, noise=number).noise["multiple"] == 0.5
    assert world.tracer.find_path(number, max_states=1).target == 0.5
    assert rw.RankOneSettings(clamp=number).clamp == 0.5
    assert rw.SecondMoment("it", ridge=number).ridge == 0.5
    assert len(world.edit.preview(PROMPT, strength=number)) == 1
    world.edit.strength = number
    assert world.edit.strength == 0.5
    world.edit.strength = 1.0
    explorer = rw.TraceExplorer(world.lm, auto_run=False)
    explorer.noise = explorer.recovery = number
    assert (explorer.noise, explorer.recovery) == (0.5, 0.5)


def test_the_strongest_layer_of_a_grid_is_a_layer_to_edit(world):
    effects = world.trace.indirect_effect("mlp")[world.trace.subject_span[1] - 1]
    for layer in (effects.argmax(), torch.from_numpy(effects).argmax()):
        change = rw.edit(
            world.lm, **FACT, layer=layer, settings=FEW_STEPS, second_moment="identity"
        )
        assert change.report.layer == int(layer)


@pytest.mark.parametrize("number", [True, np.bool_(1), torch.tensor(True)], ids=repr)
def test_a_boolean_is_no_number(world, number):
    explorer = rw.TraceExplorer(world.lm, auto_run=False)
    for call in (
        lambda: rw.trace(world.lm, PROMPT, SUBJECT, samples=number),
        lambda: rw.trace(world.lm, PROMPT, SUBJECT, answer=number),
        lambda: rw.Noise(number),
        lambda: rw.edit(world.lm, **FACT, layer=number),
        lambda: rw.RankOneSettings(steps=number),
        lambda: setattr(explorer, "samples", number),
        lambda: setattr(explorer, "noise", number),
    ):
        with pytest.raises(rw.RomeWidgetsError):
            call()


def test_a_wrong_signature_is_a_type_error(world):
    for call in (
        lambda: rw.trace(world.lm),
        lambda: rw.trace(world.lm, PROMPT, SUBJECT, sample=2),
        lambda: rw.edit(),
        lambda: rw.TraceExplorer(world.lm, promt=PROMPT),
        lambda: world.tracer.restore(),
    ):
        with pytest.raises(TypeError):
            call()
