"""Widgets of edits: the panel, and comparisons of predictions and texts."""
