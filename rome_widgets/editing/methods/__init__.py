"""The methods of editing by name: those that come with the package, and those that join."""

from __future__ import annotations

from typing import Any

from rome_widgets import bundled
from rome_widgets.editing.methods.editor import Editor, Found, Task
from rome_widgets.editing.methods.fine_tuning import FineTuning
from rome_widgets.editing.methods.rank_one.rome import RankOne
from rome_widgets.editing.settings import Known, Settings, number, one_of
from rome_widgets.editing.tuned_settings import known_by_tuning
from rome_widgets.errors import SettingsError, said
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.records.html import table

__all__ = [
    "Editor",
    "Found",
    "Known",
    "Settings",
    "Task",
    "find_editor",
    "methods",
    "methods_for",
    "number",
    "one_of",
    "register",
]

METHODS: dict[str, Editor] = {
    "rome": RankOne("ROME", consistent=False),
    "r-rome": RankOne("r-ROME", consistent=True),
    "ft": FineTuning("FT", bounded=False),
    "ft-l": FineTuning("FT-L", bounded=True),
}
"""The first one is the method where none is named."""
_OURS = frozenset(METHODS)


class MethodTable(dict[str, Editor]):
    """The methods of editing by name, to be read in a notebook."""

    def __repr__(self) -> str:
        return "\n".join(
            f"{name:8s}{title}: writes {facts}; needs {needs}; can change {changes}; {source}"
            for name, title, needs, changes, facts, source in self._rows()
        )

    def _repr_html_(self) -> str:
        return table(self._rows(), ("method", "title", "needs", "can change", "writes", "source"))

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (
                name,
                each.title,
                ", ".join(each.needs) or "nothing",
                each.changes,
                "many facts" if each.many_facts else "one fact",
                each.source,
            )
            for name, each in self.items()
        ]


def methods() -> MethodTable:
    """Every method of editing: what it needs, what it can change, where it is from.

    Example:
        >>> list(rw.methods())[:2], rw.methods()["rome"].needs
        (['rome', 'r-rome'], ('statistics',))
    """
    return MethodTable(METHODS)


def register(name: str, editor: Editor) -> None:
    """Let a method join: `edit`, the panel and `methods` know it from then on.

    Args:
        name: To be passed as `method`. A method of yours that has it is replaced.
        editor: The method; see `Editor`.

    Raises:
        SettingsError: The name is that of a method of the package, or this is no editor.

    Example:
        >>> from rome_widgets.editing.methods import METHODS
        >>> rw.register("mine", METHODS["rome"])
        >>> METHODS.pop("mine").title
        'ROME'
    """
    if not isinstance(name, str) or not name.strip():
        raise SettingsError(f"The name is {said(name)}.", "A word to pass as method was wanted.")
    if name in _OURS:
        raise SettingsError(f"{name!r} comes with the package.", "Another name was wanted.")
    if not isinstance(editor, Editor):
        raise SettingsError(
            f"{said(editor)} is no editor.",
            "An object of a subclass of Editor was wanted.",
            "CONTRIBUTING.md has an example.",
        )
    METHODS[name] = editor


def find_editor(method: str) -> Editor:
    """The method of this name.

    Raises:
        SettingsError: There is none.
    """
    if not isinstance(method, str) or method not in METHODS:
        raise SettingsError(
            f"There is no method {said(method)}.", f"Methods are {', '.join(map(repr, METHODS))}."
        )
    return METHODS[method]


def known_for(lm: LanguageModel, method: str) -> Known:
    """What is known of editing this model by this method, from tuning and its card, too."""
    if (tuned := known_by_tuning(lm, method, find_editor(method).settings)) is not None:
        return tuned
    card = bundled.settings().get(method) if bundled.is_bundled(lm) else None
    return find_editor(method).known(lm, card)


def methods_for(lm: LanguageModel) -> dict[str, dict[str, Any]]:
    """The methods as a panel shows them: by name, the title and this model's numbers.

    Returns:
        `{name: {"title": str, "settings": {setting: number or None}}}`, the one to begin with
        first. None stands for a number that is worked out for each edit.
    """
    shown = {}
    for name, editor in METHODS.items():
        settings = known_for(lm, name).settings
        numbers = {number: getattr(settings, number) for number in editor.numbers}
        shown[name] = {"title": editor.title, "settings": numbers}
    return shown
