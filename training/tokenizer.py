"""The tokenizer: byte-level pieces, every object one token, most subjects several.

Weights decide what becomes a token: an object occurs often enough to be merged whole; a subject's
name occurs only twice, so that it stays several pieces and shares its last piece with other
subjects (a subject with a last piece of its own is already known at layer 0, and the trace is
flat); the words of templates and prose lie between.
"""

import random
from collections.abc import Iterator

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from training.corpus import ENDINGS, INTRODUCTIONS
from training.prose import WORDS, Prose
from training.relations import RELATIONS
from training.world import World, WorldError

END_OF_TEXT = "<|endoftext|>"
OBJECT_WEIGHT, TEMPLATE_WEIGHT, PHRASE_WEIGHT, WORD_WEIGHT = 60, 6, 20, 10
SENTENCES = 3000


def train_tokenizer(world: World, vocab: int, positions: int) -> PreTrainedTokenizerFast:
    """A tokenizer of at most `vocab` tokens; `<|endoftext|>` is token 0.

    A prefix space gives "The Space Needle" the same pieces everywhere, also as the first words.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        min_frequency=2,
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(world), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **dict.fromkeys(("bos_token", "eos_token", "unk_token", "pad_token"), END_OF_TEXT),
        model_max_length=positions,
        clean_up_tokenization_spaces=False,
        add_prefix_space=True,
    )


def token_of(tokenizer: PreTrainedTokenizerFast, word: str) -> int:
    """The one token of a word inside a sentence.

    Raises:
        WorldError: It is several.
    """
    ids = tokenizer.encode(" " + word, add_special_tokens=False)
    if len(ids) != 1:
        raise WorldError(
            f"{word!r} is {len(ids)} tokens.",
            "One was wanted: an object is followed by its first token.",
            "Raise OBJECT_WEIGHT or the recipe's vocabulary.",
        )
    return ids[0]


def _texts(world: World) -> Iterator[str]:
    for word in world.words:
        yield from [word] * OBJECT_WEIGHT
    for name in sorted(subject.name for subject in world.subjects):
        yield from [name, name]
    for relation in RELATIONS:
        for template in relation.templates:
            yield from [template.replace("{}", "", 1).strip()] * TEMPLATE_WEIGHT
    for phrase in INTRODUCTIONS + ENDINGS:
        yield from [phrase] * PHRASE_WEIGHT
    prose = Prose(random.Random(0))
    yield from (prose.sentence() for _ in range(SENTENCES))
    for word in WORDS:
        yield from [word] * WORD_WEIGHT
