"""The documentation names what exists, and its numbers are those of the published results."""

import ast
import re
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import yaml
from typer.main import get_command

from h2a_lib.analysis.clusters.groups import NO_LABEL
from h2a_lib.commands.app import app
from h2a_lib.files import read_json

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results" / "rsna-100px"
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
# From one fence to the next, indented in lists.
DECIMAL = re.compile(r"\d+\.\d+")
BLOCK = re.compile(r"^ *```\w*\n(.*?)^ *```", re.M | re.S)
by_file = pytest.mark.parametrize("file", DOCS, ids=lambda file: file.name)


def variables(name: str) -> dict[str, str]:
    return yaml.safe_load((RESULTS / "variables" / f"{name}.yml").read_text(encoding="utf-8"))


def without_n(text: str) -> str:
    """Turn "11.8 months (95 % CI 11.4–12.2, n = 2,611)" into what README prints."""
    return re.sub(r", n = [\d,]+", "", text)


AGE, SEX, CLUSTERS = (variables(name) for name in ("age", "sex", "clusters"))


def headline() -> list[str]:
    with_sex_input = re.search(
        r"the error is (.+?\)), lower than .+? the difference is ([\d.]+ months) (\(.+?)\),",
        AGE["sex_input_sentence"],
    )
    table = pd.read_csv(RESULTS / "tables" / "clusters_agreement.csv")
    label_free = table[table["trained_on"] == NO_LABEL]
    by_sex = label_free[label_free["truth"] == "sex"]
    best = by_sex.loc[by_sex["ari"].idxmax()]
    return [
        f"MAE {without_n(AGE['mae'])}",
        f"always the median age: {AGE['constant_mae'].split(' (')[0]}",
        f"MAE {without_n(with_sex_input[1])}",
        f"without the sex: {with_sex_input[2]} more {without_n(with_sex_input[3])})",
        f"AUC {without_n(SEX['auc'])}",
        f"from the age label alone: {SEX['label_auc'].split(' (')[0]}",
        f"highest ARI with sex {best['ari']:.3f} (adjusted p = {best['p_best']:.2f})",
        f"one age threshold: {CLUSTERS['baseline_ari']}",
        f"{int(AGE['n']):,} validation hands",
    ]


@pytest.mark.parametrize("text", headline())
def test_a_number_of_readme_is_that_of_the_published_results(text):
    assert text in README


def test_the_errors_that_readme_states_are_those_of_the_released_networks():
    folder = ROOT / "h2a_lib" / "pretrained"
    alone, given_sex = (
        read_json(folder / name / "metrics.json")["validation"]
        for name in ("age_and_sex", "age_given_sex")
    )
    assert f"| age, from the image alone | MAE {alone['mae_months']:.1f} months" in README
    assert f"| age, from image and sex | MAE {given_sex['mae_months']:.1f} months" in README
    assert f"| sex, from the image | AUC {alone['auc']:.3f} (" in README
    assert f"result on {alone['n']:,} validation hands" in README
    card = (folder / "age_and_sex" / "README.md").read_text(encoding="utf-8")
    (n,) = re.findall(r"on (\d+) re-cropped images of the official RSNA validation set", README)
    assert f"{n} of the 1,425 official RSNA validation images" in card


def test_readme_fits_one_screen():
    assert len(README.splitlines()) <= 60


def test_every_number_of_readmes_table_is_checked():
    cells = "\n".join(line for line in README.splitlines() if "95 % CI" in line or "ARI" in line)
    assert len(cells.splitlines()) == 4
    assert set(DECIMAL.findall(cells)) <= set(DECIMAL.findall(" ".join(headline())))


def test_what_was_measured_is_what_the_results_say():
    text = (ROOT / "docs" / "real-data.md").read_text(encoding="utf-8")
    runs = pd.read_csv(RESULTS / "tables" / "runs.csv")
    assert f"{len(runs)} runs on 9,000 training hands" in text
    error = runs.groupby("experiment")["mae_months"].mean()
    for experiment, sentence in {
        "data_25": "a quarter of the hands {} months",
        "data_50": "half {},",
        "resnet18": "all {} (",
        "data_25_equal_updates": "a quarter gives {}:",
    }.items():
        assert sentence.format(f"{error[experiment]:.1f}") in text
    for value in (AGE["mae"], AGE["sex_gap"], SEX["auc"], SEX["maturity_added"]):
        point, low, high = re.findall(r"\d+\.\d+", value)[:3]
        assert re.search(rf"{point}( months)? \({low}–{high}\)", text), value
    within_a_year = float(AGE["within_12"].split(" %")[0])
    assert f"{within_a_year:.0f} % of the estimates lie within a year of the label" in text
    pattern = r"by (\d+) percentage points \((?:[\w, -]+; )?((?:adjusted )?p .+?)\)"
    points, p = re.search(pattern, CLUSTERS["answer"]).groups()
    assert f"by {points} percentage points ({p.removeprefix('adjusted ')})" in text


def test_every_number_of_the_published_study_is_in_its_results():
    page = (ROOT / "docs" / "real-data.md").read_text(encoding="utf-8")
    section = page.partition("## At 100 pixels")[2].partition("\n## ")[0]
    files = [*RESULTS.glob("variables/*.yml"), RESULTS / "tables" / "clusters_agreement.csv"]
    numbers = DECIMAL.findall("\n".join(file.read_text(encoding="utf-8") for file in files))
    errors = pd.read_csv(RESULTS / "tables" / "runs.csv").groupby("experiment")["mae_months"].mean()
    known = {f"{value:.{digits}f}" for value in map(float, numbers) for digits in (1, 2, 3)}
    known |= {f"{value:.1f}" for value in errors}
    assert set(DECIMAL.findall(section)) <= known


@by_file
def test_every_link_leads_to_a_file(file):
    text = BLOCK.sub("", file.read_text(encoding="utf-8"))
    for address in re.findall(r"\]\(([^)\s]+)\)", text):
        if not address.startswith(("http://", "https://", "mailto:")):
            path, _, anchor = address.partition("#")
            target = file.parent / path if path else file
            assert target.exists(), address
            if anchor:
                headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.M)
                assert anchor in {heading.lower().replace(" ", "-") for heading in headings}


@by_file
def test_every_file_that_is_named_in_code_exists(file):
    """Paths from the project's folder, or within the library: "analysis/statistics/roc.py"."""
    text = file.read_text(encoding="utf-8")
    for path in re.findall(r"`((?:[\w.-]+/)+[\w.-]+\.(?:py|qmd|yaml|lua|typ))`", text):
        places = (ROOT, ROOT / "h2a_lib", ROOT / "h2a_lib" / "analysis")
        assert any((place / path).exists() for place in places), path


@by_file
def test_every_command_and_option_that_is_named_exists(file):
    commands = get_command(app).commands
    known = {name: {*commands[name].params} for name in commands}
    known |= {f"data {name}": {*sub.params} for name, sub in commands["data"].commands.items()}
    for line in re.findall(r"\bh2a ((?:data )?[a-z]+(?: [^`\n|#]*)?)", code_of(file)):
        words = line.split()
        name = " ".join(words[:2]) if words[0] == "data" and len(words) > 1 else words[0]
        assert name in known or name == "data", line
        options = {option for parameter in known[name] for option in parameter.opts}
        options |= {option for parameter in known[name] for option in parameter.secondary_opts}
        assert set(re.findall(r"(?<=\s)--[a-z-]+", line)) <= options, line


def test_every_command_has_a_row_in_get_started():
    table = (ROOT / "docs" / "get-started.md").read_text(encoding="utf-8")
    commands = get_command(app).commands
    names = {name for name, one in commands.items() if not one.hidden and name != "data"}
    names |= {f"data {name}" for name in commands["data"].commands}
    assert {name for name in names if f"| `h2a {name}" not in table} == set()


def code_of(file: Path) -> str:
    """Return what a page shows as code: blocks, and what is between backquotes."""
    text = file.read_text(encoding="utf-8")
    return "\n".join([*BLOCK.findall(text), *re.findall(r"`([^`\n]+)`", BLOCK.sub("", text))])


def test_every_make_target_that_is_named_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for file in DOCS:
        assert set(re.findall(r"^make ([a-z-]+)", code_of(file), re.M)) <= targets, file.name


def test_the_tree_shows_every_folder_and_what_it_shows_exists():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    tree = BLOCK.search(text.partition("## Where things are")[2])[1]
    top = re.findall(r"^(\S+)  ", tree, re.M)
    inner = re.findall(r"^  (\w+)/  ", tree, re.M)
    assert all((ROOT / name).exists() for name in top)
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    files = [Path(name).parts for name in tracked.stdout.splitlines()]
    folders = {parts[0] for parts in files if len(parts) > 1 and not parts[0].startswith(".")}
    assert {name.strip("/") for name in top if name.endswith("/")} == folders
    library = {parts[1] for parts in files if parts[0] == "h2a_lib" and len(parts) > 2}
    assert set(inner) == library


def test_every_package_of_the_library_has_a_row():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    packages = {file.parent.name for file in (ROOT / "h2a_lib").glob("*/__init__.py")}
    assert {name for name in packages if f"| `{name}` |" not in text} == set()


def test_every_notebook_and_every_page_of_docs_is_linked():
    notebooks = (ROOT / "docs" / "notebooks.md").read_text(encoding="utf-8")
    assert all(f"notebooks/{file.name})" in notebooks for file in ROOT.glob("notebooks/*.ipynb"))
    everything = "\n".join(file.read_text(encoding="utf-8") for file in DOCS)
    for file in (ROOT / "docs").glob("*.md"):
        assert f"{file.name})" in everything, file.name


def test_examples_in_python_can_be_parsed():
    examples = [
        block
        for file in DOCS
        for block in re.findall(r"^ *```python\n(.*?)^ *```", file.read_text(), re.M | re.S)
    ]
    assert examples
    for example in examples:
        ast.parse("\n".join(line.removeprefix("   ") for line in example.splitlines()))
