"""From pixels to months: batches, networks, schedules, training."""
