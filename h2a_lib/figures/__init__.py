"""The figures of notebooks and report, by topic: each function returns a `Drawing`."""
