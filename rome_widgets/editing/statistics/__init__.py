"""Second moments of the keys: gathered from text, kept in files, solved with."""
