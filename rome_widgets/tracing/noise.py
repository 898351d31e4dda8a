"""The noise that corrupts the subject's embeddings: its units, and its draws.

σ is the standard deviation of what the input-embedding module puts out over a list of subjects.
It is a property of model and list, so a multiple of it carries over from model to model where an
absolute number does not (0.1 on GPT-2 XL is 0.025 on GPT-J).

Source:
    Meng et al. 2022, section 2.1 and appendix B.3; 3 σ and the draws as in the published code.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

import numpy as np
from torch import Tensor

from rome_widgets import bundled
from rome_widgets.errors import NoiseError, said
from rome_widgets.model.language_model import LanguageModel, to_numpy
from rome_widgets.records.arguments import optional, takes, texts
from rome_widgets.records.corruption import Subject
from rome_widgets.records.html import plural
from rome_widgets.records.numbers import as_float, whole_number
from rome_widgets.records.subject import check_text

PUBLISHED_SAMPLES = 10
MANY_SAMPLES = 100
FEW_PARAMETERS = 5_000_000
"""Up to here a model takes many samples: a whole trace of the bundled one 9 s of a CPU, not 1."""
MOST_SAMPLES = 1000
"""The published figures use 10; a thousand rows per cell is where a laptop's memory ends."""


class EmbeddingSpread(NamedTuple):
    """σ and what it was measured on."""

    sigma: float
    """Standard deviation over all elements, in embedding units."""
    n_vectors: int
    """Token vectors that went in."""
    n_subjects: int


@dataclass(frozen=True, repr=False)
class Noise:
    """Says how strong the corruption is; draws are standard normal or uniform, then scaled.

    Example:
        >>> rw.Noise.times_std(3.0)              # the paper's: three times σ
        Noise(3 × σ)
        >>> rw.Noise.absolute(0.1)               # a standard deviation in embedding units
        Noise(standard deviation 0.1)
        >>> rw.Noise.uniform(0.2)
        Noise(uniform on ±0.2)
    """

    scale: float
    """Multiple of σ, standard deviation, or half width, as `unit` says; at least 0."""
    unit: Literal["sigma", "absolute", "uniform"] = "sigma"
    subjects: tuple[str, ...] | None = None
    """Whose embeddings σ is measured on; None: the list the package ships."""

    def __post_init__(self) -> None:
        scale = as_float(self.scale)
        if not 0 <= scale < math.inf:
            raise NoiseError(
                f"The noise is {said(self.scale)}.",
                "A finite number of at least 0 was wanted.",
                "The paper's is 3.0, three times the standard deviation of subject embeddings.",
            )
        if not isinstance(self.unit, str) or self.unit not in ("sigma", "absolute", "uniform"):
            raise NoiseError(
                f"The unit of noise is {said(self.unit)}.",
                "'sigma', 'absolute' or 'uniform' was wanted.",
            )
        object.__setattr__(self, "scale", scale)  # numpy's would not go into JSON

    def __repr__(self) -> str:
        over = f" of {plural(len(self.subjects), 'subject')}" if self.subjects else ""
        return f"Noise({self.text}{over})"

    @property
    def text(self) -> str:
        """The noise in words."""
        words = {"absolute": "standard deviation ", "uniform": "uniform on ±"}.get(self.unit, "")
        return f"{words}{self.scale:g}{'' if words else ' × σ'}"

    @classmethod
    @takes(subjects=optional(texts))
    def times_std(cls, multiple: float, subjects: Iterable[str] | None = None) -> Noise:
        """Normal noise of `multiple` times σ, over own subjects if given."""
        return cls(multiple, "sigma", None if subjects is None else tuple(subjects))

    @classmethod
    def absolute(cls, std: float) -> Noise:
        """Normal noise with this standard deviation, in embedding units."""
        return cls(std, "absolute")

    @classmethod
    def uniform(cls, half_width: float) -> Noise:
        """Uniform noise on `[-half_width, half_width]`, in embedding units."""
        return cls(half_width, "uniform")


class DrawnNoise(NamedTuple):
    """Noise ready to be added."""

    values: np.ndarray
    """`[samples, subject tokens, d_model]`, float64, embedding units."""
    about: dict[str, Any]
    """What a trace says of it: `text` for people; `std`, `sigma`, `multiple`, `n_vectors`."""
    seed: int | None
    """None when the values were given."""


def default_samples(lm: LanguageModel) -> int:
    """Draws averaged over by default: the published 10; of a model this small 100.

    Few draws can be lucky. On the bundled model, over seeds, 10 leave ±0.07 of the total effect and
    ±0.13 of the strongest MLP cell (±0.025 and ±0.03 with 100); with `seed=1`, 10 gave that cell
    0.97 on the tour's prompt, where 0.63 is its mean.
    """
    small = sum(each.numel() for each in lm.model.parameters()) <= FEW_PARAMETERS
    return MANY_SAMPLES if small else PUBLISHED_SAMPLES


def draw_noise(
    lm: LanguageModel,
    noise: float | Noise | np.ndarray | Tensor | Subject,
    samples: int | None,
    n_tokens: int,
    seed: int,
) -> DrawnNoise:
    """The noise of one prompt, drawn once and used by every restoration of it.

    Args:
        lm: Gives the width, and the embeddings σ is measured on.
        noise: A multiple of σ, a `Noise`, or an array `[samples, n_tokens, d_model]` that is
            added as it is and overrides samples and seed; or another subject, which overrides
            them too: of it there is one run, to whose embeddings zeros are added.
        samples: Draws to average over, at least 1; None: `default_samples`.
        n_tokens: Subject tokens.
        seed: Of `numpy.random.RandomState`; one sample is a prefix of ten.

    Raises:
        NoiseError: Not a number, negative, or an array of another shape.
    """
    if isinstance(noise, Subject):
        zeros = np.zeros((1, n_tokens, lm.d_embedding))
        return DrawnNoise(zeros, {"text": noise.text, "subject": noise.words}, None)
    if isinstance(noise, np.ndarray | Tensor) and noise.ndim:
        values = _given(noise, n_tokens, lm.d_embedding)
        return DrawnNoise(values, {"text": "given as an array"}, None)
    samples = default_samples(lm) if samples is None else samples
    samples = whole_number(samples, "samples", 1, MOST_SAMPLES, error=NoiseError)
    seed = whole_number(seed, "seed", 0, 2**32 - 1, error=NoiseError)
    shape = (samples, n_tokens, lm.d_embedding)
    noise = noise if isinstance(noise, Noise) else Noise(cast("float", noise))
    random = np.random.RandomState(seed)
    if noise.unit == "uniform":
        values = random.uniform(-noise.scale, noise.scale, size=shape)
        return DrawnNoise(values, {"text": noise.text}, seed)
    about: dict[str, Any] = {"text": noise.text, "std": noise.scale}
    if noise.unit == "sigma":
        spread = subject_embedding_spread(lm, noise.subjects)
        about["text"] += (
            f" (σ = {spread.sigma:.3g} over {spread.n_vectors} token "
            f"vectors of {spread.n_subjects} subjects)"
        )
        about |= {"std": noise.scale * spread.sigma, "multiple": noise.scale, **spread._asdict()}
    return DrawnNoise(random.randn(*shape) * about["std"], about, seed)


def _given(noise: np.ndarray | Tensor, n_tokens: int, width: int) -> np.ndarray:
    try:
        values = to_numpy(noise) if isinstance(noise, Tensor) else noise.astype(np.float64)
    except Exception as error:  # objects, or a tensor without values on the meta device
        raise NoiseError(
            f"The noise cannot be read as numbers: {error}.", "Finite numbers were wanted."
        ) from None
    if values.ndim != 3 or values.shape[1:] != (n_tokens, width) or not len(values):
        raise NoiseError(
            f"The noise array has the shape {values.shape}.",
            f"[samples, subject tokens, d_model] = [any, {n_tokens}, {width}] was wanted.",
        )
    if not np.isfinite(values).all():
        raise NoiseError(
            "The noise array has NaN or infinity in it.", "Finite numbers were wanted."
        )
    return values


def subject_embedding_spread(
    lm: LanguageModel, subjects: Iterable[str] | None = None
) -> EmbeddingSpread:
    """σ: the standard deviation of the embeddings of subjects.

    Each subject is encoded alone, without special tokens, and read through the input-embedding
    module; all token vectors together, repeats counted, give one number (unbiased, around the
    global mean).

    Args:
        lm: The model.
        subjects: Texts; None: the list the package ships.

    Raises:
        NoiseError: Fewer than two numbers to spread.
    """
    key = None if subjects is None else tuple(subjects)

    def measure() -> EmbeddingSpread:
        words = tuple(bundled.subjects()) if key is None else key
        ids: list[int] = []
        with lm.encoding_alike():
            for subject in words:
                check_text(subject, "subject")
                ids += lm.encode_alone(subject)
        if not ids:
            raise NoiseError("There is no subject to measure σ on.", "At least one was wanted.")
        spread = to_numpy(lm.embed(ids)).std(ddof=1)
        return EmbeddingSpread(float(spread), len(ids), len(words))

    # Of the embedding and the tokenizer alone: edits of other matrices leave σ as it is.
    identity = lm.identity
    if identity.foreign_in(lm.geometry.embedding):  # what that does may change without a mark
        return measure()
    return lm.remember("spread", (key, identity.inside(lm.geometry.embedding)), measure)
