"""What each slide of the deck names, as the study leaves it: the source read by Pandoc."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from h2a_lib.report.pandoc import run_pandoc

SHORTCODE = re.compile(r"\{\{<\s*(.*?)\s*>\}\}")
VARIABLE = re.compile(r"var\s+([a-z0-9_]+)\.([a-z0-9_]+)")
SPACES = ("Space", "SoftBreak", "LineBreak")


@dataclass
class Slide:
    """A slide of the deck or a section of the article: a heading and what lies under it.

    The title is its heading, or the `topic` of a heading that is a result; the text is all of it,
    shortcodes as written, speaker notes included.
    """

    title: str
    text: str = ""
    images: list[tuple[str, str]] = field(default_factory=list)  # path, alt text
    tables: list[str] = field(default_factory=list)  # names
    citations: list[str] = field(default_factory=list)  # keys

    @property
    def shortcodes(self) -> list[str]:
        """What stands in `{{< … >}}`, in order."""
        return SHORTCODE.findall(self.text)


@dataclass(frozen=True)
class Outline:
    """A document as the study leaves it, and the titles of optional slides that it left out.

    The unit is what a part of it is called: "slide" or "section".
    """

    slides: tuple[Slide, ...]
    left_out: tuple[str, ...]
    unit: str


def read_outline(document: Path) -> Outline:
    """Read a document with Pandoc, optional content resolved against what is staged beside it."""
    text = run_pandoc(
        document.parent,
        *(document.name, "--from", "markdown", "--to", "json"),
        *("--lua-filter", "filters/content.lua"),
    )
    ast = json.loads(text)
    slides: list[Slide] = []
    for block in _flat(ast["blocks"]):
        if block["t"] == "Header" and block["c"][0] <= 3:
            # A title that is a result goes by its topic.
            topic = dict(block["c"][1][2]).get("topic")
            slides.append(Slide(topic or _text(block["c"][2]).strip()))
        if not slides:
            slides.append(Slide("before the first slide"))
        slide = slides[-1]
        slide.text += _text(block) + "\n"
        for node in _nodes(block):
            if node["t"] == "Image":
                slide.images.append((node["c"][2][0], _text(node["c"][1]).strip()))
            elif node["t"] == "Cite":
                slide.citations += [citation["citationId"] for citation in node["c"][0]]
            elif node["t"] == "Div" and "table" in node["c"][0][1]:
                slide.tables.append(dict(node["c"][0][2]).get("name", ""))
    left_out = ast["meta"].get("left-out", {"c": []})["c"]
    unit = "slide" if document.stem == "slides" else "section"
    return Outline(tuple(slides), tuple(map(_text, left_out)), unit)


def _flat(blocks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Walk the blocks, those of a plain div that holds headings among them."""
    for block in blocks:
        if block["t"] == "Div" and any(b["t"] == "Header" for b in block["c"][1]):
            yield from _flat(block["c"][1])
        else:
            yield block


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Walk every node with a type, outermost first."""
    if isinstance(tree, dict):
        if "t" in tree:
            yield tree
        for value in tree.values():
            yield from _nodes(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _nodes(value)


def _text(tree: Any) -> str:
    """Join the words of a tree, with a space between blocks."""
    parts = []
    for node in _nodes(tree):
        if node["t"] in ("Str", "MetaString"):
            parts.append(node["c"])
        elif node["t"] in ("Code", "CodeBlock", "Math", "RawInline", "RawBlock"):
            parts.append(node["c"][1])
        elif node["t"] in (*SPACES, "Para", "Plain", "Header"):
            parts.append(" ")
    return "".join(parts)
