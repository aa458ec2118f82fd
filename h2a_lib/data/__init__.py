"""From files to arrays: labels, sources, decoding, the index and the cache."""
