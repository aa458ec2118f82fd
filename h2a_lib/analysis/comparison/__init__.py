"""Which settings make a difference: every experiment against the default."""
