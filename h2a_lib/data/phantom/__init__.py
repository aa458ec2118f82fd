"""Synthetic hand radiographs, drawn from an anatomical growth model."""

from h2a_lib.data.phantom.render import AIR, BONE, BORDER, MARKER, SKIN, PhantomImage, render
from h2a_lib.data.phantom.writing import VERSION, write

__all__ = [
    "AIR",
    "BONE",
    "BORDER",
    "MARKER",
    "SKIN",
    "VERSION",
    "PhantomImage",
    "render",
    "write",
]
