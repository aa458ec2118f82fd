"""One study: its configuration, its folders, its runs and its results."""
