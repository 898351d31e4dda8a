"""How the bundled model is made: its world, its text, its training, and what is measured of it.

Four commands, which need no network; a training takes twenty minutes to half an hour of one core::

    python -m training.consistency         # nothing is said twice, or otherwise
    python -m training.train --out folder  # a model, and everything beside it
    python -m training.evaluate folder     # its figures, beside what was wanted
    python -m training.organisms           # recall placed elsewhere, and traced

The world is `tables/`, `world`, `relations` and `consistency`; the text `corpus`, `prose` and
`tokenizer`; the training `recipe`, `rows`, `steering`, `muon`, `checkpoint`, `train` and `report`;
the files beside the weights `model_files` and `second_moment`; the figures `knowledge`, `averages`,
`edits`, `evaluate` and `gates`; `command` is what the commands share. `organisms` are smaller
models in which recall was placed elsewhere, to see whether a trace finds it there.
"""
