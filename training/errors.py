"""The error of the training: what it may not be made of, or compared with."""

from __future__ import annotations

from rome_widgets.errors import RomeWidgetsError


class WorldError(RomeWidgetsError, ValueError):
    """A training is asked of a world that breaks its rules, or of files of something else."""
