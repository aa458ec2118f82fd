"""Whose hands these are, and what the labels and the split allow."""
