"""Widgets of causal traces: the grid, the explorer, and what belongs to them."""
