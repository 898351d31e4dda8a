"""Work is cut smaller until it fits, and what cannot fit is one error in words."""

import gc
import weakref

import pytest
import torch

from rome_widgets.errors import NonFinite, OutOfMemory
from rome_widgets.model.memory import Lacking, attempt, in_pieces, is_shortage, needs_memory

SHORTAGES = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"),
    MemoryError(),
]
OTHERS = [
    RuntimeError("shape mismatch"),
    ValueError("out of memory"),
    NonFinite("NaN."),
    OutOfMemory("No room."),
]


def failing(error):
    def call():
        raise error

    return call


@pytest.mark.parametrize("error", SHORTAGES, ids=lambda error: str(error)[:20])
def test_shortages_of_every_kind_are_one_error_in_words(error):
    assert is_shortage(error)
    with pytest.raises(OutOfMemory) as caught:
        needs_memory("do it")(failing(error))()
    first = (str(error) or "MemoryError").splitlines()[0].rstrip(".")
    assert f"There is not memory enough to do it: {first}. Room for" in str(caught.value)
    assert "Free memory, use fewer samples" in str(caught.value)


@pytest.mark.parametrize("error", OTHERS, ids=lambda error: type(error).__name__)
def test_other_errors_stay_what_they_are(error):
    assert not is_shortage(error)
    with pytest.raises(type(error)) as caught:
        needs_memory("do it")(failing(error))()
    assert caught.value is error


def test_what_was_made_before_a_shortage_is_let_go():
    made = []

    def call():
        tensor = torch.ones(3)
        made.append(weakref.ref(tensor))
        raise torch.OutOfMemoryError("no room")

    gc.disable()
    try:
        assert attempt(call) == Lacking("no room")
        assert made[0]() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("room", range(1, 9))
@pytest.mark.parametrize("at_once", [0, 1, 3, 7, 100])
def test_pieces_are_made_smaller_until_they_fit_and_none_is_lost(room, at_once):
    asked = []

    def run(some):
        asked.append(some)
        if some.stop - some.start > room:
            raise torch.OutOfMemoryError("no room")
        return list(range(some.start, some.stop))

    found = [number for _, piece in in_pieces(7, at_once, run, "count one") for number in piece]
    assert found == list(range(7))
    assert all(some.stop - some.start <= max(1, at_once) for some in asked)


def test_one_that_does_not_fit_is_said():
    pieces = in_pieces(4, 4, lambda some: failing(MemoryError())(), "count one")
    with pytest.raises(OutOfMemory, match="not memory enough to count one: MemoryError"):
        next(pieces)


def test_nothing_is_run_for_nothing():
    assert list(in_pieces(0, 4, failing(MemoryError()), "count one")) == []
