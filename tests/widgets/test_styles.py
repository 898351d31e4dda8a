"""Several widgets on one page: what the styles of one match must not be another's."""

import re
from itertools import permutations

import pytest

from rome_widgets.widgets.live.base import STATIC

BUNDLES = ("grid", "trace", "edit", "sweep")
CLASS = re.compile(r"rw-[\w-]+")


def rules(bundle):
    """(selector, declarations) of every rule; what is inside a media query counts as any other."""
    css = (STATIC / f"{bundle}.css").read_text("utf-8")
    css = re.sub(r"@keyframes[^{]*\{(?:[^{}]*\{[^}]*\})*[^}]*\}|@media[^{]*\{", "", css)
    return {
        (selector.strip(), declarations)
        for selectors, declarations in re.findall(r"([^{}]+)\{([^{}]*)\}", css)
        for selector in re.split(r",(?![^(]*\))", selectors)
    }


def strays(own, others, elsewhere):
    """Rules the other page lacks, for bare elements, that name no class the other page lacks."""
    return [
        selector
        for selector, declarations in own - others
        if set(CLASS.findall(selector)) <= elsewhere
        and ".rw" not in re.split(r"[\s>+~](?![^(]*\))", selector)[-1]
    ]


@pytest.mark.parametrize(("one", "other"), [*permutations(BUNDLES, 2)])
def test_a_rule_of_one_bundle_for_bare_elements_cannot_match_anothers(one, other):
    own, others = rules(one), rules(other)
    assert len(own) > 50
    elsewhere = set(CLASS.findall((STATIC / f"{other}.js").read_text("utf-8")))
    assert strays(own, others, elsewhere) == []


def test_the_check_would_notice():
    elsewhere = {"rw-menu", "rw-a"}
    for selector in (".rw details[open]", ".rw .rw-menu > div", ".rw .rw-a :is(b, i)"):
        assert strays({(selector, "x")}, set(), elsewhere) == [selector]
        assert strays({(selector, "x")}, {(selector, "x")}, elsewhere) == []
    for selector in (".rw .rw-settings summary", ".rw b.rw-a", ".rw"):
        assert strays({(selector, "x")}, set(), elsewhere) == []
