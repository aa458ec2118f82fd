"""How the report draws: functions from data and Axes to Axes, by topic."""
