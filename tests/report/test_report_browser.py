"""Deck and article in a real browser: each slide, at two sizes, seen by Chromium and axe-core."""

import os
import shutil
from pathlib import Path

import pytest
from notebook_pages import write_example_pages

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
SIZES = [(1280, 720), (1920, 1080)]
PHONE = {"width": 390, "height": 844}
# At rest, and with nothing going out: Chromium itself likes to call home.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]

pytestmark = [pytest.mark.slow, pytest.mark.browser]

# What sticks out of the current slide, or reaches into its foot. Notes are not on the slide.
OVERFLOW = """
() => {
  const slide = Reveal.getCurrentSlide();
  const frame = slide.getBoundingClientRect();
  const foot = slide.querySelector('.running.tier').getBoundingClientRect().top;
  const found = [];
  for (const element of slide.querySelectorAll(':scope *')) {
    if (element.closest('aside, .running')) continue;
    const box = element.getBoundingClientRect();
    if (!box.width || !box.height) continue;
    const out = box.left < frame.left - 1 || box.right > frame.right + 1
      || box.top < frame.top - 1 || box.bottom > foot + 1;
    if (out) found.push(`${element.tagName} ${element.textContent.trim().slice(0, 40)}`);
    if (element.scrollWidth > element.clientWidth + 2 && element.clientWidth > 0
        && getComputedStyle(element).display !== 'inline')
      found.push(`text wider than its box: ${element.textContent.trim().slice(0, 40)}`);
  }
  return found;
}
"""
# What the article holds beyond its window, but for what scrolls in a box of its own.
ARTICLE_OVERFLOW = """
() => {
  const width = document.documentElement.clientWidth;
  return [document.documentElement, ...document.querySelectorAll('body *')]
    .filter(element => !element.parentElement?.closest('.scroll, pre, math'))
    .filter(element => element.getBoundingClientRect().right > width + 1
      || (element === document.documentElement && element.scrollWidth > width))
    .map(element => `${element.tagName} ${element.textContent.trim().slice(0, 40)}`);
}
"""
HEIGHTS_WITH_AND_WITHOUT_SOURCE = """
() => [...Reveal.getCurrentSlide().querySelectorAll(':scope > figure figcaption')].map(caption => {
  const height = () => Math.round(caption.getBoundingClientRect().height);
  const before = height();
  caption.querySelector('.source').style.display = 'none';
  return [before, height()];
})
"""
# On how many lines each range such as 5.7–6.6 is written, of what is seen.
LINES_OF_RANGES = """
() => {
  const root = window.Reveal ? Reveal.getCurrentSlide() : document.body;
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  const found = [];
  for (let node; node = walker.nextNode();) {
    if (node.parentElement.closest('aside, #refs, style, script')) continue;
    for (const match of node.data.matchAll(/\\d–\\d/g)) {
      const range = document.createRange();
      range.setStart(node, match.index);
      range.setEnd(node, match.index + match[0].length);
      found.push(range.getClientRects().length);
    }
  }
  return found;
}
"""
# Slides whose title or text is printed over their head or foot, or off their page.
PRINTED_OVER_EACH_OTHER = """
() => [...document.querySelectorAll('.pdf-page section.slide')].flatMap(slide => {
  const box = element => element.getBoundingClientRect();
  const [head, foot] = ['top', 'tier'].map(name => box(slide.querySelector(`.running.${name}`)));
  return [...slide.querySelectorAll('h2, p, li, img, figcaption, table, pre')]
    .filter(element => !element.closest('aside, .running') && box(element).height)
    .filter(element => box(element).top < head.bottom - 1 || box(element).bottom > foot.top + 1
      || box(element).left < head.left - 1)
    .map(element => `${slide.id}: ${element.tagName} ${element.textContent.trim().slice(0, 30)}`);
})
"""
# Where what is seen lies, rounded to pixels, by what it is.
PLACES = """
() => {
  const root = window.Reveal ? Reveal.getCurrentSlide() : document.body;
  const kinds = 'h1, h2, h3, figure, img, figcaption, ul, ol, .answer, .reading, .small, .fine, '
    + 'table, pre, .running, .csl-entry';
  return [...root.querySelectorAll(kinds)]
    .filter(element => !element.closest('aside, nav') && element.getClientRects().length)
    .map(element => {
      const box = element.getBoundingClientRect();
      return [element.tagName, box.left, box.top, box.width, box.height];
    });
}
"""
# What of each slide is covered, cut off, too small, unseen or without contrast on a phone.
SLIDES_ON_A_PHONE = """
() => [...document.querySelectorAll('.slides section.slide')].map(slide => {
  const problems = [];
  const frame = slide.getBoundingClientRect();
  const seen = [...slide.querySelectorAll('h2, p, li, img, figcaption, td, pre')]
    .filter(element => !element.closest('aside, .running'));
  if (!slide.querySelector('h2')) problems.push('no title');
  for (const element of seen) {
    const box = element.getBoundingClientRect();
    const name = `${element.tagName} ${element.textContent.trim().slice(0, 30)}`;
    if (!box.height || getComputedStyle(element).visibility !== 'visible')
      problems.push(`unseen: ${name}`);
    else if (box.top < frame.top - 1 || box.bottom > frame.bottom + 1)
      problems.push(`outside of its slide: ${name}`);
    if (element.tagName === 'IMG' && (!element.naturalWidth || element.clientWidth < 200))
      problems.push(`picture too small: ${element.alt}`);
    // Words in a figure have at least 12 points: 16 pixels of a plot's own width, 30 of a picture's
    // that is drawn with 180 an inch.
    const drawn = element.src?.startsWith('data:image/svg') ? 16 : 30;
    const words = drawn * element.clientWidth / element.naturalWidth;
    if (element.closest('figure.shown') && words < 9)
      problems.push(`words of ${words.toFixed(1)} pixels in ${element.alt}`);
    const scrolls = element.closest('figure, table');
    if (scrolls?.scrollWidth > scrolls?.clientWidth + 1) {
      const hint = getComputedStyle(scrolls.tagName === 'FIGURE' ? scrolls : scrolls.parentElement,
        '::before').content;
      if (getComputedStyle(scrolls).overflowX !== 'auto' || !hint.includes('→'))
        problems.push(`cut off: ${name}`);
    }
    if (parseFloat(getComputedStyle(element).fontSize) < 14) problems.push(`too small: ${name}`);
  }
  const boxes = [...slide.children].filter(e => !e.matches('aside, .running.top'))
    .map(element => element.getBoundingClientRect()).sort((a, b) => a.top - b.top);
  for (let i = 1; i < boxes.length; i++)
    if (boxes[i].top < boxes[i - 1].bottom - 1) problems.push(`overlap at ${boxes[i].top}`);
  return {title: slide.querySelector('h2')?.textContent, problems};
})
"""
BROKEN = """
() => [...Reveal.getCurrentSlide().querySelectorAll('img')]
  .filter(image => !(image.complete && image.naturalWidth > 0 && image.clientHeight > 120))
  .map(image => image.alt)
"""


def need(what, there):
    """Skip where a tool is missing on a desk; fail where it is missing in CI."""
    if not there:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{what} is not installed")


@pytest.fixture(scope="module")
def browser():
    need("chromium", CHROMIUM)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


def open_page(browser, file, **viewport):
    """Open a file; what it says and asks for is kept on the page object."""
    page = browser.new_page(viewport=viewport)
    page.heard = []
    page.on("console", lambda message: page.heard.append(message.text))
    page.on("pageerror", lambda error: page.heard.append(str(error)))
    page.asked = []
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(file.as_uri())
    return page


def open_deck(browser, rendered, **viewport):
    page = open_page(browser, rendered.html, **viewport)
    page.wait_for_function("window.Reveal && Reveal.isReady()")
    return page


def open_article(browser, rendered, **viewport):
    page = open_page(browser, rendered.paper_html, **viewport)
    page.evaluate("Promise.all([...document.images].map(image => image.decode().catch(() => 0)))")
    return page


def requests(page):
    local = ("file:", "data:", "blob:")
    return [address for address in page.asked if not address.startswith(local)]


def violations_of_wcag_2_1_aa(page):
    return page.evaluate(
        """async () => {
          const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa'];
          const found = await axe.run({runOnly: {type: 'tag', values: tags}});
          return found.violations.map(v => v.id + ': ' + v.nodes.map(n => n.html).slice(0, 3));
        }"""
    )


def slides_of(page):
    """Go through the slides, giving the number of each."""
    for number in range(page.evaluate("Reveal.getTotalSlides()")):
        page.evaluate("number => Reveal.slide(number)", number)
        page.evaluate(
            "() => Promise.all([...Reveal.getCurrentSlide().querySelectorAll('img')]"
            ".map(image => image.decode().catch(() => null)))"
        )
        yield number + 1


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_nothing_leaves_its_slide_and_no_picture_is_broken_or_tiny(browser, by_each, width, height):
    page = open_deck(browser, by_each, width=width, height=height)
    result = {}
    for number in slides_of(page):
        if wrong := page.evaluate(OVERFLOW) + page.evaluate(BROKEN):
            result[number] = wrong
    assert result == {}
    assert number == by_each.n_slides


def test_the_source_of_a_figure_costs_it_no_line_where_it_has_the_slide_to_itself(browser, by_each):
    page = open_deck(browser, by_each, width=1280, height=720)
    taller = []
    for number in slides_of(page):
        heights = page.evaluate(HEIGHTS_WITH_AND_WITHOUT_SOURCE)
        taller += [number for with_source, without in heights if with_source > without]
    assert taller == []


def test_no_range_on_a_slide_is_broken_after_its_dash(browser, by_each):
    page = open_deck(browser, by_each, width=1280, height=720)
    lines = [n for _ in slides_of(page) for n in page.evaluate(LINES_OF_RANGES)]
    assert len(lines) > 50
    assert set(lines) == {1}


@pytest.mark.parametrize("width", [1280, PHONE["width"]])
def test_no_range_in_the_article_is_broken_after_its_dash(browser, by_each, width):
    page = open_article(browser, by_each, width=width, height=800)
    lines = page.evaluate(LINES_OF_RANGES)
    assert len(lines) > 50
    assert set(lines) == {1}


def test_the_deck_says_nothing_to_the_console_and_asks_nothing_of_the_network(browser, by_each):
    page = open_deck(browser, by_each, width=1280, height=720)
    for _ in slides_of(page):
        pass
    assert page.heard == []
    assert requests(page) == []


def test_axe_finds_no_violation_of_wcag_2_1_aa(browser, by_each):
    need("axe-core (npm ci --prefix tests/report)", AXE.is_file())
    page = open_deck(browser, by_each, width=1280, height=720)
    page.add_script_tag(path=AXE)
    result = {}
    for number in slides_of(page):
        if violations := violations_of_wcag_2_1_aa(page):
            result[number] = violations
    assert result == {}


def test_keyboard_overview_and_notes_are_there(browser, rendered):
    page = open_deck(browser, rendered, width=1280, height=720)
    page.keyboard.press("ArrowRight")
    assert page.evaluate("Reveal.getIndices().h") == 1
    page.keyboard.press("Escape")
    assert page.evaluate("Reveal.isOverview()")
    assert page.evaluate("Reveal.hasPlugin('notes')")
    assert page.evaluate("document.querySelectorAll('aside.notes').length") > 10


def open_on_a_phone(browser, file, **how):
    """Open a file upright on a phone that is touched."""
    context = browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True, **how)
    page = context.new_page()
    page.goto(file.as_uri())
    page.wait_for_function("!window.Reveal || Reveal.isReady()")
    page.evaluate("Promise.all([...document.images].map(image => image.decode().catch(() => 0)))")
    return page


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_upright_on_a_phone_every_slide_is_there_and_legible(browser, by_each, scheme):
    page = open_on_a_phone(browser, by_each.html, color_scheme=scheme)
    slides = page.evaluate(SLIDES_ON_A_PHONE)
    assert len(slides) == by_each.n_slides
    assert [slide for slide in slides if slide["problems"]] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_a_finger_scrolls_the_slides_on_a_phone(browser, rendered):
    page = open_on_a_phone(browser, rendered.html)
    client = page.context.new_cdp_session(page)

    def touch(kind, *points):
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": list(points)})
        page.wait_for_timeout(16)

    touch("touchStart", {"x": 200, "y": 700})
    for y in range(680, 100, -40):
        touch("touchMove", {"x": 200, "y": y})
    touch("touchEnd")
    page.wait_for_timeout(300)
    assert page.evaluate("window.scrollY") > 400


def test_a_browser_prints_one_slide_a_page(browser, rendered):
    page = browser.new_page(viewport={"width": 1280, "height": 720})
    page.goto(rendered.html.as_uri() + "?print-pdf")
    page.wait_for_function("document.querySelectorAll('.pdf-page').length > 0")
    assert page.evaluate("document.querySelectorAll('.pdf-page').length") == rendered.n_slides
    page.emulate_media(media="print")
    assert page.evaluate(PRINTED_OVER_EACH_OTHER) == []


def differing(ours, theirs, within):
    """Pairs of places that lie further apart, or are not of the same things."""
    same = [one[0] for one in ours] == [one[0] for one in theirs]
    return [
        pair
        for pair in zip(ours, theirs, strict=same)
        if not same or any(abs(a - b) > within for a, b in zip(*(p[1:] for p in pair), strict=True))
    ]


def test_quarto_and_pandoc_lay_out_the_slides_alike(browser, rendered, quarto_rendered):
    pages = [open_deck(browser, one, width=1280, height=720) for one in (rendered, quarto_rendered)]
    result = {}
    for number, _ in zip(*map(slides_of, pages), strict=True):
        if apart := differing(*(page.evaluate(PLACES) for page in pages), within=1):
            result[number] = apart
    assert result == {}


def test_quarto_and_pandoc_lay_out_the_article_alike(browser, rendered, quarto_rendered):
    ours, theirs = (
        open_article(browser, one, width=1280, height=800).evaluate(PLACES)
        for one in (rendered, quarto_rendered)
    )
    # Quarto's tables are half a pixel lower, which adds up down the page.
    for places in (ours, theirs):
        for place in places:
            del place[2]
    assert differing(ours, theirs, within=2) == []


@pytest.mark.parametrize("size", [*SIZES, tuple(PHONE.values())])
def test_the_article_keeps_to_its_window_and_no_picture_is_broken_or_tiny(browser, by_each, size):
    page = open_article(browser, by_each, width=size[0], height=size[1])
    assert page.evaluate(ARTICLE_OVERFLOW) == []
    pictures = page.evaluate(
        "[...document.images].map(image => image.naturalWidth && image.clientHeight)"
    )
    assert min(pictures) > 100
    assert page.heard == []
    assert requests(page) == []


@pytest.mark.parametrize("size", [*SIZES, tuple(PHONE.values())])
def test_axe_finds_no_violation_in_the_article(browser, by_each, size):
    need("axe-core (npm ci --prefix tests/report)", AXE.is_file())
    page = open_article(browser, by_each, width=size[0], height=size[1])
    page.add_script_tag(path=AXE)
    assert violations_of_wcag_2_1_aa(page) == []


# --- the notebooks' pages -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The page of a notebook that shows a figure, a table, text and code, and the index."""
    folder = tmp_path_factory.mktemp("pages")
    return write_example_pages(folder)


def test_axe_finds_no_violation_on_the_pages_of_notebooks(browser, pages):
    need("axe-core (npm ci --prefix tests/report)", AXE.is_file())
    for scheme in ("light", "dark"):
        for file in pages:
            page = browser.new_context(color_scheme=scheme).new_page()
            page.goto(file.as_uri())
            page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
            page.add_script_tag(path=AXE)
            assert violations_of_wcag_2_1_aa(page) == [], (file.name, scheme)


def test_the_address_of_a_figure_opens_the_code_that_drew_it(browser, pages):
    page = browser.new_page()
    page.goto(pages[0].as_uri() + "#figure-curve")
    opened = "[...document.querySelectorAll('details')].map(details => details.open)"
    assert page.evaluate(opened) == [False, False, True]
    page.click("#code")
    assert page.evaluate(opened) == [True, True, True]
