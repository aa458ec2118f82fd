"""The sources of the deck and the article: no result is typed into them."""

import re

import pytest
from made_up import REPORT

# What the original talk and the design fix, and no run can change.
GIVEN = {
    "10,000 and 2,611 of RSNA": "the original's split",
    "multiples of 6 months": "the question the audit asks",
    "within 6 months": "a measure of error",
    "within 12 months": "a measure of error",
    "Within 12 months": "a measure of error",
    "8-bit": "how images are decoded",
    "95 % bootstrap interval": "the method",
    "γ 0.7": "the original's schedule",
    "γ 0.1 and 0.5": "the original's schedules",
    "224 × 224": "the original's image size",
}
# A number that looks measured: a decimal, a count with a comma, or one with a unit.
RESULT = re.compile(
    r"\d+\.\d+|\d{1,3},\d{3}|\d+(?:\s|\u00a0)*(?:%|months?|years?|images|runs|pixels|seconds|minutes)"
)


def prose(document):
    """Its lines of prose with their numbers; front matter, code, checklist and shortcodes gone."""
    text = (REPORT / document).read_text(encoding="utf-8")
    text = re.sub(r"^---\n.*?^---\n", "", text, count=1, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"\{\{<.*?>\}\}|\{[.#].*?\}|`[^`]*`|@\w+", "", text)
    return text.split("{#checklist}")[0]


def typed_results(text):
    for given in GIVEN:
        text = text.replace(given, "")
    return RESULT.findall(text)


@pytest.mark.parametrize("document", ["slides.qmd", "paper.qmd"])
def test_no_result_is_typed(document):
    text = re.sub(r"^::: notes\n.*?^:::\n", "", prose(document), flags=re.DOTALL | re.MULTILINE)
    assert typed_results(text) == []


@pytest.mark.parametrize("text", ["an error of 6.1 months", "n = 2,611", "80 % of them", "38 runs"])
def test_a_typed_result_is_found(text):
    assert typed_results(text)


def test_nothing_of_this_machine_is_in_the_sources():
    for file in REPORT.rglob("*"):
        if file.suffix in (".qmd", ".yml", ".lua", ".css", ".typ", ".bib"):
            assert "/work/" not in file.read_text(encoding="utf-8")
