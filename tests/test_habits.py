"""What keeps the project clean: nothing of a patient in git, every package's licence known."""

import importlib.util
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]


def load(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


kept_out, licences = load("kept_out"), load("licences")


def in_git() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    return listed.stdout.decode().strip("\0").split("\0")


def test_git_holds_nothing_that_must_be_kept_out():
    files = [name for name in in_git() if (ROOT / name).is_file()]
    assert len(files) > 100
    refused = {name: kept_out.problem(name, (ROOT / name).read_bytes()) for name in files}
    assert {name: why for name, why in refused.items() if why} == {}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("results/rsna/figures/hand.png", b"\x89PNG"),
        ("docs/hand.dcm", b"\0" * 128 + b"DICM"),
        ("tests/weights.safetensors", b"x"),
        ("docs/large.txt", b"x" * 600_001),
        ("docs/figure.svg", b"<image href='data:image/png;base64," + b"A" * 30_000 + b"'/>"),
        ("docs/decks/rsna.pdf", b"%PDF-1.7 1 0 obj<</Type/XObject/Subtype/Image/Width 900>>"),
        ("results/rsna/predictions.csv", b"id,age_months\n1377,180\n"),
    ],
)
def test_what_could_show_a_patient_is_refused(name, content):
    assert kept_out.problem(name, content)


def test_an_inspected_file_is_accepted_with_its_content_alone():
    for name in kept_out.INSPECTED:
        content = (ROOT / name).read_bytes()
        assert kept_out.problem(name, content) is None
        assert kept_out.problem(name, content + b"x")
        assert kept_out.problem(f"docs/hand{Path(name).suffix}", content)


def test_tables_and_drawings_are_taken():
    assert kept_out.problem("results/rsna/tables/counts.csv", b"set,n\ntrain,10000\n") is None
    assert kept_out.problem("docs/figure.svg", b"<svg><path d='M0 0'/></svg>") is None


def test_no_file_names_a_package_registry():
    hosts = re.compile(
        r"https?://[\w.-]*(?:py[p]i|python[h]osted|npm[j]s|anaconda\.org|artifactory)[\w.-]*"
    )
    for name in in_git():
        if (ROOT / name).suffix not in (".png", ".lock"):
            text = (ROOT / name).read_text(encoding="utf-8", errors="ignore")
            assert not hosts.search(text), name


def test_every_locked_package_has_its_licence_in_the_list():
    rows = re.findall(r"^\| ([\w.-]+) \| (.+) \|$", (ROOT / "docs/licences.md").read_text(), re.M)
    listed = dict(rows[1:])  # after the heading's row
    listed.pop("---", None)
    assert set(listed) == set(licences.locked())
    assert "not said" not in listed.values()


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert citation["version"] == project["version"]
    assert f"## {project['version']}" in (ROOT / "CHANGELOG.md").read_text()
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()


def test_each_hook_runs_a_tool_of_the_locked_environment():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    assert {hook["id"] for hook in hooks} >= {"ruff", "ruff-format", "nbstripout", "mypy"}
    lock = (ROOT / "requirements.lock").read_text()
    for hook in hooks:
        tool = Path(hook["entry"].split()[0])
        assert tool.parent == Path(".venv/bin")
        assert tool.name == "python" or f"\n{tool.name}==" in lock
