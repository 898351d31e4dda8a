"""Files of second moments: whatever is wrong with one is seen, and triangles are symmetric."""

import random

import torch

from rome_widgets.editing.statistics import second_moment_file
from rome_widgets.editing.statistics.gather import second_moment as gather
from rome_widgets.editing.statistics.second_moment_file import symmetric, upper_triangle
from rome_widgets.files import checksummed_file
from tests.editing.statistics.test_gather import TEXTS, cache, kept_in, pieces_run  # noqa: F401
from tests.editing.test_edit_file import damaged
from tests.helpers import world
from tests.helpers.counts import DAMAGED_MOMENTS
from tests.helpers.gates import write_gate


def test_a_triangle_is_half_of_a_symmetric_matrix():
    matrix = torch.tensor([[1.0, 2, 3], [2, 4, 5], [3, 5, 6]])
    assert upper_triangle(matrix).tolist() == [1, 2, 3, 4, 5, 6]
    assert torch.equal(symmetric(upper_triangle(matrix)), matrix)


def test_every_damage_of_a_kept_moment_is_seen_and_it_is_gathered_again(cache):  # noqa: F811
    lm = world.new_lm("gpt2")
    wanted = gather(lm, TEXTS, 1).matrix
    path = cache / "second_moments" / kept_in(cache)[0]
    whole, generator, seen = path.read_bytes(), random.Random(0), 0
    for _ in range(DAMAGED_MOMENTS):
        _, blob = damaged(whole, generator)
        path.write_bytes(blob)
        again, ran = pieces_run(lm)
        assert torch.equal(again.matrix, wanted)
        if blob != whole:
            assert ran == 9
            bad = path.with_name(f"{path.name}.bad")
            assert bad.read_bytes() == blob
            bad.unlink()
            seen += 1
        assert pieces_run(lm)[1] == 0
    write_gate("second_moment_files", {"damaged": seen, "used": 0})


def test_sealed_files_of_something_else_are_put_aside(cache):  # noqa: F811
    lm = world.new_lm("gpt2")
    wanted = gather(lm, TEXTS, 1).matrix
    path = cache / "second_moments" / kept_in(cache)[0]
    header, tensors = checksummed_file.read(path, second_moment_file.FORMAT)
    wrong = [
        ({**header, "about": {**header["about"], "model": "another"}}, tensors),
        ({**header, "about": 3}, tensors),
        ({**header, "done": "all"}, tensors),
        ({**header, "n_tokens": 1}, tensors),
        ({}, tensors),
        (header, {}),
        (header, {"total": torch.ones(7, 7)}),
        (header, {"total": torch.ones(20)}),
        (header, {"total": torch.ones(3, 20)}),
        (header, {"keys": torch.ones(3, 20)}),
    ]
    for head, some in wrong:
        checksummed_file.write(path, second_moment_file.FORMAT, head, some)
        again, ran = pieces_run(lm)
        assert ran == 9
        assert torch.equal(again.matrix, wanted)
        path.with_name(f"{path.name}.bad").unlink()
    other = second_moment_file.FORMAT._replace(name="other")
    checksummed_file.write(path, other, header, tensors)
    assert pieces_run(lm)[1] == 9
