"""Harmful texts in a real browser: each is read, none runs, none is markup."""

import io
import json
import re

import nbformat
import pytest
from ipywidgets.embed import dependency_state, embed_minimal_html
from nbconvert import HTMLExporter

from tests.helpers import xss_widgets
from tests.helpers.xss_strings import HARMFUL, LABELS, ON_THE_WIRE, WRITTEN

HARM = """root => {
  const names = "script style img iframe object embed video link meta base form a math";
  const attributes = /^(on.*|src|href|srcdoc|action|data)$/;
  // Our picture: in an <img> an SVG runs and fetches nothing.
  const picture = (el) => el.matches('img[src^="data:image/svg+xml;base64,"]')
    && el.getAttributeNames().sort().join() === "alt,height,src,width";
  return [...root.querySelectorAll("*")]
    .filter((el) => !picture(el))
    .filter((el) => names.split(" ").includes(el.localName)
      || [...el.attributes].some(({ name }) => attributes.test(name)))
    .map((el) => el.outerHTML.slice(0, 100));
}"""
"""Elements and attributes that no view makes."""

READ = """root => {
  const text = (node) => node.nodeType === Node.TEXT_NODE ? node.data : "";
  const own = (el) => [...el.childNodes].map(text).join("");
  return [root, ...root.querySelectorAll("*")].map((el) => `${el.value ?? ""}` || own(el));
}"""
"""The text of every element by itself, and the value of every field."""

LET_IN = """(el, texts) => {
  for (const text of texts) el.insertAdjacentElement("afterend", el.cloneNode()).innerHTML = text;
}"""

SETTLED = """([trait, wanted]) => new Promise((resolve) => {
  const part = JSON.stringify(wanted).slice(1, -1);
  const look = () => JSON.stringify(rome.model.get(trait)).includes(part)
    ? requestAnimationFrame(() => setTimeout(resolve)) : setTimeout(look, 5);
  look();
})"""


class Watched:
    """What a page asks for, and the errors in it, from now on."""

    def __init__(self, page):
        self.requests, self.errors = [], []
        self.listeners = {
            "request": lambda request: self.requests.append(request.url),
            "pageerror": lambda error: self.errors.append(str(error)),
            "dialog": lambda dialog: self.errors.append(dialog.message),
        }
        self.page = page
        for event, listener in self.listeners.items():
            page.on(event, listener)

    def stop(self):
        for event, listener in self.listeners.items():
            self.page.remove_listener(event, listener)


@pytest.fixture
def opened(kept):
    """`opened(html)`: a page that holds it, and what happens in it. Nothing leaves the machine."""
    pages = []

    def open_html(html):
        page = kept[0].context.new_page()
        pages.append(page)
        watched = Watched(page)
        page.route("**/*", lambda route: route.fulfill(body="", content_type="text/plain"))
        page.route(
            ADDRESS, lambda route: route.fulfill(body=html, content_type="text/html; charset=utf-8")
        )
        page.goto(ADDRESS)
        watched.requests.remove(ADDRESS)
        return page, watched

    yield open_html
    for page in pages:
        page.close()


ADDRESS = "http://page.invalid/"


def test_a_page_that_takes_them_for_markup_is_noticed(opened):
    """What the other tests look for is there when harmful texts are let in."""
    page, watched = opened("<p>Open")
    page.locator("p").evaluate(LET_IN, [each for each in ON_THE_WIRE if "refresh" not in each])
    found = page.locator("body").evaluate(HARM)
    page.wait_for_timeout(200)
    assert len(found) > 20
    assert any("harm is not defined" in error for error in watched.errors)
    assert any("nowhere.invalid" in url for url in watched.requests)


@pytest.fixture
def harmed_page(show):
    """`harmed_page(make)` shows a widget and watches the page from then on."""
    watched = []

    def open_page(make):
        page = show(make)
        watched.append(Watched(page.page))
        return page, watched[-1]

    yield open_page
    for each in watched:
        each.stop()


def read(page, watched):
    """The texts of the page, which did nothing that it should not."""
    assert page.root.evaluate(HARM) == []
    assert watched.requests == []
    assert watched.errors == []
    assert page.page.title() == "rome_widgets"
    assert page.root.is_visible()
    return page.root.evaluate(READ)


@pytest.mark.parametrize("name", xss_widgets.EVERY)
def test_harmful_texts_are_shown_letter_by_letter(harmed_page, name):
    page, watched = harmed_page(xss_widgets.EVERY[name])
    assert set(LABELS) <= {cut(each) for each in read(page, watched)}


def cut(text):
    return text if len(text) <= 40 else text[:39] + "…"


@pytest.mark.parametrize("name", xss_widgets.EVERY)
def test_a_harmful_text_is_shown_wherever_a_harmless_one_is(harmed_page, name):
    """One after the other in each place that there is one of: prompt, subject, answer, error."""
    page, watched = harmed_page(lambda: xss_widgets.EVERY[name](MARK))
    beside = read(page, watched)
    places = sum(MARK in text for text in beside)
    assert places > 0
    before = MARK
    for bad, wire, written in zip(HARMFUL, ON_THE_WIRE, WRITTEN, strict=True):
        put(page.widget, before, bad)
        page.page.evaluate(SETTLED, [SHOWN_IN[name], wire])
        begins = (wire[:6], written[:6])  # What is too long for its place is cut.
        elsewhere = sum(text.startswith(begins) for text in beside)
        wait_for(page, watched, begins, places + elsewhere)
        before = bad


def wait_for(page, watched, begins, places):
    """Until so many texts of the page hold one of these; a busy machine draws later."""

    def there():
        found = [text for text in read(page, watched) if any(each in text for each in begins)]
        return len(found) >= places

    page.until(there)


MARK = "unmistakable"
SHOWN_IN = {
    "grid": "_trace",
    "explorer": "_trace",
    "panel": "edits",
    "predictions": "rows",
    "generations": "columns",
    "sweep": "_sweep",
}
"""A trait of each widget that holds the text."""
DESCRIBED = ("_trace", "_restoration", "_comparison", "_path", "_flow", "_lens", "_sweep")
"""Records as the page is told of them."""


def put(widget, before, after):
    """Put one text in the place of another in every trait, as one message."""

    def swapped(value):
        if isinstance(value, str):
            return value.replace(before, after)
        if isinstance(value, dict):
            return {swapped(key): swapped(each) for key, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [swapped(each) for each in value]
        return value

    with widget.hold_sync():
        for name in widget.trait_names(sync=True):
            value = getattr(widget, name)
            ours = not name.startswith("_") or name in DESCRIBED
            if ours and swapped(value) != value:
                setattr(widget, name, swapped(value))


ALL_IN_ONE = " ".join(HARMFUL[:-1])


def read_only(widget):
    """What is seen without the widget: a picture and a table; and the whole table."""
    return widget._repr_mimebundle_()[0]["text/html"] + widget.to_html_table()


def test_the_tables_of_an_untrusted_notebook_are_only_read(opened):
    tables = [read_only(make(ALL_IN_ONE)) for make in xss_widgets.EVERY.values()]
    page, watched = opened("".join(f"<section>{table}</section>" for table in tables))
    assert page.locator("section").count() == len(xss_widgets.EVERY)
    assert page.locator("body").evaluate(HARM) == []
    text = page.locator("body").evaluate("el => el.textContent")
    assert all(label in text for label in LABELS)
    assert (watched.requests, watched.errors) == ([], [])


def notebook(widget, *mimetypes):
    """A notebook with the widget as its output, and its state."""
    data = {**widget._repr_mimebundle_()[0], "text/html": read_only(widget)}
    output = nbformat.v4.new_output("display_data", {each: data[each] for each in mimetypes})
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("widget", outputs=[output])])
    state = {"version_major": 2, "version_minor": 0, "state": dependency_state(widget)}
    made.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": state}
    return made


def exported_table(widget):
    return HTMLExporter().from_notebook_node(notebook(widget, "text/html", "text/plain"))[0]


def exported_widget(widget):
    view = "application/vnd.jupyter.widget-view+json"
    return HTMLExporter().from_notebook_node(notebook(widget, view, "text/html", "text/plain"))[0]


def embedded(widget):
    page = io.StringIO()
    embed_minimal_html(page, widget, title="rome_widgets", state=dependency_state(widget))
    return page.getvalue()


@pytest.mark.parametrize("name", xss_widgets.EVERY)
@pytest.mark.parametrize("export", [exported_table, exported_widget, embedded])
def test_exported_pages_keep_harmful_texts_as_data(opened, export, name):
    """Without the network their widget manager does not come, and what is left does nothing."""
    widget = xss_widgets.EVERY[name](ALL_IN_ONE)
    page, watched = opened(export(widget))
    page.wait_for_load_state()
    assert not any("harm" in error for error in watched.errors)
    assert not any(NOT_OURS.search(url) for url in watched.requests), watched.requests
    assert page.locator(".jp-OutputArea-output").evaluate_all(OUTPUT_HARM) == []
    [state] = page.locator("script[type='application/vnd.jupyter.widget-state+json']").evaluate_all(
        "all => all.map((each) => JSON.parse(each.textContent).state)"
    )
    held = json.dumps(state[widget.model_id]["state"], ensure_ascii=False)
    assert all(json.dumps(each, ensure_ascii=False)[1:-1] in held for each in ON_THE_WIRE[:-1])


NOT_OURS = re.compile(r"nowhere\.invalid|page\.invalid")
"""What only a harmful text asks for; the scripts of the hosts' pages come from elsewhere."""
OUTPUT_HARM = f"all => all.flatMap({HARM}).filter((html) => !/^<script(?!>)/.test(html))"
"""Of an output; but nbconvert puts its own two scripts, which have attributes, into a widget's."""
