"""Where a network looks: maps, registration, sanity checks."""
