"""What is put back is put back, whenever an interrupt comes; each place is hit one by one."""

import pytest

from rome_widgets.model.interrupts import run_between, surely
from tests.helpers.interrupts import count_places, hit_by_place, signals_as_before  # noqa: F401


@pytest.mark.parametrize("interrupts", range(4))
def test_a_step_is_done_through_interrupts_which_then_go_on(interrupts):
    waiting, done = [KeyboardInterrupt] * interrupts, []

    def step():
        done.clear()
        if waiting:
            raise waiting.pop()
        done.append(True)

    if interrupts:
        with pytest.raises(KeyboardInterrupt):
            surely(step)
    else:
        surely(step)
    assert done == [True]


class World:
    """A switch that is on while something runs."""

    def __init__(self):
        self.on, self.seen = False, []

    def turn(self, on):
        self.on = on


def work(here):
    run_between(
        lambda: here.turn(True), lambda: here.seen.append(here.on), lambda: here.turn(False)
    )


def test_what_is_set_up_holds_in_the_call_and_is_put_back_after_an_interrupt_at_any_place():
    here = World()
    work(here)
    assert (here.on, here.seen) == (False, [True])
    landed = 0
    places = count_places(work, here)
    for place in range(1, places + 1):
        landed += hit_by_place(work, here, place) is not None
        assert not here.on, place
    assert landed >= 0.9 * places > 8


def test_an_error_of_the_work_is_the_one_that_is_raised():
    done = []
    with pytest.raises(ZeroDivisionError):
        run_between(lambda: None, lambda: 1 / 0, lambda: done.append(True))
    assert done == [True]
