"""Files that are written whole or not at all, with a checksum; the cache folder."""
