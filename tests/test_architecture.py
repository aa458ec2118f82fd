"""Every dependency points downwards: a package imports those below it, and none above."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[1] / "h2a_lib"
# From the bottom to the top.
LAYERS = (
    "errors",
    "files",
    "study",
    "data",
    "phantoms",
    "models",
    "analysis",
    "figures",
    "pipeline",
    "report",
    "commands",
)


def modules() -> dict[str, Path]:
    """Return each module's file by its dotted name within the library: "data.labels"."""
    names = {}
    for file in sorted(LIBRARY.rglob("*.py")):
        parts = file.relative_to(LIBRARY).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return names


MODULES = modules()


def imports(file: Path) -> set[str]:
    """Return the library's modules that a file imports, inside functions and for types too."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert not node.level, f"{file}: a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    inside = {name.removeprefix("h2a_lib.") for name in names if name.startswith("h2a_lib.")}
    # `from package.module import name`: the module is what is imported.
    return {name if name in MODULES else name.rpartition(".")[0] for name in inside} - {""}


def test_only_errors_and_files_stand_outside_a_package():
    loose = {file.stem for file in LIBRARY.glob("*.py")} - {"__init__"}
    assert loose == {"errors", "files"}
    packages = {folder.name for folder in LIBRARY.iterdir() if (folder / "__init__.py").exists()}
    assert packages | loose == set(LAYERS)


@pytest.mark.parametrize("name", sorted(MODULES.keys() - {""}))
def test_a_module_imports_nothing_from_above(name):
    layer = LAYERS.index(name.split(".")[0])
    above = {used for used in imports(MODULES[name]) if LAYERS.index(used.split(".")[0]) > layer}
    assert not above


def test_no_module_imports_itself_through_others():
    graph = {name: imports(file) - {name} for name, file in MODULES.items() if name}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")
    assert set(graph) <= set(order)
