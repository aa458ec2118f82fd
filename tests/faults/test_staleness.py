"""After a change exactly the steps that depend on it run again: none missed, none spurious.

What depends on what is written down here a second time, and found by other means than the
pipeline's own: imports by Python's modulefinder, settings by a merge of study.yaml as plain YAML.
The unit is a file: any change of a module's code makes all that import it stale. `H2A_CAMPAIGN=1`
tries all changes; without it every sixteenth.
"""

import ast
import base64
import copy
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from modulefinder import ModuleFinder
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from checkout import ROOT, copy_checkout, environment
from data_folders import picture, write_image

pytestmark = pytest.mark.slow
EACH = 1 if "H2A_CAMPAIGN" in os.environ else 16
NOTEBOOKS = {
    "population": "01_population",
    "images": "02_images",
    "preprocessing": "03_preprocessing",
    "range_test": "04_lr_range_test",
    "run": "05_train",
    "compare": "06_compare_runs",
    "age_answer": "07_age_answer",
    "sex_answer": "08_sex_answer",
    "clusters": "09_clusters",
}
MODULES = {
    "cache": ("h2a_lib/data/cache.py",),
    "deck": ("h2a_lib/report/__init__.py", "h2a_lib/report/study_variables.py"),
}
# Runs steps, words messages, shares out work: no result depends on it.
WITHOUT_EFFECT = ["pipeline", "errors", "data.pool", "study.notebook"]
# And these determine no network's weights.
NOT_OF_A_RUN = [
    *("figures", "phantoms", "study.results", "study.provenance", "study.tables"),
    "study.workspace",
    # These act through the arrays of the cache step, which a run follows.
    *("data.decode", "data.dicom", "data.grey", "data.ingest", "data.measure"),
]
# The most modules that a training may depend on.
MOST_OF_A_RUN = 20
READ_RUNS = {"compare", "age_answer", "sex_answer", "clusters", "deck"}
CONFIG_ITSELF = {"compare", "deck"}  # study.yaml is shown, whatever is in it
# For each setting a value that it has nowhere in the smoke study.
OTHER = {
    "image_size_px": 40,
    "geometry": "squash",
    "contrast": "stretch",
    "pixel_norm": "batch",
    "augment": {"rotation_degrees": 3.0},
    "network": "resnet34",
    "pretrained": True,
    "train_fraction": 0.9,
    "loss": "smooth_l1",
    "optimizer": "sgd",
    "lr": 0.002,
    "weight_decay": 0.003,
    "schedule": "cosine",
    "epochs": 3,
    "batch_size": 8,
    "ema_decay": 0.9,
    "early_stopping_patience": 3,
    "precision": "32-true",
    "threads": 2,
}
UNRELATED = ("README.md", "Makefile", "CHANGELOG.md", "pyproject.toml", "docs/*.md", "tests/*.py")


class Change(NamedTuple):
    """What is changed, in words and for `staleness.py`, and the steps that must run again."""

    what: str
    change: dict[str, Any]
    expected: set[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return a checkout with a study.yaml of one line a value, and with what no step depends on."""
    folder = copy_checkout(tmp_path_factory.mktemp("staleness") / "h2a")
    study_file = yaml.safe_load((folder / "study.yaml").read_text())
    (folder / "study.yaml").write_text(as_text(study_file))
    for file in unrelated_files():
        copied = folder / file.relative_to(ROOT)
        copied.parent.mkdir(exist_ok=True)
        shutil.copy(file, copied)
    return folder


@pytest.fixture(scope="module")
def requested(folder) -> Iterator:
    """Return a function: a change to the steps that the graph would run."""
    script = Path(__file__).parents[1] / "helpers" / "staleness.py"
    with subprocess.Popen(
        [sys.executable, str(script), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment(folder),
    ) as process:

        def ask(change: dict[str, Any]) -> set[str]:
            process.stdin.write(json.dumps(change) + "\n")
            process.stdin.flush()
            return set(json.loads(process.stdout.readline()))

        yield ask
        process.stdin.close()


def test_unchanged_nothing_runs(requested):
    assert requested({}) == set()


def test_a_training_depends_on_few_modules(folder):
    modules = {file for file in modules_of_steps(folder)["run"] if has_code(file)}
    assert len(modules) <= MOST_OF_A_RUN, sorted(map(str, modules))


KINDS = (
    "module",
    "formatting",
    "notebook",
    "setting",
    "experiments",
    "label",
    "image",
    "deck",
    "nothing",
)


@pytest.mark.parametrize("kind", KINDS)
def test_exactly_the_steps_that_depend_on_a_change_run_again(folder, requested, kind):
    changes = list(globals()[f"of_{kind}"](folder))
    wrong = {}
    for one in changes[::EACH]:
        stale = requested(one.change)
        if stale != one.expected:
            wrong[one.what] = {
                "missed": one.expected - stale,
                "spurious": stale - one.expected,
            }
    assert not wrong
    assert requested({}) == set(), "all was undone"
    if EACH == 1:
        print(f"\n{kind}: {len(changes)} changes")


# --- the changes, by kind ------------------------------------------------------------------------


def of_module(folder: Path) -> Iterator[Change]:
    used = modules_of_steps(folder)
    for module in sorted((folder / "h2a_lib").rglob("*.py")):
        direct = {step for step, modules in used.items() if module in modules}
        yield Change(str(module), append(folder, module, b"\nNEW = 1\n"), spread(folder, direct))


def of_formatting(folder: Path) -> Iterator[Change]:
    """Change comments, docstrings, blank lines and quotes: no code."""
    for module in sorted((folder / "h2a_lib").rglob("*.py")):
        tree = ast.parse(module.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
                node.body[0].value.value = "Another docstring."
        text = f"# A new comment.\n\n\n{ast.unparse(tree)}\n"
        yield Change(f"{module}, formatted", write(folder, module, text.encode()), set())
    file = folder / "study.yaml"
    yield Change("a comment in study.yaml", append(folder, file, b"\n# A comment.\n"), set())


def of_notebook(folder: Path) -> Iterator[Change]:
    for step, name in NOTEBOOKS.items():
        file = folder / "notebooks" / f"{name}.ipynb"
        for kind in ("code", "markdown", "parameters", "saved", "new parameter"):
            notebook = json.loads(file.read_text())
            cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
            (parameters,) = (
                cell for cell in cells if "parameters" in cell["metadata"].get("tags", ())
            )
            if kind == "code":
                cells[-1]["source"] = [*cells[-1]["source"], "\n", "1 + 1"]
            elif kind == "markdown":
                notebook["cells"][0]["source"] = ["# Another question?"]
            elif kind == "parameters":  # whatever is saved there, the report has its own
                lines = "".join(parameters["source"]).splitlines()
                names = [line.split("=")[0].strip() for line in lines if "=" in line]
                parameters["source"] = "\n".join(f"{name} = 7" for name in names)
            elif kind == "new parameter":  # which the report does not pass
                parameters["source"] = [*parameters["source"], "\n", "new = 1"]
            else:
                for k, cell in enumerate(cells):
                    cell["execution_count"] = k
                    cell["metadata"] |= {"collapsed": True}
                    cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["!"]}]
                    cell["source"] = [f"# A comment.\n\n{''.join(cell['source'])}\n"]
                notebook["metadata"] |= {"language_info": {"version": "3.99"}}
            direct = {step} if kind in ("code", "new parameter") else set()
            content = json.dumps(notebook, indent=4).encode()
            yield Change(f"{name}, {kind}", write(folder, file, content), spread(folder, direct))


def of_setting(folder: Path) -> Iterator[Change]:
    places = [("defaults",), ("profiles", "smoke", "settings"), ("experiments", "resnet18")]
    places += [("experiments", name) for name in ("sgd", "best", "sex", "augment", "lr_1e-2")]
    places += [("profiles", "smoke", "settings_of", "best"), ("profiles", "demo", "settings")]
    for k, place in enumerate(places):
        # All settings in the first places, every third in the others.
        for key in list(OTHER)[:: 1 if k < 2 else 3]:
            if (*place, key) != ("experiments", "sgd", "optimizer"):  # which is that already
                yield of_config(folder, (*place, key), OTHER[key])


def of_experiments(folder: Path) -> Iterator[Change]:
    smoke = ("profiles", "smoke")
    names = yaml.safe_load((folder / "study.yaml").read_text())["profiles"]["smoke"]["experiments"]
    yield of_config(folder, (*smoke, "experiments"), [n for n in names if n != "sgd"])
    yield of_config(folder, (*smoke, "experiments"), [*names, "geometry_squash"])
    yield of_config(folder, (*smoke, "seeds"), 2)
    yield of_config(folder, (*smoke, "more_seeds"), {"sex": 2})
    yield of_config(folder, (*smoke, "about"), "Another text.")
    yield of_config(folder, ("title",), "Another title")
    yield of_config(folder, ("experiments", "new"), {"lr": 0.1})


def of_label(folder: Path) -> Iterator[Change]:
    table = folder / "data" / "phantom" / "smoke" / "boneage-training-dataset.csv"
    lines = table.read_text().splitlines()
    for row in range(1, 25):
        key, age, male = lines[row].split(",")
        new = (age, str(male != "True")) if row % 2 else (str((int(age) + 7) % 200), male)
        text = "\n".join([*lines[:row], ",".join((key, *new)), *lines[row + 1 :]])
        yield Change(lines[row], write(folder, table, f"{text}\n".encode()), everything(folder))


def of_image(folder: Path) -> Iterator[Change]:
    images = folder / "data" / "phantom" / "smoke" / "boneage-training-dataset"
    for seed, image in enumerate(sorted(images.glob("*.png"))[:24]):
        other = write_image(folder.parent / "other.png", picture(seed, 160, 120)).read_bytes()
        yield Change(image.name, write(folder, image, other), everything(folder))


def of_deck(folder: Path) -> Iterator[Change]:
    yield Change("the renderer", {"renderer": "pandoc"}, {"deck"})
    files = [file for file in (folder / "report").rglob("*.*") if file.is_file()]
    for file in sorted(file for file in files if "_output" not in file.parts):
        yield Change(str(file), append(folder, file, b"\n"), {"deck"})


def of_nothing(folder: Path) -> Iterator[Change]:
    for file in unrelated_files():
        there = folder / file.relative_to(ROOT)
        yield Change(str(there), append(folder, there, b"\n"), set())
    for name in ("Snakefile", "requirements.lock", "cluster/slurm/config.yaml"):
        yield Change(name, append(folder, folder / name, b"\n# more\n"), set())
    yield Change("a new file", write(folder, folder / "h2a_lib" / "new.py", b"x = 1\n"), set())
    # As a fresh clone or a checkout of another branch and back leaves them.
    unchanged = [*(folder / "h2a_lib").rglob("*.py")][::8]
    unchanged += [*(folder / "notebooks").glob("*.ipynb"), folder / "study.yaml"]
    unchanged += [*(folder / "data" / "phantom" / "smoke").rglob("*.png")][::12]
    for file in unchanged:
        there = str(file.relative_to(folder))
        yield Change(f"{there}, touched", {"touch": there}, set())


# --- what depends on what ------------------------------------------------------------------------


def modules_of_steps(folder: Path) -> dict[str, set[Path]]:
    """Return the modules that each kind of step depends on."""
    sources = {step: [folder / "notebooks" / f"{name}.ipynb"] for step, name in NOTEBOOKS.items()}
    sources |= {step: [folder / name for name in names] for step, names in MODULES.items()}
    return {
        step: {
            module
            for source in of_step
            for module in imported(source, folder, NOT_OF_A_RUN if step == "run" else [])
        }
        for step, of_step in sources.items()
    }


def imported(source: Path, folder: Path, without: list[str]) -> set[Path]:
    """Return the library's modules that a notebook or module imports, found by modulefinder."""
    excluded = [f"h2a_lib.{name}" for name in (*WITHOUT_EFFECT, *without)]
    finder = ModuleFinder(path=[str(folder)], excludes=excluded)
    script = source
    if source.suffix == ".ipynb":
        cells = json.loads(source.read_text())["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        script = folder.parent / f"{source.stem}.py"
        script.write_text("\n".join(code).replace("%matplotlib", "# %matplotlib"))
    finder.run_script(str(script))
    files = {Path(module.__file__) for module in finder.modules.values() if module.__file__}
    return {file for file in files if file.is_relative_to(folder)}


def merged(folder: Path, study_file: dict[str, Any] | None = None) -> dict[str, dict[str, Any]]:
    """Return the settings of each experiment of the smoke study, by a merge of plain YAML."""
    study_file = study_file or yaml.safe_load((folder / "study.yaml").read_text())
    smoke = study_file["profiles"]["smoke"]
    return {
        name: study_file["defaults"]
        | smoke["settings"]
        | study_file["experiments"][name]
        | smoke["settings_of"].get(name, {})
        for name in smoke["experiments"]
    }


def cache_of(settings: dict[str, Any]) -> str:
    return f"cache/{settings['image_size_px']}px-{settings['geometry']}-{settings['contrast']}"


def of_config(folder: Path, place: tuple[str, ...], value: Any) -> Change:
    """Return a change of one value of study.yaml."""
    study_file = yaml.safe_load((folder / "study.yaml").read_text())
    before, new = merged(folder, study_file), copy.deepcopy(study_file)
    part = new
    for key in place[:-1]:
        part = part.setdefault(key, {})
    part[place[-1]] = value
    after, smoke = merged(folder, new), new["profiles"]["smoke"]
    runs = {name for name in after if after[name] != before.get(name)}
    seeds, earlier = seeds_of(smoke, after), seeds_of(study_file["profiles"]["smoke"], before)
    runs |= {name for name, n in seeds.items() if n > earlier.get(name, 0)}
    caches = {cache_of(one) for one in after.values()} - {cache_of(one) for one in before.values()}
    direct = caches | {f"run/{name}" for name in runs} | CONFIG_ITSELF
    if after["resnet18"] != before["resnet18"]:
        direct.add("range_test")
    if after["resnet18"]["image_size_px"] != before["resnet18"]["image_size_px"]:
        direct.add("images")
    if seeds != earlier or runs:
        direct |= READ_RUNS
    what = f"{'.'.join(place)}: {value}"
    return Change(what, write(folder, folder / "study.yaml", as_text(new).encode()), direct)


def seeds_of(profile: dict[str, Any], names: Iterable[str]) -> dict[str, int]:
    """Return how many seeds each experiment has."""
    return {
        name: profile.get("more_seeds", {}).get(name, profile.get("seeds", 1)) for name in names
    }


def spread(folder: Path, direct: Iterable[str]) -> set[str]:
    """Return some kinds of step as steps, with all that depend on them."""
    settings, result = merged(folder), set(direct)
    if "cache" in result:
        result |= {cache_of(one) for one in settings.values()} | {"range_test", "run"}
    if "run" in result:
        result |= {f"run/{name}" for name in settings} | READ_RUNS
    return (result | {"deck"} if result else result) - {"cache", "run"}


def has_code(module: Path) -> bool:
    body = ast.parse(module.read_text()).body
    return any(not isinstance(node, ast.Expr) for node in body)


def everything(folder: Path) -> set[str]:
    return spread(folder, {"cache", *NOTEBOOKS})


# --- how it is told ------------------------------------------------------------------------------


def write(folder: Path, file: Path, content: bytes) -> dict[str, str]:
    encoded = base64.b64encode(content).decode()
    return {"write": str(file.relative_to(folder)), "base64": encoded}


def append(folder: Path, file: Path, more: bytes) -> dict[str, str]:
    return write(folder, file, file.read_bytes() + more)


def as_text(study_file: dict[str, Any]) -> str:
    return yaml.safe_dump(study_file, sort_keys=False)


def unrelated_files() -> list[Path]:
    return sorted(file for pattern in UNRELATED for file in ROOT.glob(pattern))
