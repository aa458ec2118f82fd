"""Synthetic hand radiographs, drawn from an anatomical growth model."""

from h2a_lib.phantoms.render import (
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
from h2a_lib.phantoms.writing import VERSION, child, write

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
    "render",
    "write",
]
