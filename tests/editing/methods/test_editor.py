"""The methods by name: what they say of themselves, and the one of CONTRIBUTING.md, which joins."""

import re
from pathlib import Path

import pytest
import torch

import rome_widgets as rw
from rome_widgets.editing.methods import METHODS, Editor, find_editor, methods_for
from rome_widgets.errors import SettingsError
from rome_widgets.session.edit_engine import EditingEngine
from rome_widgets.widgets.edit.engine import EditRequest
from tests.helpers import world
from tests.model.test_ledger import same, weights

ROOT = Path(rw.__file__).parent.parent
FACTS = [("w3 {} w26", "w14", "w8"), ("w3 {} w26", "w15", "w9")]


@pytest.fixture
def constant():
    """The method of CONTRIBUTING.md, by its own words, until the test ends."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(code, {"__name__": "constant"})
    yield METHODS["constant"]
    del METHODS["constant"]


def test_every_method_says_what_it_is():
    table = rw.methods()
    assert list(table) == ["rome", "r-rome", "ft", "ft-l"]
    assert [method.title for method in table.values()] == ["ROME", "r-ROME", "FT", "FT-L"]
    for method in table.values():
        assert set(method.needs) <= {"statistics", "training"}
        assert method.changes
        assert method.source
        assert isinstance(method.settings(), method.settings)
    assert len(repr(table).splitlines()) == len(table)
    assert "needs statistics" in repr(table)
    assert table._repr_html_().count("<tr") == len(table) + 1


def test_only_what_it_names_is_changed():
    lm = world.make_lm("gpt2")
    before = weights(lm)
    for method in METHODS:
        made = world.make_edit(lm, method)
        names = {update.name for update in made.updates}
        with made:
            after = weights(lm)
        assert {name for name in before if not torch.equal(before[name], after[name])} == names


def test_nothing_outside_its_folder_names_a_method():
    """A new one is a file: the session, the panel and the edit itself read the registry."""
    files = [ROOT / "rome_widgets" / room for room in ("editing", "session", "widgets/edit")]
    names = re.compile(r'["\'](rome|r-rome|ft|ft-l)["\']')
    found = {
        path.name
        for room in files
        for path in room.rglob("*.py")
        if "methods" not in path.parts and names.search(path.read_text("utf-8"))
    }
    assert found == set()


def test_an_unknown_method_gets_no_ones_numbers():
    with pytest.raises(SettingsError, match="Methods are 'rome'"):
        find_editor("mend")
    with pytest.raises(SettingsError, match="comes with the package"):
        rw.register("rome", find_editor("ft"))
    with pytest.raises(SettingsError, match="no editor"):
        rw.register("mine", Editor)


def test_a_method_of_one_file_is_in_the_table_and_the_panel(constant, bundled_lm):
    assert rw.methods()["constant"].title == "Constant"
    assert methods_for(bundled_lm)["constant"] == {
        "title": "Constant",
        "settings": {"constant": 0.001},
    }
    engine = EditingEngine(bundled_lm)
    assert list(engine.methods) == [*METHODS]
    request = EditRequest(
        "{} is in the city of", "The Space Needle", "Paris", method="constant", layer=3
    )
    record = engine.edit(request, lambda progress: None, lambda: False)
    assert record.layer == 3
    assert engine.find(record.id).report.n_facts == 1
    engine.revert_all()


def test_a_method_of_one_file_is_computed_applied_reverted_saved_and_written_as_code(
    constant, tmp_path
):
    lm = world.new_lm("gpt2")
    made = rw.edit(lm, FACTS, method="constant", layer=2, settings={"constant": 0.5})
    before, name = weights(lm), made.updates[0].name
    with made:
        assert torch.equal(lm.model.get_parameter(name), before[name] + 0.5)
    assert same(before, weights(lm))
    assert [fact.target for fact in made.facts] == ["w8", "w9"]
    assert made.report.n_facts == 2
    assert made.report.update_norm == pytest.approx(0.5 * before[name].numel() ** 0.5)
    assert "and 1 more" in repr(made)
    copy = rw.load_edit(lm, made.save(tmp_path / "edit"))
    assert (copy.id, copy.facts, copy.report) == (made.id, made.facts, made.report)
    assert repr(FACTS) in made.to_code()
    with pytest.raises(SettingsError, match="Its settings are constant"):
        rw.edit(lm, FACTS, method="constant", settings={"steps": 3})


def test_a_file_of_a_method_that_is_not_there_is_still_read(constant, tmp_path, monkeypatch):
    lm = world.new_lm("gpt2")
    made = rw.edit(lm, *FACTS[0], method="constant", layer=2)
    path, code = made.save(tmp_path / "edit"), made.to_code()
    monkeypatch.delitem(METHODS, "constant")
    copy = rw.load_edit(lm, path)
    assert (copy.report, copy.to_code()) == (made.report, code)
