"""Plain prose about nobody in particular: everyday scenes, told in order and to the end.

It teaches the bundled model ordinary words. It has no names, no numbers and none of the answers of
the fact tables, so that it says nothing about the world.

A scene is written as text. `name: a, b, c` lists what may fill `{name}`, one choice for the whole
scene; every other line is a sentence. The first sentence opens the scene and the last one ends it;
those between are in order, and each can be left out. A line after `or` may stand for the line
above it, and `(a|b)` is a choice within a sentence. `{he}`, `{his}`, `{him}` and `{was}` agree with
`{who}`.

Looks like: `Prose(random.Random(0)).paragraph(4)`.
"""

import random
import re
from typing import NamedTuple

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

SCENES = (
    """
    who: my mother, my father, the cook, an old woman, our neighbour, my uncle, a young man, I, we
    thing: bread, cheese, fish, fruit, honey, tea
    more: eggs, flowers, potatoes, nuts, carrots
    {when}, {who} went to the market to buy {thing} and {more}.
    or there was no {thing} at home, so {who} walked to the market {when}.
    the street was full of people, and the sun was shining.
    a friendly woman sold {him} some {more} for a good price.
    or {he} looked at the {more} for a long time and asked about the price.
    the {thing} was (fresh|very good) and did not cost much.
    then {he} stopped to talk with an old friend about (the weather|the news|old times).
    {he} took everything home in a big basket and made (lunch|dinner) for the family.
    or at noon {he} went home with a (heavy|full) basket.
    """,
    """
    who: a little girl, a young boy, my sister, my brother, a new student, my best friend
    topic: the stars, the sea, birds, wild animals, trees, the weather, kings and queens
    {when}, {who} had a lesson about {topic} at school.
    or {when}, {who} came to school (late|early) and sat down in the (first|last) row.
    the teacher told the class a (long|strange|short) story about {topic}.
    {he} listened carefully and wrote every word in a notebook.
    then the teacher asked a (hard|simple) question, and only {he} knew the answer.
    at noon the whole class had lunch under the trees in front of the school.
    after the last lesson, {he} walked home and told everyone about {topic}.
    or when the last lesson was over, {he} took {his} bag and ran home.
    """,
    """
    who: my aunt, my uncle, an old man, a young woman, a student, two friends, my parents, we, I
    place: the sea, the mountains, a small village, the lake, the old town
    {when}, {who} took the train to {place}.
    or {who} wanted to see {place}, so {he} went to the train station {when}.
    the train was late, so {he} waited (for an hour|for a long time) on a (cold|wooden) bench.
    at last the train came, and {he} sat down by the window.
    outside there were (green|high|dark) hills and small white houses.
    on the way {he} ate {his} bread and (read the news|talked to a friendly stranger).
    at sunset the train arrived, and an old friend was waiting at the station.
    or it was a long journey, but {he} {was} happy to arrive.
    """,
    """
    who: my grandmother, my grandfather, an old man, our neighbour, my mother, my parents, I, we
    when: one morning, one day, early one morning, last year, one day last year, one cold morning
    plant: beans, carrots, flowers, roses, potatoes
    {when}, {who} went into the garden to plant (some|a few) {plant}.
    or {who} wanted to grow {plant} behind the house and began to work {when}.
    the ground was (hard|dry) after the long winter, but {he} did not stop.
    two (small|brown|young) birds sat on the wall and sang.
    in the evening {he} gave the {plant} some water.
    it rained every night, and the {plant} grew fast.
    in the summer the {plant} were ready, and {he} gave some to a (friend|neighbour).
    or in the end there were {plant} everywhere, and {he} {was} very proud.
    """,
    """
    who: the cook, the baker, my grandmother, my father, my sister, two friends, I, we
    dish: a cake, a fruit cake, a honey cake, a cheese cake, some bread
    {when}, {who} wanted to bake {dish} for (the family|some guests|a neighbour).
    or {who} {was} alone in the kitchen {when} and began to bake {dish}.
    first {he} put milk, butter and (two|three) eggs into a (big|white) bowl.
    there was no (sugar|salt) in the house, so {he} asked a neighbour for some.
    {he} drank a cup of tea at the kitchen table and waited.
    soon the whole house smelled (good|sweet|wonderful).
    at last it was ready, and everyone wanted a (big|second|small) piece.
    or it was a little too (dark|dry|sweet), but everyone ate it and asked for more.
    """,
    """
    who: an old sailor, a young sailor, the captain, my uncle, my grandfather, two brothers
    {when}, {who} took a (small|white|wooden|new) boat out to sea.
    or {who} went down to the harbour {when} and got the (old|small|new) boat ready.
    the sea was calm, and there was only a little wind.
    {he} threw the net into the (dark|cold|deep) water and waited for the fish.
    some white birds flew around the boat.
    then (dark|heavy) clouds came up, so {he} turned the boat around.
    in the evening {he} came back to the harbour with (a lot of|only a few) fish.
    or at night the boat was safe in the harbour, and {he} slept well.
    """,
    """
    who: a student, my sister, the old teacher, a young man, a quiet boy, my best friend, I
    topic: the stars, the sea, birds, old ships, kings and queens, wild animals, trees
    {when}, {who} went to the library to find a book about {topic}.
    or {who} wanted to know more about {topic} and looked for a book in the library {when}.
    the room was warm and quiet, and nobody talked.
    on a high shelf {he} found (an old|a big|a heavy) book with a picture on every page.
    {he} sat down by the window and read for (an hour|two hours|a long time).
    one page was (hard|strange), so {he} read it (twice|three times).
    when the library closed, {he} took the book home and read the end the same night.
    or in the end {he} knew a lot about {topic} and went home.
    """,
    """
    who: my aunt, my parents, two friends, a young woman, my brother, our teacher, we, I
    when: last night, one evening, one warm evening, yesterday, last week, one evening last week
    place: the old church, the park, a small theatre, a big hall
    {when}, {who} went to a concert in {place}.
    or {who} had tickets for a concert in {place} {when}.
    many people were waiting at the door.
    then it was dark, and everyone was quiet.
    a woman in a (red|long|white) dress sang a (sad|quiet|short) song about (the moon|the sea).
    an old man in the first row began to (cry|smile).
    after the last song, everyone stood up and asked for more.
    or on the way home, {he} sang the last song again.
    """,
    """
    who: the children, two brothers, my brother, a little girl, a young boy, my sister, we
    {when}, {who} took a (red|new|big|white) ball to the park.
    or {when}, {who} met some friends in the park and brought a ball.
    the grass was (wet|green|dry), and everyone ran around and laughed.
    a boy threw the ball into a tree, and a (tall|young|friendly) man got it down with a stick.
    then a (small|black|brown) dog ran away with the ball.
    after an hour, everyone was tired and sat down (on the grass|under a tree).
    at sunset {he} came home tired, hungry and happy.
    or when it was dark, {he} took the ball and (ran|walked) home.
    """,
    """
    who: my sister, an old man, a young woman, the baker, our neighbour, a student, my uncle, I
    {when}, {who} left the house without (an umbrella|a coat|a hat), and it began to rain.
    or {when}, {who} {was} walking (home|to the station|to the market) when it began to rain.
    soon the whole street was under water.
    {he} waited under (a tree|an old roof) with a friendly stranger.
    the wind was so strong that a (black|red|brown) hat flew over the houses.
    a (young|tall|friendly) woman opened the door of a shop and gave {him} a cup of hot tea.
    at home {he} put on dry clothes and drank hot (tea|milk).
    or an hour later the rain stopped, and the sun was shining again.
    """,
    """
    who: my brother, my sister, my grandmother, my best friend, our neighbour, the baker, my uncle
    {when}, {who} had a birthday and invited (some friends|many guests|the whole family).
    or {who} invited (some friends|many guests|the whole family) to a birthday dinner {when}.
    there was a (big|white|sweet) cake with (nuts|fruit|honey) on the table.
    the guests brought flowers and sang a (short|long|new) song.
    an old friend gave {him} a (warm coat|new hat|wooden box|good book).
    later everyone danced, even the old people.
    it was late when the guests went home, and {he} {was} tired but happy.
    or at the end {he} thanked everyone and ate the last piece of cake.
    """,
    """
    who: our teacher, my parents, a student, two friends, my uncle, a young woman, I, we
    thing: coins, maps, ships, stones
    {when}, {who} visited a museum with many old {thing}.
    or {when}, {who} went to the museum to see the old {thing}.
    the guide talked for (an hour|two hours|a long time), and nobody asked a question.
    some of the {thing} were more than a thousand years old.
    a (small|young|little) boy wanted to touch the {thing}, but the guide said no.
    {he} stood in front of a (big|dark|strange) picture and looked at it for a long time.
    in the end {he} knew a lot about old {thing} and wanted to come back soon.
    or when the museum closed, {he} sat down outside and talked about the {thing}.
    """,
    """
    who: my brother, my uncle, my parents, two friends, a young woman, an old man, we, I
    {when}, {who} climbed a (high|big) mountain near the (lake|sea|village).
    or {who} left the village {when} and took a (long|hard|small) path into the mountains.
    the path was (hard|long), so {he} stopped (twice|many times) to rest.
    two (white|young|brown) goats stood on the stones and looked at {him}.
    near the top it was cold, and there was still some snow.
    from the top {he} could see the (whole valley|sea|lake) and the houses of the village.
    before dark {he} came down again and slept very well.
    or on the way back it began to rain, but a warm house was not far away.
    """,
    """
    who: my grandmother, my best friend, a young man, an old sailor, my aunt, our neighbour, I
    {when}, {who} got a (long|short|strange) letter from (an old friend|a friend far away).
    or {who} opened the door {when} and found a letter from (an old friend|a stranger).
    {he} sat down by the window and read it (twice|carefully|three times).
    it was about (a new house|a long journey|a hard winter|old times).
    there was also a (small|strange|good) picture in the letter.
    {he} thought about it all night.
    the next day {he} wrote a long answer and sent it (at once|with some flowers).
    or {he} put it into a wooden box and never forgot it.
    """,
    """
    who: the farmer, a young farmer, my uncle, my grandfather, my grandmother, my aunt
    animal: cow, horse, sheep
    {when}, {who} opened the (door|gate) and saw that a (white|brown|young) {animal} was gone.
    or the gate was open {when}, and {who} could not find the (white|brown|young) {animal}.
    {he} asked the neighbours, but nobody knew anything.
    {he} looked behind the house, by the river and in the hills.
    then it began to rain, and the ground was (wet|dark).
    after an hour, the dog stopped and looked at the trees.
    in the evening {he} found the {animal} under a (big|tall) tree by the river.
    or at sunset the {animal} came back alone, hungry but happy.
    """,
    """
    who: my brother, our neighbour, my sister, a little boy, a young man, a student, the farmer
    when: one morning, one day, last year, one day last year, last summer, one cold morning
    {when}, {who} fell from a (tree|wall|horse) and had to go to the hospital.
    or {when}, {who} {was} very ill and had to go to the hospital.
    the doctor asked many questions and wrote everything down.
    a friendly nurse brought {him} (a cup of tea|some milk|hot soup).
    {he} had to stay in bed for (three days|a week|two weeks).
    (a friend|the family|a neighbour) came every day with (flowers|fruit|a new book).
    soon {he} felt better, and the doctor sent {him} home.
    or at last {he} could go home again, tired but with a smile.
    """,
)

REMARKS = """
    who: my sister, my brother, the teacher, our neighbour, an old man, a young woman, my aunt, I
    the guide talked for (an hour|two hours|a long time), and nobody asked a question.
    {who} read about it in (an old|a long|a new|a short) (book|letter|story) {when}.
    {when}, {who} told everyone about it at (home|school|lunch|dinner).
    {who} asked the guide about it {when} and got a (long|short|good|strange) answer.
    {who} looked for it on (an old|a big|a new) map {when}, but could not find it.
    {when}, {who} wrote it down in (an old|a small|a new) notebook.
    {who} knew the answer at once, but nobody (asked|listened).
    {who} heard (a long|a strange|a good|an old) story {when} and never forgot it.
    {who} wanted to go there again (soon|the next summer|with some friends|with the children).
    not everything in (a book|a letter|a story) is true.
    many people know this, but only a few of them think about it.
    everyone in the room knew the story, and only (a child|a stranger|the guide) asked a question.
    some visitors stay for an hour, and some stay for the whole day.
    we (learned|heard) about it (at school|from a friend|at home) a long time ago.
    nobody knows everything, but everyone knows something.
"""


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


_SCENES = tuple(map(_read, SCENES))
_REMARKS = _read(REMARKS)


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
