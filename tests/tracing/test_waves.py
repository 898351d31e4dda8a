"""The plan is data: which branches a wave has, and what they cost. No model, no torch."""

import itertools

import numpy as np
import pytest

from rome_widgets.records.states import KINDS, State, cell_states
from rome_widgets.tracing.waves import Branch, Extent, Patch, group_cells, join_waves, plan_wave

L, T = 6, 5
SHAPE = {"extent": Extent(L, T, 1)}


def grid(pos, kind, window):
    return [cell_states(pos, layer, kind, window, L) for layer in range(L)]


def restored(*states):
    return tuple(sorted(Patch(*state, clean=True) for state in states))


def history(wave, branch):
    """Everything a branch after the last block was patched with, by walking back to the root."""
    patches = []
    for step in reversed(wave.steps):
        patches += step[branch].patches
        if step[branch].parent is None:
            return frozenset(patches)
        branch = step[branch].parent
    raise AssertionError("a branch of the first step has no parent")


def test_a_hidden_state_leaves_the_corrupted_run_at_its_layer():
    wave = plan_wave([[State(2, 3, "hidden")]], **SHAPE)
    assert (wave.start, wave.first) == (2, 3)
    assert wave.steps == (
        (Branch(None, restored((2, 3, "hidden"))),),
        (Branch(0, ()),),
        (Branch(0, ()),),
    )
    assert wave.leaves == ((0,),)


def test_windows_cut_off_at_the_bottom_share_a_trunk():
    """Windows 0-1 and 0-2 are one branch until the second restores layer 2."""
    wave = plan_wave([grid(2, "mlp", 3)[0], grid(2, "mlp", 3)[1]], **SHAPE)
    assert [len(step) for step in wave.steps] == [1, 1, 2, 2, 2, 2]
    assert {branch.parent for branch in wave.steps[2]} == {0}


def test_equal_cells_are_computed_once():
    wave = plan_wave([[State(2, 3, "mlp")], [State(2, 3, "mlp")], [State(2, 4, "mlp")]], **SHAPE)
    assert wave.leaves == ((0, 1), (2,))


@pytest.mark.parametrize(
    "cell",
    [
        [],
        [State(0, 3, "hidden"), State(0, 1, "mlp")],  # before the subject
        [State(3, L - 1, "hidden"), State(2, L - 1, "attn")],  # last block, not read
    ],
)
def test_what_cannot_matter_is_not_run(cell):
    assert group_cells([cell], **SHAPE) == ([0], [])


def test_what_cannot_matter_is_left_out_of_a_cell():
    cell = [State(0, 0, "mlp"), State(2, 3, "mlp"), State(2, L - 1, "mlp")]
    assert plan_wave([cell], **SHAPE) == plan_wave([[State(2, 3, "mlp")]], **SHAPE)


def test_a_restored_state_overwrites_what_its_block_put_in():
    cell = [State(2, 3, "hidden"), State(2, 3, "attn"), State(2, 3, "mlp")]
    assert plan_wave([cell], **SHAPE) == plan_wave([[State(2, 3, "hidden")]], **SHAPE)


def test_cells_group_by_first_position_in_the_order_given():
    cells = [[State(pos, 2, "hidden")] for pos in (4, 2, 0, 4, 3)]
    assert group_cells(cells, **SHAPE) == ([2], [[0, 3], [1], [4]])
    assert group_cells(cells, **SHAPE, most_cells=1) == ([2], [[0], [3], [1], [4]])


def test_the_last_block_is_patched_at_the_last_position_only():
    wave = plan_wave([[State(2, 1, "hidden"), State(4, L - 1, "mlp")]], **SHAPE)
    assert wave.steps[-1] == (Branch(0, restored((4, L - 1, "mlp"))),)


def test_every_leaf_was_patched_with_exactly_its_cells_states():
    """The property the engine rests on, over random sets of mixed states."""
    random = np.random.RandomState(0)
    states = [State(*each) for each in itertools.product(range(1, T), range(L - 1), KINDS)]
    cells = [
        [states[i] for i in random.choice(len(states), random.randint(1, 9), replace=False)]
        for _ in range(200)
    ]
    wanted = [
        frozenset(
            Patch(*state, clean=True)
            for state in cell
            if state.kind == "hidden" or State(state.pos, state.layer, "hidden") not in cell
        )
        for cell in cells
    ]
    unchanged, groups = group_cells(cells, **SHAPE)
    assert not unchanged
    assert sorted(itertools.chain(*groups)) == list(range(200))
    for numbers in groups:
        wave = plan_wave([cells[number] for number in numbers], **SHAPE)
        assert wave.start == min(patch.pos for n in numbers for patch in wanted[n])
        for branch, leaf in enumerate(wave.leaves):
            assert {wanted[numbers[cell]] for cell in leaf} == {history(wave, branch)}


def test_a_whole_grid_is_a_trie():
    """Counted by hand: at each layer, the cells that have left the corrupted run, told apart.

    Hidden: one more per layer. MLP, window 3: windows [0,2) and [0,3) share layers 0 and 1; the
    others enter one per layer, the last one ([4,6), of which only layer 4 can matter here) at 4.
    """
    hidden = plan_wave(grid(2, "hidden", 1)[: L - 1], **SHAPE)
    assert [len(step) for step in hidden.steps] == [1, 2, 3, 4, 5, 5]
    mlp = plan_wave(grid(2, "mlp", 3), **SHAPE)
    assert [len(step) for step in mlp.steps] == [1, 2, 4, 5, 6, 6]


class TestHeld:
    HELD = tuple(State(2, layer, "mlp") for layer in range(L))

    def test_what_runs_is_held_and_what_just_left_is_not(self):
        wave = plan_wave([[State(2, 3, "hidden")]], **SHAPE, held=self.HELD)
        hold = (Patch(2, 4, "mlp", clean=False),)
        assert [step[0].patches for step in wave.steps] == [
            restored((2, 3, "hidden")),
            hold,
            (),  # the last block at a position that nothing reads
        ]

    def test_in_the_block_where_attention_is_restored_the_mlp_is_held(self):
        """It reads what attention put in, so it would change at once."""
        wave = plan_wave([[State(2, 3, "attn")]], **SHAPE, held=self.HELD)
        assert wave.steps[0][0].patches == (
            Patch(2, 3, "attn", clean=True),
            Patch(2, 3, "mlp", clean=False),
        )

    def test_elsewhere_in_that_block_nothing_changes_yet(self):
        wave = plan_wave([[State(1, 3, "attn")]], **SHAPE, held=self.HELD)
        assert wave.steps[0][0].patches == restored((1, 3, "attn"))
        assert wave.steps[1][0].patches == (Patch(2, 4, "mlp", clean=False),)

    def test_a_restored_state_goes_first(self):
        wave = plan_wave([[State(2, 3, "mlp"), State(2, 4, "mlp")]], **SHAPE, held=self.HELD)
        assert wave.steps[0][0].patches == restored((2, 3, "mlp"))
        assert wave.steps[1][0].patches == restored((2, 4, "mlp"))

    def test_before_the_first_patch_there_is_nothing_to_hold(self):
        wave = plan_wave([[State(3, 2, "hidden")]], **SHAPE, held=self.HELD)
        assert all(not branch.patches for step in wave.steps[1:] for branch in step)


def test_waves_of_several_prompts_are_one_whose_parts_they_are():
    extent = Extent(4, 5, 1)
    cells = [[State(4, layer, kind)] for layer in range(1, 4) for kind in KINDS]
    one, other = plan_wave(cells, extent), plan_wave(cells[3:], extent)
    joint = join_waves([(2, one), (5, other)])
    assert (joint.start, joint.first) == (one.start, min(one.first, other.first))
    for layer, step in enumerate(joint.steps, joint.first):
        parts = {2: one, 5: other}
        before = 0
        for prompt, wave in parts.items():
            own = [branch for branch in step if branch.prompt == prompt]
            wanted = wave.steps[layer - wave.first] if layer >= wave.first else ()
            assert [branch.patches for branch in own] == [branch.patches for branch in wanted]
            for branch, plain in zip(own, wanted, strict=True):
                if plain.parent is None:
                    assert branch.parent is None
                    continue
                parent = joint.steps[layer - joint.first - 1][branch.parent]
                assert parent.prompt == prompt
                assert parent.patches == wave.steps[layer - wave.first - 1][plain.parent].patches
            before += len(own)
        assert before == len(step)
    assert sorted(cell for some in joint.leaves for cell in some) == [*range(2 * len(cells) - 3)]
    assert join_waves([(0, one)]) is one
