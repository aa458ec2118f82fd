"""The ways to install agree with each other, and what cannot be built here names what exists."""

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.version import Version
from typer.main import get_command

from h2a_lib.commands.app import app

ROOT = Path(__file__).parents[1]
CONDA_NAMES = {
    "pytorch": "torch",
    "py-opencv": "opencv-python-headless",
    "snakemake-minimal": "snakemake",
    "typst-py": "typst",
    "playwright-python": "playwright",
}
ONLY_CONDA = {"python", "pip", "quarto"}


def declared() -> dict[str, str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = project["dependencies"] + project["optional-dependencies"]["dev"]
    return dict(split(line) for line in lines)


def split(requirement: str) -> tuple[str, str]:
    name, wanted = re.fullmatch(r"([A-Za-z0-9_-]+)(.*)", requirement).groups()
    return CONDA_NAMES.get(name, name), wanted


def test_environment_yml_names_the_packages_of_pyproject_with_the_same_versions():
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    pip = next(entry for entry in listed if isinstance(entry, dict))["pip"]
    names = [entry for entry in listed if isinstance(entry, str)] + pip
    conda = dict(split(entry) for entry in names if entry != "-e .")
    assert {name: conda[name] for name in conda if name not in ONLY_CONDA} == declared()
    assert "quarto" in conda
    assert "-e ." in pip


def test_lock_pins_every_declared_package_with_hashes_and_without_addresses():
    lock = (ROOT / "requirements.lock").read_text()
    pinned = set(re.findall(r"^([A-Za-z0-9._-]+)==", lock, re.MULTILINE))
    assert {name.lower() for name in declared()} <= pinned
    entries = re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE)[1:]
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in lock


def test_each_package_of_pip_says_why_it_is_not_condas():
    text = (ROOT / "environment.yml").read_text()
    lines = text.partition("- pip:\n")[2].splitlines()
    packages = [k for k, line in enumerate(lines) if line.strip().startswith("-")]
    for k in packages[:-1]:  # the last is the project itself
        assert " # " in lines[k] or lines[k - 1].strip().startswith("# "), lines[k]


# --- what cannot be built here ---

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
INSTRUCTIONS = {"FROM", "ARG", "RUN", "WORKDIR", "COPY", "ENTRYPOINT", "CMD"}
MAKE_TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
MODULES = {"pip", "pytest"}


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile, each with its arguments."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.M)
    lines = text.replace("\\\n", " ").splitlines()
    return [tuple(line.split(maxsplit=1)) for line in lines if line.strip()]


def test_the_dockerfile_is_a_list_of_instructions_whose_files_exist():
    listed = instructions()
    assert {name for name, _ in listed} <= INSTRUCTIONS and listed[0][0] == "FROM"
    ignored = (ROOT / ".dockerignore").read_text().split()
    for name, arguments in listed:
        if name == "COPY":
            *sources, _ = arguments.split()
            assert all((ROOT / source).exists() for source in sources), arguments
            assert not set(sources) & set(ignored)
        elif name in ("ENTRYPOINT", "CMD"):
            assert isinstance(json.loads(arguments), list)
    entry, default = (json.loads(dict(listed)[name]) for name in ("ENTRYPOINT", "CMD"))
    assert entry == ["h2a"] and default[0] in get_command(app).commands


def test_versions_of_uv_and_quarto_are_the_same_everywhere():
    dockerfile, makefile = ((ROOT / name).read_text() for name in ("Dockerfile", "Makefile"))
    (uv,) = re.findall(r"^UV := (\S+)$", makefile, re.M)
    assert re.findall(r"\buv==(\S+)", dockerfile) == [uv]
    (oldest,) = re.findall(r"Quarto (\S+) is the oldest", (ROOT / "docs/deck.md").read_text())
    assert f"- quarto>={oldest} " in (ROOT / "environment.yml").read_text()
    (quarto,) = re.findall(r"^ARG QUARTO=(\S+)$", dockerfile, re.M)
    assert Version(quarto) >= Version(oldest)


def test_the_devcontainer_is_json_and_refers_to_what_exists():
    folder = ROOT / ".devcontainer"
    content = json.loads((folder / "devcontainer.json").read_text())
    build = content["build"]
    assert (folder / build["dockerfile"]).resolve() == ROOT / "Dockerfile"
    assert (folder / build["context"]).resolve() == ROOT


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_a_workflow_has_triggers_and_jobs_of_steps_that_can_be_run(file):
    content = yaml.safe_load(file.read_text())
    # YAML 1.1 takes "on" for true.
    assert content["name"] and content[True] and content["permissions"] and content["jobs"]
    for job in content["jobs"].values():
        assert job["runs-on"] and job["timeout-minutes"] and job["steps"]
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step), step
            if "uses" in step:
                assert re.fullmatch(r"[\w-]+(?:/[\w-]+)+@v\d+", step["uses"]), step
            else:
                check_command(step["run"])


def check_command(line: str) -> None:
    """Check that a line calls a target of the Makefile, a command of ours or a known module."""
    program, *words = line.split()
    profiles = yaml.safe_load((ROOT / "study.yaml").read_text())["profiles"]
    if program == "make":
        assert words[0] in MAKE_TARGETS, line
        named = re.findall(r"PROFILE=(\S+)", line)
    elif program == "h2a":
        command = get_command(app).commands[words[0]]
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, line
        named = re.findall(r"--profile (\S+)", line)
    else:
        assert program == "python" and words[0] == "-m" and words[1] in MODULES, line
        named = []
    assert set(named) <= set(profiles), line


@pytest.mark.parametrize(
    "file", [ROOT / "Dockerfile", ROOT / "environment.yml", *WORKFLOWS], ids=lambda file: file.name
)
def test_what_was_not_built_here_says_so(file):
    header = file.read_text().partition("\n\n")[0]
    assert re.search(r"^# Not (built|run) here", header, re.M)


def test_the_docs_say_what_was_not_built_here():
    install = (ROOT / "docs" / "get-started.md").read_text().partition("## Run the demo")[0]
    for name in ("conda", "Docker", "Binder", "have not been built"):
        assert name in install
