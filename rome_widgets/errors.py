"""Every error the package raises on purpose, as one tree.

    RomeWidgetsError
    ├── PromptError (ValueError)        empty, not encodable, or a template without its `{}`
    │   └── ContextTooLong              more tokens than the model has positions
    ├── SubjectNotFound (ValueError)    the subject is not in the prompt
    ├── StateError (ValueError)         a state or cell that this prompt and model do not have
    ├── NoiseError (ValueError)         noise of the wrong shape, or not a number
    ├── UnsupportedModel (TypeError)    the model's parts could not be found, or failed the probe
    │   ├── NotCausal                   later tokens reach earlier ones, or there is an encoder
    │   ├── WrappedModel                a wrapper that hides the modules we would read
    │   └── WeightsNotLoaded            weights on the meta device
    ├── ModelNotFound (LookupError)     no such folder, or the hub did not give the model
    ├── DeviceUnavailable (RuntimeError)  this torch cannot use that device
    ├── NonFinite (ArithmeticError)     NaN or infinity, with the first module that makes it
    ├── VocabMismatch (ValueError)      the tokenizer makes ids the model has no embedding for
    ├── SettingsError (ValueError)      an edit method or setting that does not exist
    ├── ArgumentError (ValueError)      an argument that is another kind of thing
    ├── TraitRefused (TraitError)       a widget's trait was given what it does not take
    ├── StatisticsMissing (LookupError) the second moments that were given are of other layers
    ├── EditRefused (RuntimeError)      this matrix cannot be edited, with the reason
    ├── ModelChanged (RuntimeError)     somebody else wrote the weights
    │   └── FingerprintMismatch         an edit that was computed on another model
    ├── TraceFileError (ValueError)     a trace file that is torn, altered, or of another version
    ├── EditFileError (ValueError)      the same of the file of an edit or of a second moment
    ├── DatasetError (ValueError)       a file of facts that is torn, or another than was wanted
    ├── DownloadFailed (OSError)        no network, or the connection broke off
    ├── RunFileError (ValueError)       the same of the file or the log of a sweep or an evaluation
    │   └── RunChanged                  a log that was begun with other facts, settings or model
    ├── OutOfMemory (MemoryError)       no room for even the smallest piece of the work
    ├── MissingExtra (ImportError)      a package of one of our extras is not installed
    ├── StaysHere (TypeError)           sent to a process, copied in depth, or used after a fork
    ├── WorkersLost (RuntimeError)      workers of an executor died, or cannot do their part
    ├── SaveFailed (OSError)            nothing was written; the old file is intact
    └── Cancelled                       stopped on request; carries what was computed so far

A message says what was found, what was wanted and what to do, in that order; the three parts are
attributes too, so that a widget can lay them out. This module imports nothing of ours.
"""

from __future__ import annotations

import re
from typing import Any

import traitlets

MOST_SAID = 120
"""Characters of a value that a message shows."""


def said(value: Any) -> str:
    """`value` as a message shows it: one line, not too long; whatever it is, this does not fail."""
    try:
        shown = re.sub(r"\n\s*", " ", repr(value))
    except Exception:  # Python refuses to write out a number of 5,000 digits, for one
        return f"a value of type {type(value).__name__} that cannot be written out"
    return shown if len(shown) <= MOST_SAID else f"{shown[:MOST_SAID]}…"


class RomeWidgetsError(Exception):
    """Base of the tree.

    Args:
        found: What was found, a whole sentence.
        wanted: What was wanted, a whole sentence; empty when `found` says it.
        remedy: What to do, a whole sentence.

    Example:
        >>> try:
        ...     rw.trace(lm, "The Space Needle is in the city of", "the space needle")
        ... except rw.RomeWidgetsError as error:
        ...     print(error.remedy)
        Did you mean 'The Space Needle'?
    """

    def __init__(self, found: str, wanted: str = "", remedy: str = "") -> None:
        super().__init__(" ".join(part for part in (found, wanted, remedy) if part))
        self.found = found
        self.wanted = wanted
        self.remedy = remedy

    def __reduce__(self) -> tuple[Any, ...]:
        """As it is, also in another process: made anew, its message would be put together twice."""
        return _again, (type(self), self.args, vars(self))


def _again(kind: type[RomeWidgetsError], args: tuple[Any, ...], values: dict[str, Any]) -> Any:
    error = kind.__new__(kind, *args)
    vars(error).update(values)
    error.args = args
    return error


class PromptError(RomeWidgetsError, ValueError):
    """The prompt cannot be read: empty, not encodable, or a template without one `{}`.

    Attributes:
        suggestion: Of a prompt without a subject, what it is likely about; else None.
    """

    suggestion: str | None = None


class ContextTooLong(PromptError):
    """The prompt has more tokens than the model has positions."""


class SubjectNotFound(RomeWidgetsError, ValueError):
    """The subject does not occur in the prompt.

    Attributes:
        suggestion: What may have been meant, as it stands in the prompt; None when nothing is near.
    """

    def __init__(
        self, found: str, wanted: str = "", remedy: str = "", suggestion: str | None = None
    ) -> None:
        super().__init__(found, wanted, remedy)
        self.suggestion = suggestion


class StateError(RomeWidgetsError, ValueError):
    """A position, layer or kind that this prompt and this model do not have."""


class NoiseError(RomeWidgetsError, ValueError):
    """Noise that cannot be added: wrong shape, negative, or not finite."""


class UnsupportedModel(RomeWidgetsError, TypeError):
    """The model's parts could not be found by structure, or the probe pass disproved them."""


class NotCausal(UnsupportedModel):
    """Tracing reads the next-token prediction; this model has an encoder or looks ahead."""


class WrappedModel(UnsupportedModel):
    """The model sits inside a wrapper that hides the modules tracing would read."""


class WeightsNotLoaded(UnsupportedModel):
    """Some weights are on the meta device, so every number would be made up."""


class ModelNotFound(RomeWidgetsError, LookupError):
    """No such folder, or the hub did not give the model."""


class DeviceUnavailable(RomeWidgetsError, RuntimeError):
    """This torch cannot use that device."""


class ModelChanged(RomeWidgetsError, RuntimeError):
    """The weights are not those that something was computed with."""


class FingerprintMismatch(ModelChanged):
    """The edit was computed on another matrix than the one it would change."""


class SettingsError(RomeWidgetsError, ValueError):
    """A method or a setting of an edit that does not exist, or a value outside its range."""


class ArgumentError(RomeWidgetsError, ValueError):
    """An argument is another kind of thing than was wanted, such as a number for a function."""


class TraitRefused(RomeWidgetsError, traitlets.TraitError):
    """A widget's trait was given a value that it does not take; it keeps the one it had."""


class StatisticsMissing(RomeWidgetsError, LookupError):
    """Of the second moments that were given, none is of the layer that is edited."""


class EditRefused(RomeWidgetsError, RuntimeError):
    """This matrix cannot be edited, or the edit would be unusable; the message says why."""


class OutOfMemory(RomeWidgetsError, MemoryError):
    """The device has no room for even the smallest piece of the work."""


class NonFinite(RomeWidgetsError, ArithmeticError):
    """The model produced NaN or infinity; the message names the first module that did."""


class VocabMismatch(RomeWidgetsError, ValueError):
    """The tokenizer makes a token id beyond the rows of the input embedding."""


class TraceFileError(RomeWidgetsError, ValueError):
    """A trace file that is torn, altered, or written by another version of the format."""


class EditFileError(RomeWidgetsError, ValueError):
    """The file of an edit or of a second moment, torn, altered, or of another version."""


class DatasetError(RomeWidgetsError, ValueError):
    """A file of facts that is torn, of another form or digest, or no such file; no record is read.

    Single records that cannot be read are left out, and listed.
    """


class DownloadFailed(RomeWidgetsError, OSError):
    """A file could not be fetched: no network, no such file, or the connection broke off."""


class RunFileError(RomeWidgetsError, ValueError):
    """The file or the log of a sweep or an evaluation, torn, altered, or of another version."""


class RunChanged(RunFileError):
    """A log was begun with other facts, other settings, or another model."""


class StaysHere(RomeWidgetsError, TypeError):
    """What holds a model or a thread was to be sent away, copied in depth, or used after a fork."""


class WorkersLost(RomeWidgetsError, RuntimeError):
    """Workers of an executor died again and again, or one cannot do its part."""


class SaveFailed(RomeWidgetsError, OSError):
    """The file could not be written; a file that was there before is unchanged."""


class MissingExtra(RomeWidgetsError, ImportError):
    """A package that one of our extras brings is not installed; the message names the extra."""

    @classmethod
    def drawing(cls) -> MissingExtra:
        """For what draws Altair's charts without a network."""
        return cls(
            "vl-convert-python is not installed.",
            "It draws figures, and brings the JavaScript of a chart that needs no network.",
            "Run: pip install vl-convert-python.",
        )


class Cancelled(RomeWidgetsError):
    """Stopped on request.

    Attributes:
        partial: The `CausalTrace` as far as it got, NaN where it did not; the best set of a search
            for a path; the heads of a grid, texts of a generation, or facts of a sweep so far; None
            when it got nowhere.

    Example:
        >>> stop = threading.Event()
        >>> try:
        ...     tracer.trace(progress=lambda so_far: stop.set(), cancel=stop)
        ... except rw.Cancelled as stopped:
        ...     whole = tracer.trace(resume=stopped.partial)
    """

    def __init__(self, found: str, partial: Any = None) -> None:
        super().__init__(found, remedy="Run it again to compute the rest.")
        self.partial = partial
