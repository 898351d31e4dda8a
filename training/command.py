"""Helpers of the commands: how they end, and how their options are read."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import torch

from training.world import WorldError


def run(parser: argparse.ArgumentParser, work: Callable[[argparse.Namespace], bool]) -> None:
    """Work as the options say, in one thread; exits with 1 where `work` finds something."""
    options = parser.parse_args()
    torch.set_num_threads(1)
    try:
        sys.exit(work(options))
    except WorldError as error:
        sys.exit(str(error))


def count(text: str) -> int:
    """A number of things to measure, as an option of a command gives it.

    Raises:
        argparse.ArgumentTypeError: It is no whole number of at least 1.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, wanted a whole number of at least 1")
    return int(text)
