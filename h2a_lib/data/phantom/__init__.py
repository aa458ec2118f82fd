"""Synthetic hand radiographs, drawn from an anatomical growth model."""

from h2a_lib.data.phantom.chart import growth_chart
from h2a_lib.data.phantom.render import (
    AIR,
    BONE,
    BORDER,
    MARKER,
    SKIN,
    PhantomImage,
    Plate,
    atlas_plate,
    render,
)
from h2a_lib.data.phantom.writing import VERSION, child, write

__all__ = [
    "AIR",
    "BONE",
    "BORDER",
    "MARKER",
    "SKIN",
    "VERSION",
    "PhantomImage",
    "Plate",
    "atlas_plate",
    "child",
    "growth_chart",
    "render",
    "write",
]
