"""How a figure looks on its slide: the size of its words, and its axis titles."""

import re
from pathlib import Path

from matplotlib.text import Text

from h2a_lib.study.results import MARGIN

SLIDES = Path(__file__).parents[2] / "report/slides.qmd"
LEAST_PX = 18
# Of slides.css: a slide's room, and what a title of two lines, a caption (of two lines in a
# column), an answer of three lines and a reading of two take of its height.
WIDTH_PX, HEIGHT_PX, GAP_PX = 1168, 618, 36
TITLE_PX, CAPTION_PX, CAPTION_IN_COLUMN_PX, ANSWER_PX, READING_PX = 103, 38, 62, 143, 77


def room_px(name):
    """Width and height that the slides leave for a figure; None where none shows it."""
    rooms = []
    for slide in re.split(r"^## ", SLIDES.read_text(encoding="utf-8"), flags=re.MULTILINE):
        before, shown, _ = slide.partition(f"(figures/{name}.")
        if not shown:
            continue
        width, height = WIDTH_PX, HEIGHT_PX - TITLE_PX - CAPTION_PX
        if columns := re.findall(r'\.column width="(\d+)%"', before):
            width = int(columns[-1]) / 100 * (WIDTH_PX - GAP_PX)
            height -= CAPTION_IN_COLUMN_PX - CAPTION_PX
        height -= ANSWER_PX * ("::: answer" in slide) + READING_PX * ("::: reading" in slide)
        rooms.append((width, height))
    return tuple(map(min, zip(*rooms, strict=True))) if rooms else None


def words_of(figure):
    return [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]


def smallest_word_px(drawing):
    """Size of the smallest word of a figure on its slide."""
    drawing.figure.draw_without_rendering()
    box, room = drawing.figure.get_tightbbox(), room_px(drawing.name)
    sides = (box.width + 2 * MARGIN, box.height + 2 * MARGIN)
    px_per_inch = min(px / inches for px, inches in zip(room, sides, strict=True))
    return min(text.get_fontsize() for text in words_of(drawing.figure)) / 72 * px_per_inch


def check_on_its_slide(drawing):
    """Fail if a word is too small or a raw key, or the title of a plot lacks its capital."""
    if room_px(drawing.name) is not None:
        assert smallest_word_px(drawing) > LEAST_PX - 0.1, drawing.name
    raw = [text.get_text() for text in words_of(drawing.figure) if "_" in text.get_text()]
    assert not raw, (drawing.name, raw)
    for axes in () if drawing.is_raster else drawing.figure.axes:
        for title in (axes.get_xlabel(), axes.get_ylabel(), axes.get_title(loc="left")):
            assert title[:1] == title[:1].upper(), (drawing.name, title)
