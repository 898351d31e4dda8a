"""Frozen results over numpy arrays: what a trace, an edit or a comparison found. No torch."""
