"""study.yaml with unknown keys, wrong types, anchors, tags or bombs: a study, or one clear line."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from checkout import ROOT
from damage import attempt, examples
from hypothesis import given
from hypothesis import strategies as st

from h2a_lib.study import config as study

pytestmark = pytest.mark.slow
often = examples(120)
TEXT = (ROOT / "study.yaml").read_text(encoding="utf-8")
STUDY_FILE = yaml.safe_load(TEXT)
HERE = "PUT-IT-HERE"
LAUGHS = "\n".join(
    [
        "laughs:",
        "- &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha]",
        *(f"- &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, 10)),
    ]
)


def places(node: Any, path: tuple = ()) -> list[tuple]:
    """Return the way to every value of study.yaml."""
    results = [path] if path else []
    items = node.items() if isinstance(node, dict) else ()
    return results + [place for key, value in items for place in places(value, (*path, key))]


PLACES = places(STUDY_FILE)
VALUES = st.one_of(
    st.sampled_from(
        (
            *("null", "[]", "{}", "''", "-1", "0", "1.0e+999", ".nan", ".inf", "yes", "1e-3"),
            *("9" * 5000, "0x" + "f" * 400, "2026-11-24", "!!binary aGVsbG8=", "!!set {a, b}"),
            *("&a [*a]", "&b {b: *b}", "{<<: 3}", "{<<: [1, 2]}", "{<<: {lr: 1}, lr: 2}"),
            *("{lr: 1, lr: 2}", "{? [1, 2] : 3}", "{? {a: b} : 3}", "{1: 2}", "{null: 2}"),
            "!!python/object/apply:os.system ['id']",
            "!!python/name:os.system ''",
            "!!python/object/new:subprocess.Popen [['id']]",
            "!!float x",
            "!!int [1]",
            "[" * 3000 + "]" * 3000,
            "*a9",  # of the laughs, which stand above
            "[*a9, *a9]",
            "{lr: *a9}",
            "*unknown",
        )
    ),
    st.text(max_size=20).map(lambda text: yaml.safe_dump(text).removesuffix("...\n").strip()),
    st.integers().map(str),
    st.floats().map(lambda x: yaml.safe_dump(x).removesuffix("...\n").strip()),
)


def put(place: tuple, content: str, key: str | None = None) -> str:
    """Return study.yaml with a value replaced, or beside it an unknown key."""
    study_file = yaml.safe_load(TEXT)
    node = study_file
    for step in place[:-1]:
        node = node[step]
    node[key if key is not None else place[-1]] = HERE
    text = yaml.safe_dump(study_file, sort_keys=False, width=10**6)
    return text.replace(HERE, content)


def configurations(file: Path) -> list[study.RunConfig]:
    """Return every run of study.yaml."""
    loaded = study.load(file)
    return [loaded.run_config(name, one) for name in loaded.profiles for one in loaded.experiments]


def reply(folder: Path, content: bytes):
    """Return how study.yaml is taken: as a study, or refused in one line."""
    file = folder / "study.yaml"
    file.write_bytes(content)
    outcome = attempt(lambda: configurations(file), folder)
    if outcome.error is not None:
        assert len(outcome.error.splitlines()) == 1, outcome.error
        assert len(outcome.error) < 5_000
    return outcome


@often
@given(place=st.sampled_from(PLACES), value=VALUES)
def test_any_value_anywhere_is_a_study_or_one_line(tmp_path, place, value):
    text = put(place, value)
    if "*a9" in value:  # an anchor stands before its use
        text = f"{LAUGHS}\n{text}"
    outcome = reply(tmp_path, text.encode("utf-8", errors="surrogatepass"))
    assert outcome.result or outcome.error


@often
@given(place=st.sampled_from(PLACES), key=st.text(min_size=1, max_size=12), value=VALUES)
def test_an_unknown_key_anywhere_is_one_line(tmp_path, place, key, value):
    free = place[0] in ("profiles", "experiments") and len(place) == 2  # where names are given
    outcome = reply(tmp_path, put(place, "1", key).encode("utf-8", errors="surrogatepass"))
    known = key in study.Settings.model_fields or key in study.Profile.model_fields
    assert outcome.error or known or free or place == ("title",)


@often
@given(at=st.integers(0, len(TEXT)), length=st.integers(0, 400), noise=st.binary(max_size=60))
def test_any_bytes_anywhere_are_a_study_or_one_line(tmp_path, at, length, noise):
    content = TEXT.encode()
    outcome = reply(tmp_path, content[:at] + noise + content[at + length :])
    assert outcome.result or outcome.error


ABSURD = {
    "nothing": b"",
    "a list": b"- 1\n- 2\n",
    "two documents": TEXT.encode() + b"\n---\na: 1\n",
    "NULs": bytes(1000),
    "UTF-16": TEXT.encode("utf-16"),
    "a hundred thousand brackets": b"[" * 100_000,
    "a hundred thousand keys": b"".join(b"k%d: 1\n" % k for k in range(100_000)),
    "twenty thousand experiments": TEXT.encode()
    + b"".join(b"\n  e%d: {}" % k for k in range(20_000)),
    "laughs alone": LAUGHS.encode(),
    "laughs as title": f"{LAUGHS}\ntitle: *a9\n".encode(),
    "laughs of mappings": b"\n".join(
        [b"a0: &a0 {a: 1, b: 2}"]
        + [
            b"a%d: &a%d {<<: *a%d, x: *a%d, y: *a%d}" % (k, k, k - 1, k - 1, k - 1)
            for k in range(1, 60)
        ]
    ),
    "a picture": (ROOT / "study.yaml").read_bytes()[:0] + b"\x89PNG\r\n\x1a\n" + bytes(100),
}


@pytest.mark.parametrize("what", ABSURD)
def test_absurd_sheets_are_one_line_within_time_and_memory(what, tmp_path):
    assert reply(tmp_path, ABSURD[what]).error
