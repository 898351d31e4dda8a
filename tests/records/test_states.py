"""States and windows of layers."""

import pytest

from rome_widgets.errors import StateError
from rome_widgets.records.states import (
    KINDS,
    State,
    cell_states,
    check_kinds,
    check_states,
    window_layers,
)


def test_a_window_is_five_below_and_four_above_and_clipped():
    assert list(window_layers(20, 10, 48)) == list(range(15, 25))
    assert list(window_layers(1, 10, 48)) == list(range(6))
    assert list(window_layers(47, 10, 48)) == list(range(42, 48))
    assert list(window_layers(2, 1, 3)) == [2]


def test_a_cell_of_hidden_states_is_one_state_and_others_are_windows():
    assert cell_states(1, 2, "hidden", 3, 5) == [State(1, 2, "hidden")]
    assert cell_states(1, 2, "mlp", 3, 5) == [State(1, layer, "mlp") for layer in (1, 2, 3)]


def test_states_are_sorted_unique_and_not_negative():
    states = check_states([(-1, -1, "mlp"), (0, 0, "hidden"), (3, 2, "mlp")], 4, 3)
    assert states == (State(0, 0, "hidden"), State(3, 2, "mlp"))


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ((4, 0, "mlp"), "no position 4"),
        ((0, -4, "mlp"), "no layer -4"),
        ((0, 0), "not a state"),
        ((0.5, 0, "mlp"), "not a state"),
        ((0, 0, "attention"), "Did you mean 'attn'"),
    ],
)
def test_what_is_no_state_is_refused(state, message):
    with pytest.raises(StateError, match=message):
        check_states([state], 4, 3)


def test_kinds_come_in_order_and_unknown_ones_are_refused():
    assert check_kinds({"attn", "hidden"}) == ("hidden", "attn")
    assert check_kinds(KINDS) == KINDS
    for wrong in ((), "residual", 3, ["mlp", "x"]):
        with pytest.raises(StateError):
            check_kinds(wrong)
