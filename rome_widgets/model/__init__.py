"""Language models: finding their parts, encoding text, running them, and applying edits."""
