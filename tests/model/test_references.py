"""What leads to modules leads to their stand-ins; forwards are replaced in `test_stand_in`."""

import functools
import types
import weakref
from collections import namedtuple

import pytest
from torch import nn

from rome_widgets.model.references import References
from rome_widgets.model.stand_in import StandIns
from tests.helpers import tiny

MODULE, OTHER = nn.Linear(2, 2), nn.Linear(2, 2)
Pair = namedtuple("Pair", "first second")


class Holder:
    def __init__(self):
        self.held = [MODULE]


def references():
    return References({id(MODULE): OTHER})


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ([MODULE], lambda found: found[0]),
        ((1, (MODULE,)), lambda found: found[1][0]),
        (Pair(0, MODULE), lambda found: found.second),
        ({"a": {"b": MODULE}}, lambda found: found["a"]["b"]),
        ({MODULE}, lambda found: next(iter(found))),
        (MODULE.forward, lambda found: found.__self__),
        (functools.partial(print, MODULE), lambda found: found.args[0]),
        (weakref.ref(MODULE), lambda found: found()),
        (lambda m=MODULE: m, lambda found: found()),
        (Holder(), lambda found: found.held[0]),
    ],
    ids=["list", "tuple", "named", "dict", "set", "method", "partial", "weak", "default", "object"],
)
def test_a_copy_leads_to_the_stand_in_and_what_was_there_to_the_module(value, read):
    assert read(references().of(value)) is OTHER
    assert read(value) is MODULE


@pytest.mark.parametrize("value", [1, "x", [1, 2], {"a": [nn.ReLU()]}, print, len, [print]])
def test_what_leads_to_no_module_of_them_is_itself(value):
    assert references().of(value) is value


def test_what_leads_back_to_itself_comes_to_an_end():
    value = [MODULE]
    value.append(value)
    assert references().of(value)[0] is OTHER


def test_code_of_the_users_own_is_noticed_and_a_librarys_is_not():
    some = references()
    some.of(nn.functional.gelu)
    assert not some.calls_users_code
    some.of(references)
    assert some.calls_users_code


def test_what_hangs_on_a_module_is_not_walked_through_to_all_it_leads_to():
    """Such as a trainer, which knows the program it is part of."""
    model, looked_at = tiny.tiny_model("gpt2"), []

    class World:
        def __init__(self, n):
            self.next, self.model = (World(n - 1) if n else None), model

        def __getattribute__(self, name):
            looked_at.append(id(self)) if name == "__dict__" else None
            return object.__getattribute__(self, name)

    model.trainer = World(50)
    model.kept = types.SimpleNamespace(trainer=model.trainer)
    looked_at.clear()
    StandIns(model)
    assert len(set(looked_at)) < 5, "not all fifty"
