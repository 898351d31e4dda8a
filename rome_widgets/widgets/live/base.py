"""The base of all our widgets: the bundle, the theme, refused keywords, a fallback to read.

A notebook that is not trusted, or is shown where no widget runs, keeps a table with inline styles:
hosts remove svg and scripts there, and a table survives.
"""

from __future__ import annotations

import difflib
import inspect
import logging
import os
import uuid
import weakref
from collections.abc import Callable, Iterable
from html import escape
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_args

import anywidget
import ipywidgets
import traitlets as t

from rome_widgets.errors import TraitRefused, said
from rome_widgets.records.staying import stays_here
from rome_widgets.widgets.live.still_copy import SHOWN_BELOW, StillCopy, nobody_watches
from rome_widgets.widgets.live.traits import encodable, fitting
from rome_widgets.widgets.live.worker import OwnLock

Theme = Literal["auto", "light", "dark"]
STATIC = Path(__file__).parents[1] / "static"
logger = logging.getLogger(__name__)

KEPT: dict[str, Any] | None = getattr(ipywidgets.widgets.widget, "_instances", None)
"""What ipywidgets keeps of widgets, by their ids; None before its version 8."""
REMEDY = (
    "built without its JavaScript: run `pip install -e .` again, or `npm --prefix js run build`"
)

_MISSING = """
export default () => ({ render({ el }) {
  const note = document.createElement("p");
  note.className = "rw-missing";
  note.textContent = "rome_widgets was %s";
  el.append(note);
} });
"""


def bundle(name: str, static: Path = STATIC) -> tuple[Path | str, Path | str]:
    """The built script and style sheet of some widgets.

    Two bundles, because every widget on a page carries its own copy. Where a file is missing, a
    stand-in shows the remedy, so that importing always works. Paths only where `ANYWIDGET_HMR` asks
    to follow the files: anywidget then keeps every widget that was ever made, and outside
    development a closed widget should go.
    """
    script, styles = static / f"{name}.js", static / f"{name}.css"
    if not script.is_file() or not styles.is_file():
        return _MISSING % REMEDY, ""
    if os.environ.get("ANYWIDGET_HMR"):
        return script, styles
    return script.read_text("utf-8"), styles.read_text("utf-8")


FROM_THE_PAGE = ("_ping", "_views", "_request", "_cancel_id", "_orders", "_strengths")
"""Traits between the halves that the page writes; all others are for it to read."""
SINCE_IPYWIDGETS_8 = ("tooltip", "tabbable")
"""Traits that not every host's ipywidgets has."""


class RomeWidget(anywidget.AnyWidget):
    """Base of the widgets.

    Args:
        layout: Of ipywidgets: size and margins; another widget's may be shared.
        **traits: Of these all widgets take `theme`, "auto" (as the host), "light" or "dark", and of
            ipywidgets `tooltip`, shown where the pointer rests, and `tabbable`, whether Tab stops.
    """

    _view = t.Unicode("").tag(sync=True)
    """Which view of the one bundle to show."""
    _ping = t.Unicode("").tag(sync=True, echo_update=False)
    """Set by a page that wants to know whether Python is there."""
    _pong = t.Unicode("").tag(sync=True)
    theme = t.Enum(get_args(Theme), "auto", help='"auto" follows the host.').tag(sync=True)
    _still_name = t.Unicode("").tag(sync=True)
    """Of the picture and table that stay without a kernel; a page that shows the widget hides them.
    """
    _views = t.Dict().tag(sync=True, echo_update=False)
    """How many views are open on a page, as `{page, open}`; each page says it of itself."""
    _outputs: ClassVar[tuple[str, ...]] = ("edited",)
    """Public traits that Python alone writes; those of the bases come along."""
    edited = t.Int(
        0, help="How many edits the model shown here holds; more than none is said in a badge."
    ).tag(sync=True)

    def __new__(cls, *args: Any, **given: Any) -> Self:
        """Refuse an unknown keyword with the name that it resembles, as no signature does."""
        _refuse_unknown(cls, given)
        return super().__new__(cls, *args, **given)

    def __init__(self, *, layout: Any = None, **traits: Any) -> None:
        self._writing = OwnLock()
        self._shares_layout = layout is not None
        self._pages: dict[str, int] = {}
        """Views by page, of pages that had one."""
        for name in SINCE_IPYWIDGETS_8:
            if traits.get(name) is None and not self.has_trait(name):
                traits.pop(name, None)
        traits["_still_name"] = uuid.uuid4().hex
        self._still_copy = StillCopy(traits["_still_name"], self._still)
        try:
            super().__init__(**traits, **({} if layout is None else {"layout": layout}))
        except t.TraitError as error:
            raise _refusal(type(self).__name__, error) from error.__cause__

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a trait to a value that fits it, or refuse the value in words."""
        kind = None if name.startswith("_") else getattr(type(self), name, None)
        if not isinstance(kind, t.TraitType):
            super().__setattr__(name, value)
            return
        try:
            super().__setattr__(name, self._fitting(kind, value))
        except t.TraitError as error:
            found = f"{type(self).__name__}.{name} cannot be {said(value)}."
            raise _refusal(found, error) from error.__cause__

    def _fitting(self, kind: t.TraitType[Any, Any], value: Any) -> Any:
        """`value` as the trait takes it; whatever a trait makes of odd things, a `TraitError`."""
        value = fitting(kind, value)
        try:
            kind._validate(self, value)
        except t.TraitError:
            raise
        except Exception as error:  # a number that is too long to be written out, for one
            raise t.TraitError(f"{type(error).__name__}: {error}") from None
        return value

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Refuse to be serialized or copied: a widget is one with its page's end."""
        raise stays_here(self, "Make another widget, of what this one shows.")

    def __copy__(self) -> Any:
        raise stays_here(self, "Make another widget, of what this one shows.")

    def __deepcopy__(self, memo: Any) -> Any:
        raise stays_here(self, "Make another widget, of what this one shows.")

    @t.observe("comm")
    def _comm_changed(self, change: dict) -> None:
        """Be found by the page without being kept for it, until the widget is displayed.

        ipywidgets keeps every widget that was ever made and not closed, and what it shows with it.
        """
        super()._comm_changed(change)
        if change["new"] is not None and KEPT is not None:
            change["new"].on_msg(_heard_by(weakref.ref(self)))
            KEPT[self.model_id] = weakref.proxy(self)

    def __del__(self) -> None:
        """Close it; whoever collects it has nobody to tell what went wrong.

        No name of this module may be used: as Python ends, they are gone before the last widgets.
        """
        try:  # noqa: SIM105
            self.close()
        except Exception:
            pass

    def close(self) -> None:
        """Close the page's end, and that of the layout if nobody else can have it."""
        super().close()
        if not getattr(self, "_shares_layout", True):  # ipywidgets closes half-built widgets, too.
            self.layout.close()

    @property
    def _watched(self) -> bool:
        """Whether somebody may be seeing it; not after its last view was closed.

        A widget that never had a view may be looked at from Python.
        """
        return not self._pages or any(self._pages.values())

    @t.observe("_views")
    def _views_changed(self, change: dict) -> None:
        page, count = change["new"].get("page"), change["new"].get("open")
        if not isinstance(page, str) or not isinstance(count, int):
            self._refused(t.TraitError(f"{said(change['new'])} says of no page's views."), {})
        else:
            before = self._watched
            self._pages[page] = count
            if self._watched and not before:
                self._watched_again()
            elif before and not self._watched:
                self._watched_no_more()

    def _watched_no_more(self) -> None:
        """The last view was closed."""

    def _watched_again(self) -> None:
        """A view was opened after all of them had been closed."""

    @t.observe("_ping")
    def _answer_ping(self, change: dict) -> None:
        self._pong = change["new"]

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> dict[str, Any]:
        """What the page is sent. UTF-8 has no half of a surrogate pair, so that is written out."""
        return encodable(super().get_state(key, drop_defaults))

    def set_state(self, sync_data: dict) -> None:
        """Take what the page sent, not in the middle of what the worker is writing.

        All of it or nothing. Whatever it is, the host gets no error for it: it is shown.
        """
        with self._writing:
            try:
                super().set_state(self._readable(sync_data))
            except t.TraitError as error:
                sent = sync_data if isinstance(sync_data, dict) else {}
                self._refused(error, sent)
                self.send_state([name for name in sent if name in self.keys])

    def _readable(self, sent: Any) -> dict[str, Any]:
        """What the page sent, once it is clear that each trait can take it.

        Raises:
            TraitError: One cannot, or is written by Python alone.
        """
        if not isinstance(sent, dict):
            raise t.TraitError(f"{said(sent)} is no message of a page.")
        for name in {*sent} & {*self.keys}:
            kind, value, now = getattr(type(self), name), sent[name], getattr(self, name)
            if not isinstance(kind, t.TraitType) or now is value:
                continue
            if name in self._from_python() or (name[0] == "_" and name not in FROM_THE_PAGE):
                raise t.TraitError(f"Only Python writes {name!r}, and the page sent {said(value)}.")
            try:
                read = self.trait_metadata(name, "from_json", self._trait_from_json)
                self._fitting(kind, read(value, self))
            except t.TraitError:
                raise
            except Exception as error:  # a layout that there is not, for one
                raise t.TraitError(f"{name} cannot be {said(value)}: {error}.") from None
        return sent

    @classmethod
    def _from_python(cls) -> frozenset[str]:
        """Traits for people that say what Python found; the page shows them, and sets none."""
        return frozenset(name for each in cls.__mro__ for name in each.__dict__.get("_outputs", ()))

    def _refused(self, error: BaseException, sent: dict[str, Any]) -> None:
        """The page sent what is not taken; it is being told the values that hold."""
        logger.warning("%s", error)

    def _write(self, **values: Any) -> None:
        """Set several traits as one message."""
        with self._writing, self.hold_sync():
            for name, value in values.items():
                setattr(self, name, value)

    def to_text(self) -> str:
        """What the widget shows, in a line or two."""
        return type(self).__name__

    def to_html_table(self) -> str:
        """What the widget shows as escaped HTML without script, svg or style sheet."""
        return f"<p>{escape(self.to_text())}</p>"

    def _still(self) -> str:
        """A picture and a table of what the widget shows, as escaped HTML of some kilobytes."""
        return self.to_html_table()

    def _copy_still(self) -> None:
        """Let the picture and the table that stay follow what is shown."""
        self._still_copy.follow()

    def _finish_first(self) -> None:
        """Return when there is something to show that will stay."""

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict, dict] | None:
        made = super()._repr_mimebundle_(**kwargs)
        if made is None:
            return None
        if KEPT is not None:
            KEPT[self.model_id] = self  # There may be no other hold on what is on a page.
        if nobody_watches():
            self._finish_first()
        data, metadata = made
        still = SHOWN_BELOW if self._still_copy.display() else self._still()
        return {**data, "text/plain": self.to_text(), "text/html": still}, metadata


def _heard_by(widget: weakref.ref[Any]) -> Callable[[Any], None]:
    """Hands a page's messages on for as long as there is somebody to hear them."""

    def heard(message: Any) -> None:
        there = widget()
        if there is not None:
            there._handle_msg(message)

    return heard


def _refusal(found: str, error: t.TraitError) -> TraitRefused:
    """What a trait refused, in the package's words; its own follow."""
    if isinstance(error, TraitRefused):
        return error
    return TraitRefused(found, str(error))


def _refuse_unknown(cls: type, given: Iterable[str]) -> None:
    parameters = inspect.signature(cls).parameters
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return
    for name in given:
        if name not in parameters:
            near = difflib.get_close_matches(name, parameters, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"{cls.__name__}() got an unexpected keyword argument {name!r}.{hint}")
