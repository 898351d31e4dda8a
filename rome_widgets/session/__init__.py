"""The one bridge between the engine and the widgets.

Widgets know a small protocol and no torch; tracing and editing know no widgets. Here a language
model becomes an engine that a widget can ask, with one worker thread per model.
"""
