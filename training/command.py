"""Read the options that several commands share."""

import argparse


def count(text: str) -> int:
    """A number of things to measure, as an option of a command gives it.

    Raises:
        argparse.ArgumentTypeError: It is no whole number of at least 1.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, wanted a whole number of at least 1")
    return int(text)
