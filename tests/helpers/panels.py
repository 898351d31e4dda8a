"""What a panel shows, and the form and the orders that it is given."""

from tests.helpers.fake_editor import NEEDLE

FORM = {"prompt": NEEDLE.template, "subject": NEEDLE.subject, "target": NEEDLE.target}


def applied(panel):
    return {edit["id"]: edit["applied"] for edit in panel.edits}


def order(name, op, **more):
    return {"id": name, "op": op, **more}
