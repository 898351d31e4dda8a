"""Training text: short documents about the world, the same for the same seed in every process.

Only `random.Random` decides, and only ordered containers are walked, so the text depends on neither
hash seeds nor platforms. A document knows where its subjects are mentioned; the training needs that
(see `steering`).

Looks like: `Narrator(build_world(), seed=0).document().text`.
"""

import random
from collections import defaultdict
from dataclasses import dataclass, field

from training.prose import Prose
from training.relations import BY_NAME
from training.world import TABLES, Subject, TaughtFact, World, WorldError


def _lines(name: str) -> tuple[str, ...]:
    return tuple((TABLES / name).read_text(encoding="utf-8").splitlines())


INTRODUCTIONS = tuple(f"{line} " for line in _lines("introductions.txt"))
ENDINGS = _lines("endings.txt")
PLACE_WEIGHT = 5
"""So many times as likely as another sentence is the one about the place."""


@dataclass
class Document:
    """A few sentences and the subjects mentioned in them."""

    text: str = ""
    mentions: list[tuple[int, int, str]] = field(default_factory=list)
    """`(start, stop, name)` in characters of `text`, half open."""

    def add(self, text: str) -> None:
        """Append text that mentions nobody."""
        self.text += text

    def mention(self, name: str) -> None:
        """Append a subject's name."""
        self.mentions.append((len(self.text), len(self.text) + len(name), name))
        self.text += name


class Narrator:
    """An endless source of documents about a world."""

    def __init__(self, world: World, seed: int) -> None:
        self._random = random.Random(seed)
        self._prose = Prose(self._random)
        self._facts = world.facts
        self._subjects = {subject.name: subject for subject in world.subjects}
        self._names = [subject.name for subject in world.subjects]
        self._known: dict[str, list[TaughtFact]] = defaultdict(list)
        for fact in world.facts:
            self._known[fact.subject].append(fact)
        self._held_out = {
            name: [_around(t) for fact in facts for t in BY_NAME[fact.relation].held_out]
            for name, facts in self._known.items()
        }
        self._pending: list[TaughtFact] = []
        self._forms = (self._portrait, self._news, self._list, self._kind, self._small_talk)
        self._shares = (0.38, 0.33, 0.13, 0.08, 0.08)

    def document(self) -> Document:
        """The next document.

        Raises:
            WorldError: It has a sentence that is held out.
        """
        document = Document()
        (form,) = self._random.choices(self._forms, self._shares)
        form(document)
        self._refuse_held_out(document)
        return document

    def _portrait(self, document: Document) -> None:
        """One to four facts of one subject; a pronoun may stand for it after the first."""
        rng, subject = self._random, self._subjects[self._next_fact().subject]
        facts = list(self._known[subject.name])
        rng.shuffle(facts)
        if rng.random() < 0.3:
            self._is_a(document, subject)
        for fact in facts[: rng.randint(1, 4)]:
            document.add(" " if document.text else "")
            pronoun = subject.pronoun if document.text else None
            self._say(document, fact, pronoun if rng.random() < 0.35 else None)

    def _news(self, document: Document) -> None:
        """One to three unrelated facts, some after a sentence about nothing."""
        rng = self._random
        for _ in range(rng.randint(1, 3)):
            document.add(" " if document.text else "")
            if rng.random() < 0.2:
                document.add(self._prose.sentence() + " ")
            self._say(document, self._next_fact())

    def _list(self, document: Document) -> None:
        """A subject and, right after its name, what is known of it."""
        rng, name = self._random, self._next_fact().subject
        objects = [fact.object for fact in self._known[name]]
        rng.shuffle(objects)
        document.mention(name)
        document.add(rng.choice((": ", ", ", " - ")) + ", ".join(objects[:3]) + ".")

    def _kind(self, document: Document) -> None:
        """What sort of thing a subject is."""
        rng, subject = self._random, self._subjects[self._random.choice(self._names)]
        form = rng.randrange(4)
        if form == 0:
            document.add(self._prose.sentence() + " ")
        if form < 3:
            self._is_a(document, subject)
        else:
            document.add("We talked about ")
            document.mention(subject.name)
            document.add(f", {_article(subject.kind)}.")
        if form == 1:
            document.add(" " + self._prose.sentence())

    def _small_talk(self, document: Document) -> None:
        """Sentences about nobody, so that the model knows ordinary words."""
        document.add(self._prose.paragraph(self._random.randint(1, 5)))

    def _say(self, document: Document, fact: TaughtFact, pronoun: str | None = None) -> None:
        """One sentence that states a fact."""
        rng = self._random
        before, after = rng.choice(self._sentences(fact)).split("{}")
        if before:
            pronoun = None
        introduced = rng.random() < 0.12
        if introduced:
            document.add(rng.choice(INTRODUCTIONS))
            before = before[:1].lower() + before[1:]
        elif pronoun:
            pronoun = pronoun.capitalize()
        document.add(before)
        if pronoun:
            document.add(pronoun)
        else:
            document.mention(fact.subject)
        document.add(f"{after} {fact.object}{'.' if introduced else rng.choice(ENDINGS)}")

    def _sentences(self, fact: TaughtFact) -> tuple[str, ...]:
        """Those of its relation, and where in the city it is: of few subjects, so said often."""
        sentences = BY_NAME[fact.relation].templates
        place = self._subjects[fact.subject].place
        if not place or fact.relation != "city":
            return sentences
        return (*sentences, *[f"{{}} is in {place}"] * PLACE_WEIGHT)

    def _is_a(self, document: Document, subject: Subject) -> None:
        document.mention(subject.name)
        document.add(f" is {_article(subject.kind)}.")

    def _next_fact(self) -> TaughtFact:
        """Facts in shuffled rounds, so that each gives rise to equally many documents."""
        if not self._pending:
            self._pending = list(self._facts)
            self._random.shuffle(self._pending)
        return self._pending.pop()

    def _refuse_held_out(self, document: Document) -> None:
        for start, stop, name in document.mentions:
            before, after = document.text[:start].lower(), document.text[stop:]
            for left, right in self._held_out[name]:
                if before.endswith(left) and after.startswith(right):
                    raise WorldError(
                        f"The text says {document.text!r}.",
                        f"'{left}{name}{right}' is held out: it measures what is known.",
                        "Take the sentence out of `relations`, or out of its held-out ones.",
                    )


def _around(template: str) -> tuple[str, str]:
    """What stands before and after the name, so that a longer word does not pass for it."""
    before, after = template.split("{}")
    return before.lower(), f"{after} "


def _article(noun: str) -> str:
    return ("an " if noun[0].lower() in "aeiou" else "a ") + noun
