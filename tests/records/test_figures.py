"""Every figure has one definition, and stands where the table has it."""

import pytest

from rome_widgets.records.figures import (
    DEFINITIONS,
    TABLE_4,
    definition_of,
    in_order,
    shown_value,
)


def test_every_column_of_table_4_is_defined_in_its_order():
    assert in_order({*TABLE_4}) == [*TABLE_4]
    assert all(each.words.endswith(".") for each in DEFINITIONS.values())


def test_figures_by_group_have_the_definition_of_their_kind():
    assert definition_of("ripple:two hops") is DEFINITIONS["ripple"]
    assert in_order({"ripple:b", "ES", "ripple:a"}) == ["ES", "ripple:a", "ripple:b"]
    with pytest.raises(KeyError):
        definition_of("ripples")


def test_shares_are_percentages_and_others_numbers():
    assert (shown_value("ES", 0.996), shown_value("GE", 6.2661)) == ("99.6", "6.27")
