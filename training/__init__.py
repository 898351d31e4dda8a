"""How the bundled model is made: facts, text, tokenizer, training and evaluation.

Nothing here is installed with the package. `python -m training.train --out
rome_widgets/bundled/model` rebuilds everything that `rome_widgets/bundled` ships; `python -m
training.evaluate` measures it.
"""
