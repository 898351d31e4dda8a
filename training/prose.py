"""Plain prose about nobody in particular: everyday scenes, told in order and to the end.

It teaches the bundled model ordinary words. It has no names, no numbers and none of the answers of
the fact tables, so that it says nothing about the world.

A scene is written as text (`tables/scenes.txt`). `name: a, b, c` lists what may fill `{name}`, one
choice for the whole scene; every other line is a sentence. The first sentence opens the scene and
the last one ends it; those between are in order, and each can be left out. A line after `or` may
stand for the line above it, and `(a|b)` is a choice within a sentence. `{he}`, `{his}`, `{him}` and
`{was}` agree with `{who}`.

Looks like: `Prose(random.Random(0)).paragraph(4)`.
"""

import random
import re
from pathlib import Path
from typing import NamedTuple

TABLES = Path(__file__).parent / "tables"

WHEN = (
    "when: one morning, one cold morning, early one morning, one morning last week, last week, "
    "one morning last summer, one day last summer, one day last year, one day, yesterday, "
    "the other day, two days ago\n"
)
"""For scenes that do not say it themselves."""

PRONOUNS = {
    "he": ("he", "his", "him", "was"),
    "she": ("she", "her", "her", "was"),
    "they": ("they", "their", "them", "were"),
    "we": ("we", "our", "us", "were"),
    "I": ("I", "my", "me", "was"),
}
"""What `{he}`, `{his}`, `{him}` and `{was}` become."""

PRONOUN_OF = {
    **dict.fromkeys(("mother", "sister", "aunt", "grandmother", "woman", "girl"), "she"),
    **dict.fromkeys(("father", "brother", "uncle", "grandfather", "man", "boy"), "he"),
    **dict.fromkeys(("parents", "friends", "children", "brothers"), "they"),
    "we": "we",
    "I": "I",
}
"""By the last word of `{who}`; everyone else is a he or a she, by chance."""


class Scene(NamedTuple):
    """A scene, read from its text."""

    slots: dict[str, tuple[str, ...]]
    """What may fill `{name}`."""
    lines: tuple[tuple[str, ...], ...]
    """In order; of each line, the ways to say it."""


def _read(text: str) -> Scene:
    """The scene that a text describes."""
    slots, lines = {}, []
    for line in map(str.strip, (WHEN + text.strip()).splitlines()):
        if line.startswith("or "):
            lines[-1] += (line.removeprefix("or "),)
        elif ": " in line:
            name, options = line.split(": ")
            slots[name] = tuple(options.split(", "))
        else:
            lines.append((line,))
    return Scene(slots, tuple(lines))


_SCENES = tuple(map(_read, (TABLES / "scenes.txt").read_text("utf-8").split("\n\n")))
_REMARKS = _read((TABLES / "remarks.txt").read_text("utf-8"))


def _words() -> tuple[str, ...]:
    """All words of the tables, sorted."""
    texts = [form for forms in PRONOUNS.values() for form in forms]
    for scene in (*_SCENES, _REMARKS):
        for options in (*scene.slots.values(), *scene.lines):
            texts += options
    return tuple(sorted(set(re.findall(r"\w+", re.sub(r"{\w+}", "", " ".join(texts))))))


WORDS = _words()
"""Every word of the prose, as it is written inside a sentence."""


class Prose:
    """Sentences and short scenes, as `rng` decides."""

    def __init__(self, rng: random.Random) -> None:
        self._random = rng

    def sentence(self) -> str:
        """One sentence that needs no other."""
        if self._random.random() < 0.3:
            line = self._random.choice(_REMARKS.lines)
            return self._say(line, self._fill(_REMARKS))
        return self.paragraph(1)

    def paragraph(self, n: int) -> str:
        """A scene of `n` sentences, 1 to 6: how it opens, what happens, how it ends."""
        scene = self._random.choice(_SCENES)
        first, *between, last = scene.lines
        kept = sorted(self._random.sample(range(len(between)), max(n - 2, 0)))
        lines = (first, *(between[i] for i in kept), last)[:n]
        slots = self._fill(scene)
        return " ".join(self._say(line, slots) for line in lines)

    def _fill(self, scene: Scene) -> dict[str, str]:
        """One choice for each slot, and the pronouns that go with it."""
        slots = {name: self._random.choice(options) for name, options in scene.slots.items()}
        chance = self._random.choice(("he", "she"))
        pronoun = PRONOUN_OF.get(slots["who"].split()[-1], chance)
        return slots | dict(zip(("he", "his", "him", "was"), PRONOUNS[pronoun], strict=True))

    def _say(self, line: tuple[str, ...], slots: dict[str, str]) -> str:
        """A line as a sentence: one of its forms, the choices made, the slots filled."""
        form = self._random.choice(line)
        chosen = re.sub(r"\((.*?)\)", lambda m: self._random.choice(m[1].split("|")), form)
        text = chosen.format(**slots)
        return text[0].upper() + text[1:]
