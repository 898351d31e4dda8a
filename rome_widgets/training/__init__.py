"""How the bundled model is made: its world, its text, its training, and what is measured of it.

Two commands, which need no network; a training takes twenty minutes to half an hour of one core::

    python -m rome_widgets.training.train --out folder
    python -m rome_widgets.training.evaluate folder

The world is `tables/`, `world`, `relations` and `consistency`; the text `corpus`, `prose` and
`tokenizer`; the training `recipe`, `rows`, `steering`, `muon`, `checkpoint`, `train` and `report`;
the figures `knowledge`, `averages`, `edits` and `evaluate`. `organisms` are smaller models in which
recall was placed elsewhere, to see whether a trace finds it there.
"""
