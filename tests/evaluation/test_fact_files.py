"""Bad records are told with their places and end nothing; wrong files are named."""

import json

import pandas as pd
import pytest

from rome_widgets.errors import ArgumentError, DatasetError
from rome_widgets.evaluation.datasets import counterfact, known_facts, mquake, relations, table
from rome_widgets.evaluation.fact_files import field_columns, renamed
from tests.helpers.published import CONDENSED, COUNTERFACT, FORMS, KNOWN, MQUAKE, RELATION, TABLE


@pytest.fixture
def write(tmp_path):
    def written(value, name="facts.json"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(value if isinstance(value, str) else json.dumps(value), "utf-8")
        return path

    return written


def test_bad_records_are_left_out_with_their_places(write):
    bad = [
        {**KNOWN, "subject": "Ural"},
        {**KNOWN, "prompt": None},
        {"prompt": "{} is", "subject": "a"},
        "text",
        MQUAKE,
        {**KNOWN, "attribute": 5},
    ]
    path = write([KNOWN, *bad, KNOWN])
    found = known_facts(path)
    assert [each.id for each in found] == ["0", "0"]
    assert found.source == str(path)
    assert [each.place for each in found.left_out] == [
        f"facts.json, record {number}" for number in range(1, 7)
    ]
    reasons = [each.reason for each in found.left_out]
    for words, reason in zip(
        (
            "subject 'Ural'",
            "'prompt' is None",
            "'attribute' was wanted, too",
            "It is 'text'",
            "It is a record of MQuAKE",
            "'attribute' is 5",
        ),
        reasons,
        strict=True,
    ):
        assert words in reason


def test_one_torn_line_is_one_bad_record(write):
    path = write("\n".join([json.dumps(KNOWN), json.dumps(KNOWN)[:-9]]), "facts.jsonl")
    found = known_facts(path)
    assert (len(found), [each.place for each in found.left_out]) == (1, ["facts.jsonl, line 1"])


@pytest.mark.parametrize("name", FORMS)
def test_a_file_of_another_form_says_which_was_found_and_which_wanted(write, name):
    path = write([FORMS[name]])
    for load, wanted in ((counterfact, "CounterFact"), (mquake, "MQuAKE"), (known_facts, "known_")):
        form = name.partition(",")[0]
        if form.startswith(wanted) or (form == "EasyEdit" and load is counterfact):
            assert len(load(path)) == 1
            continue
        with pytest.raises(
            DatasetError, match=rf"None of the 1 record .* {wanted}.*wanted"
        ) as told:
            load(path)
        assert f"It is a record of {form}" in str(told.value) or name == "a table"


def test_a_file_without_records_is_an_error(write):
    for empty in ([], {}, "null", [None]):
        with pytest.raises(DatasetError, match="None of the"):
            known_facts(write(empty))


def test_a_path_that_is_none_offers_one_that_is(write):
    path = write([KNOWN])
    with pytest.raises(DatasetError, match=r"cannot be read.*Did you mean 'facts.json'"):
        known_facts(path.with_name("fcts.json"))
    with pytest.raises(DatasetError, match=r"cannot be read: Is a directory.*Check the path"):
        known_facts(path.parent)


def test_the_digest_of_a_local_file_is_checked_where_one_is_given(write):
    path = write([KNOWN])
    with pytest.raises(DatasetError, match=r"has the SHA-256 .* was wanted"):
        known_facts(path, sha256="0" * 64)


def test_a_folder_of_relations_is_read_by_name_and_a_torn_file_is_told(write, tmp_path):
    write({**RELATION, "name": "second"}, "lre/b.json")
    write(RELATION, "lre/a.json")
    write(json.dumps(RELATION)[:-4], "lre/c.json")
    write({**RELATION, "samples": [{"subject": "Rome"}, 3]}, "lre/d.json")
    write("no relation", "lre/LICENSE")
    found = relations(tmp_path / "lre")
    assert [each.relation for each in found] == ["city in country"] * 2 + ["second"] * 2
    assert [each.id for each in found] == [
        "city in country/0",
        "city in country/1",
        "second/0",
        "second/1",
    ]
    assert found[1].text == "Rio de Janeiro is part of"
    assert found[1].paraphrase_prompts == (
        "Rio de Janeiro is in",
        "Rio de Janeiro is part of the country of",
    )
    assert [each.place.rpartition("/")[2] for each in found.left_out] == [
        "c.json",
        "d.json, sample 0",
        "d.json, sample 1",
    ]
    (tmp_path / "none").mkdir()
    with pytest.raises(DatasetError, match="None of the 0 records"):
        relations(tmp_path / "none")


def test_a_table_is_the_same_however_it_comes(write, tmp_path):
    rows = [{**TABLE, "paraphrase_prompts": ["In Rome", "At Rome"]}, {**TABLE, "target_new": None}]
    wanted = table(rows)
    assert wanted[0].paraphrase_prompts == ("In Rome", "At Rome")
    assert (wanted[1].target, wanted[1].target_new) == ("Italy", None)
    frame = pd.DataFrame(rows)
    csv = frame.assign(paraphrase_prompts=[json.dumps(["In Rome", "At Rome"]), None])
    csv.to_csv(tmp_path / "a.csv", index=False)
    csv.to_csv(tmp_path / "a.tsv", index=False, sep="\t")
    write("\n".join(map(json.dumps, rows)), "a.jsonl")
    for source in (frame, iter(rows), write(rows), *(tmp_path / f"a.{e}" for e in ("csv", "tsv"))):
        assert table(source) == wanted
    assert table(str(tmp_path / "a.jsonl")) == wanted
    for form in (COUNTERFACT, CONDENSED):  # whose fields tell others, if not here
        assert form is COUNTERFACT or len(table([form])) == 1
    with pytest.raises(DatasetError, match="'prompt' was wanted, too"):
        table([COUNTERFACT])


def test_columns_may_have_other_names():
    row = {"question": "Rome is in", "who": "Rome", "target": "no", "answer": "Italy"}
    columns = {"prompt": "question", "subject": "who", "target": "answer"}
    (record,) = table(pd.DataFrame([row]), columns=columns)
    assert (record.text, record.subject, record.target) == ("Rome is in", "Rome", "Italy")
    (record,) = table([row], columns={**columns, "target": "none"})
    assert record.target == ""
    assert renamed("no row", columns) == "no row"
    for wrong in ({"prompts": "a"}, ["prompt"], {"prompt": 3}, {"along_with": "a"}):
        with pytest.raises(ArgumentError, match="fields are aliases"):
            field_columns(wrong)
