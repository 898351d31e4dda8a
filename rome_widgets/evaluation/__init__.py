"""The definition of each metric: efficacy, paraphrase, neighborhood and their relatives."""
