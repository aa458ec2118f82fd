"""Figures as the PDF takes them: words as text, radiographs as JPEG.

A browser may lack the font a figure was drawn in, so matplotlib writes outlines. The PDF brings
the font: as text, words can be searched for and copied, and plots weigh half as much. A PDF holds
the pixels of a PNG without its compression by neighbours, but a JPEG as it is.
"""

import html
import re
import shutil
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path

from PIL import Image

SVG, LINK = "http://www.w3.org/2000/svg", "{http://www.w3.org/1999/xlink}href"
# Of the one font that the PDF brings for figures; other glyphs stay outlines.
GLYPH = re.compile(r"#DejaVuSans-[0-9a-f]+")
# matplotlib scales outlines of 100 units to the size of the text, upwards; SVG's text runs down.
UPWARDS = re.compile(r"scale\(([\d.]+) -\1\)")
# A hundredth of a point is 4 micrometres; matplotlib writes millionths, half of a curve's bytes.
FINER = re.compile(r"\d+\.\d{3,}")

# No difference is seen at four times the size, and a grid of hands weighs a third of the PNG's.
JPEG_QUALITY = 90


def write_for_pdf(source: Path, folder: Path) -> Path:
    """Write a figure, SVG or PNG, as the PDF takes it; one that is not opaque is copied."""
    if source.suffix == ".svg":
        output = folder / f"{source.stem}.pdf.svg"
        write_with_text(source, output)
        return output
    with Image.open(source) as image:
        opaque = not image.has_transparency_data or image.getchannel("A").getextrema()[0] == 255
        if not opaque:
            return Path(shutil.copy(source, folder / f"{source.stem}.pdf.png"))
        output = folder / f"{source.stem}.pdf.jpg"
        image.convert("RGB").save(output, quality=JPEG_QUALITY, subsampling=0, optimize=True)
    return output


def write_with_text(source: Path, output: Path) -> None:
    """Copy an SVG of matplotlib, outlined words turned into text, curves no finer than is seen.

    matplotlib writes each line of text as a comment, followed by a group of its glyphs. Formulas
    (between dollars), hyphens in a row (which a comment cannot hold) and glyphs of other fonts are
    left as they are.
    """
    ET.register_namespace("", SVG)
    ET.register_namespace("xlink", LINK[1:].partition("}")[0])
    parser = ET.XMLParser(target=ET.TreeBuilder(insert_comments=True))
    tree = ET.parse(source, parser)
    for parent in list(tree.iter()):
        for comment, group in pairwise(list(parent)):
            kind: object = comment.tag  # a comment's is the function that makes one
            if kind is ET.Comment and _is_plain(comment.text or "", group):
                _set_as_text(group, html.unescape(comment.text or "").strip())
    for path in tree.iter(f"{{{SVG}}}path"):
        path.set("d", FINER.sub(lambda number: f"{float(number[0]):.2f}", path.get("d", "")))
    tree.write(output, encoding="utf-8", xml_declaration=True)


def _uses(group: ET.Element) -> list[ET.Element]:
    return group.findall(f"{{{SVG}}}use")


def _is_plain(content: str, group: ET.Element) -> bool:
    glyphs = [use.get(LINK, "") for use in _uses(group)]
    return (
        len(glyphs) > 0
        and all(GLYPH.fullmatch(glyph) for glyph in glyphs)
        and "$" not in content
        and "- -" not in content
        and UPWARDS.search(group.get("transform", "")) is not None
    )


def _set_as_text(group: ET.Element, content: str) -> None:
    """Put text in the place of its glyphs; their definitions stay, for formulas use them too."""
    group.set("transform", UPWARDS.sub(r"scale(\1)", group.get("transform", "")))
    for use in _uses(group):
        group.remove(use)
    text = ET.SubElement(group, f"{{{SVG}}}text")
    text.set("style", "font: 100px 'DejaVu Sans'; white-space: pre")
    text.text = content
