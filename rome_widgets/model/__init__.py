"""Language models: finding their parts, encoding text, running them, and applying edits."""

# Before transformers, which imports the same bars without a care for what they warn of.
from rome_widgets.model import progress_bar as progress_bar
