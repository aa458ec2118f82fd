"""Intervals, tests and calibration that all questions share."""
