"""What an edit did to a prompt, in words and numbers."""

import pytest
import traitlets

from rome_widgets.widgets.edit.edit_rows import describe_change, read_tests
from rome_widgets.widgets.edit.engine import GROUPS, Outcome, PromptChange, TestPrompt
from tests.helpers.fake_editor import NEEDLE


class TestVerdicts:
    def change(self, group, before, after, **more):
        return describe_change(PromptChange(TestPrompt("x", group, **more), before, after), NEEDLE)

    @pytest.mark.parametrize(
        ("group", "token", "verdict", "good"),
        [
            ("rewrite", " Paris", "new", True),
            ("rewrite", " Seattle", "not yet", False),
            ("paraphrase", " Paris", "follows", True),
            ("paraphrase", " Par", "not yet", False),
            ("paraphrase", " the", "not yet", False),
            ("neighborhood", " Seattle", "kept", True),
            ("neighborhood", " Paris", "bled", False),
            ("other", " Seattle", "kept", True),
            ("other", " Paris", "bled", False),
            ("free", " Seattle", "same", None),
            ("free", " Paris", "changed", None),
            ("rewrite", " ", "not yet", False),
            ("rewrite", " Par", "not yet", False),
        ],
    )
    def test_each_group_has_its_own_idea_of_good(self, group, token, verdict, good):
        row = self.change(group, Outcome(" Seattle", 0.9), Outcome(token, 0.8))
        assert (row["verdict"], row["good"]) == (verdict, good)

    @pytest.mark.parametrize("group", GROUPS)
    @pytest.mark.parametrize(
        ("token", "verdict"), [(" Seattle", "as before"), (" Paris", "changed")]
    )
    def test_an_edit_that_is_taken_out_is_not_judged(self, group, token, verdict):
        outcomes = Outcome(" Seattle", 0.9), Outcome(token, 0.8)
        row = describe_change(PromptChange(TestPrompt("x", group), *outcomes), NEEDLE, False)
        assert (row["verdict"], row["good"]) == (verdict, None)

    @pytest.mark.parametrize(
        ("group", "token", "verdict", "good"),
        [
            ("rewrite", " Par", "begins", False),
            ("rewrite", " Pa", "not yet", False),
            ("paraphrase", " Par", "begins", False),
            ("paraphrase", "Par", "not yet", False),
        ],
    )
    def test_a_word_of_several_tokens_is_begun_and_not_said_by_its_first_one(
        self, group, token, verdict, good
    ):
        outcomes = Outcome(" Seattle", 0.9), Outcome(token, 0.8)
        change = PromptChange(TestPrompt("x", group), *outcomes, " Par")
        row = describe_change(change, NEEDLE)
        assert (row["verdict"], row["good"]) == (verdict, good)

    @pytest.mark.parametrize(
        ("before", "after", "verdict", "good"),
        [
            (" America", " America", "kept", True),
            (" the", " America", "kept", True),
            (" America", " France", "bled", False),
            (" the", " France", "bled", False),
            (" the", " the", "not known", False),
        ],
    )
    def test_what_should_stay_is_right_where_the_true_object_is_said(
        self, before, after, verdict, good
    ):
        outcomes = Outcome(before, 0.9), Outcome(after, 0.8)
        for group in ("neighborhood", "other"):
            row = self.change(group, *outcomes, true_object="America")
            assert (row["verdict"], row["good"]) == (verdict, good)

    def test_an_object_that_was_said_before_is_not_new(self):
        row = self.change("rewrite", Outcome(" Paris", 0.9), Outcome(" Paris", 0.95))
        assert (row["verdict"], row["good"]) == ("already", True)

    def test_what_should_change_follows_the_new_word_and_what_should_not_the_true_one(self):
        outcomes = Outcome(" Seattle", 0.9, 0.1, 0.9), Outcome(" Paris", 0.8, 0.8, 0.15)
        row = self.change("rewrite", *outcomes)
        assert (row["followed"], row["delta"]) == ("Paris", pytest.approx(0.7))
        row = self.change("neighborhood", *outcomes)
        assert (row["followed"], row["delta"]) == ("Seattle", pytest.approx(-0.75))

    def test_a_prompt_of_ones_own_follows_what_the_model_said_before(self):
        outcomes = Outcome(" trumpet", 0.9, 0.1, 0.9), Outcome(" piano", 0.8, 0.2, 0.15)
        change = PromptChange(TestPrompt("x"), *outcomes, " Paris", " trumpet")
        row = describe_change(change, NEEDLE)
        assert (row["followed"], row["delta"]) == (" trumpet", pytest.approx(-0.75))

    @pytest.mark.parametrize(
        ("group", "said", "verdict"),
        [
            ("rewrite", (False, True), "new"),
            ("rewrite", (True, True), "already"),
            ("rewrite", (False, False), "begins"),
            ("paraphrase", (False, True), "follows"),
            ("paraphrase", (False, False), "begins"),
        ],
    )
    def test_a_word_is_said_where_every_token_of_it_is(self, group, said, verdict):
        before, after = (Outcome(" Par", 0.9, says_target=each) for each in said)
        row = describe_change(PromptChange(TestPrompt("x", group), before, after, " Par"), NEEDLE)
        assert (row["verdict"], row["good"]) == (verdict, said[1])

    @pytest.mark.parametrize("says", [True, False])
    def test_a_true_object_of_several_tokens_is_kept_where_every_token_is(self, says):
        outcomes = Outcome(" Sea", 0.9), Outcome(" Sea", 0.9, says_true=says)
        change = PromptChange(TestPrompt("x", "neighborhood"), *outcomes, None, " Sea")
        assert describe_change(change, NEEDLE)["good"] is says

    @pytest.mark.parametrize("group", GROUPS)
    def test_what_is_followed_is_a_whole_word_and_its_first_token_stands_beside_it(self, group):
        outcomes = (
            Outcome(" Seattle", 0.9, 1e-9, 0.9, 0.1, None),
            Outcome(" Par", 0.8, 2e-9, 0.1, 0.8, None),
        )
        test = TestPrompt("x", group, None, "Seattle")
        row = describe_change(PromptChange(test, *outcomes, " Par", " Seattle"), NEEDLE)
        assert row["words"] == {"target": "Paris", "true": "Seattle"}
        first = {"token": " Par", "before": 0.1, "after": 0.8}
        moves = group in ("rewrite", "paraphrase")
        assert row["first"] == (first if moves else None)
        assert row["followed"] == ("Paris" if moves else "Seattle")

    def test_without_a_probability_there_is_no_difference(self):
        row = self.change("rewrite", Outcome(" a", 0.9), Outcome(" b", float("nan"), 0.2))
        assert row["delta"] is None
        assert row["after"]["probability"] is None


def test_test_prompts_are_read_from_texts_and_dicts_and_nothing_else():
    assert read_tests(["a"])[0]["group"] == "free"
    for group in GROUPS:
        assert read_tests([{"text": "a", "group": group}])[0]["group"] == group
    for wrong in ({"text": 1}, {"text": "a", "group": "x"}, {"text": "a", "more": 1}):
        with pytest.raises(traitlets.TraitError):
            read_tests([wrong])
