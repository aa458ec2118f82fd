"""Run a study: its steps, what makes them stale, and the processes that perform them."""
