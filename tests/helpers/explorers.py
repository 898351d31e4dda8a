"""What a person does with an explorer over the fake engine, and waiting for what comes of it."""

from tests.helpers.waiting import PATIENCE


def traced(explorer, **form):
    """The trace of this form, and the number of its run."""
    for name, value in form.items():
        setattr(explorer, name, value)
    return explorer.run(wait=True), explorer.run_shown


def edit(explorer, taken=0.9, count=None):
    """As an edit panel or a cell would: change the weights, then say so."""
    explorer._engine.edit(taken)
    explorer._engine.tell(bool(taken) if count is None else count)


def edited(explorer, taken=0.9, count=None):
    """Edit the model, and wait for what follows."""
    edit(explorer, taken, count)
    assert explorer.wait(PATIENCE)
