"""Synthetic hand radiographs, drawn from an anatomical growth model."""

from h2a_lib.phantoms.render import (
    BACKGROUND,
    BONE,
    BORDER,
    MARKER,
    SOFT_TISSUE,
    PhantomImage,
    Plate,
    atlas_plate,
    render,
)
from h2a_lib.phantoms.writing import VERSION, render_arguments, write

__all__ = [
    "BACKGROUND",
    "BONE",
    "BORDER",
    "MARKER",
    "SOFT_TISSUE",
    "VERSION",
    "PhantomImage",
    "Plate",
    "atlas_plate",
    "render",
    "render_arguments",
    "write",
]
