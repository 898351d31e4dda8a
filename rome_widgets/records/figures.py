"""What each figure of an evaluation means: one table, shown wherever the figures are. No torch."""

from __future__ import annotations

from typing import NamedTuple

RIPPLE, RIPPLE_P = "ripple", "ripple_p"
"""Figures by group of questions are called `ripple:two hops`."""


class Definition(NamedTuple):
    """What one figure is."""

    words: str
    """Of one record; a total is the mean over records, with 1.96 standard deviations over √n."""
    percent: bool = True
    """Whether it is a share, which tables show as a percentage."""


DEFINITIONS: dict[str, Definition] = {
    "S": Definition("Harmonic mean of the means of ES, PS and NS over the records."),
    "ES": Definition(
        "Efficacy: share of edited prompts where P(new object) > P(true object). P of several "
        "tokens is the geometric mean per token; a tie is a failure."
    ),
    "EM": Definition("P(new object) - P(true object) after the edited prompt."),
    "EA": Definition("Every token of the new object is the likeliest, after the edited prompt."),
    "PS": Definition("As ES, after paraphrases of the edited prompt."),
    "PM": Definition("As EM, after paraphrases."),
    "PA": Definition("As EA, after paraphrases."),
    "NS": Definition(
        "Neighborhood: share of prompts about other subjects with the true object where "
        "P(true object) > P(new object)."
    ),
    "NM": Definition("P(true object) - P(new object) after neighborhood prompts."),
    "NA": Definition(
        "Every token of the true object is the likeliest, after neighborhood prompts."
    ),
    "GE": Definition(
        "Fluency: (H₂ + 2 H₃) / 3 in bits, Hₙ the entropy of the n-grams of a written text with "
        "its prompt; mean over texts, by the five likeliest tokens. The paper shows it times 100, "
        "of texts of 100 tokens, their prompt among them; here as many are written as `generate` "
        "says, and the prompt comes to them. It splits words as NLTK does; here at spaces and "
        "punctuation.",
        percent=False,
    ),
    "RS": Definition(
        "Consistency: cosine between the TF-IDF vectors of the written texts and of the reference "
        "texts about the new object."
    ),
    "zsre_efficacy": Definition(
        "Share of the new object's tokens that are the likeliest at their place after the edited "
        "prompt, each after the right ones before it. Far above 0 for a model that knows nothing."
    ),
    "zsre_paraphrase": Definition("As zsre_efficacy, after paraphrases."),
    "zsre_specificity": Definition("The same of the right answers of locality questions."),
    "others_kept": Definition(
        "Of the locality questions, such as facts of the subject that do not depend on the edited "
        "one, that the unedited model answers right by its likeliest tokens, the share that is "
        "still answered right."
    ),
    "perplexity_own": Definition(
        "Perplexity of a text that the unedited model wrote: exp of the mean -log p per predicted "
        "token.",
        percent=False,
    ),
    "perplexity_given": Definition(
        "The same of the texts that were given, mean over texts.", percent=False
    ),
    "rise_own": Definition(
        "perplexity_own over that of the unedited model: 1 is no harm, much more is collapse.",
        percent=False,
    ),
    "rise_given": Definition("perplexity_given over that of the unedited model.", percent=False),
    "says": Definition(
        "The model goes on from the edited prompt greedily; the new object, or an alias of it, is "
        "among the words it writes. Case, accents and punctuation do not count."
    ),
    "contradicts": Definition(
        "Another object of the relation is among these words: the true one, its aliases, or those "
        "that the record lists."
    ),
    "repeats": Definition("A phrase of these words follows on itself at once."),
    "stops": Definition("The model ended the text by itself."),
    "correct": Definition("says, without contradicts and repeats."),
    "correct_and_stops": Definition("correct and stops: what answering a question takes."),
    RIPPLE: Definition(
        "Questions of this group, whose answer follows from the edit: share where every token of "
        "the answer is the likeliest; of those whose conditions the unedited model knows. Of the "
        "bundled world's inverse expected near 0: others have the object, too, and count as wrong."
    ),
    RIPPLE_P: Definition(
        "The same questions: probability of the answer, per token. Of the inverse the figure to "
        'read, against that of "none".'
    ),
}
"""By name, in the order of tables."""
TABLE_4 = ("S", "ES", "EM", "PS", "PM", "NS", "NM", "GE", "RS")
"""The columns of the paper's table 4."""


def definition_of(name: str) -> Definition:
    """The definition of a figure.

    Example:
        >>> definition_of("ripple:two hops") is definition_of("ripple")
        True
    """
    return DEFINITIONS[name.partition(":")[0]]


def in_order(names: set[str]) -> list[str]:
    """Names of figures in the order of the table, those by group by their groups."""
    places = {name: number for number, name in enumerate(DEFINITIONS)}
    return sorted(names, key=lambda name: (places[name.partition(":")[0]], name))


def shown_value(name: str, value: float) -> str:
    """A value as tables show it: shares as percentages, others as numbers."""
    return f"{100 * value:.1f}" if definition_of(name).percent else f"{value:.3g}"
