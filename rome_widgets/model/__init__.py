"""What a language model is to us: where its parts are, how text becomes tokens, how it is run."""
