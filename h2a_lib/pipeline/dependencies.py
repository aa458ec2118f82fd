"""Which files of the library a notebook or module uses: what makes its results stale."""

import ast
import json
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def files_used_by(source: Path) -> list[Path]:
    """Return the library's files that a notebook or module imports, directly or through others.

    Imports inside functions count too. Found by reading, so nothing is run.

    Parameters
    ----------
    source : Path
        A notebook or a Python file.

    Returns
    -------
    list of Path
        Sorted; `source` itself among them if it is the library's.
    """
    found: set[Path] = set()
    waiting = [source]
    while waiting:
        for file in _imports(waiting.pop()):
            if file not in found:
                found.add(file)
                waiting.append(file)
    return sorted(found | ({source} if source.is_relative_to(PACKAGE) else set()))


@cache
def _imports(source: Path) -> frozenset[Path]:
    text = source.read_text(encoding="utf-8")
    if source.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        # Lines of the notebook's own language ("%matplotlib") import nothing of ours.
        text = "\n".join(
            line for cell in code for line in cell.splitlines() if line[:1] not in ("%", "!")
        )
    found: set[Path] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= _files(node.module)
            for alias in node.names:
                found |= _files(f"{node.module}.{alias.name}")
        elif isinstance(node, ast.Import):
            for alias in node.names:
                found |= _files(alias.name)
    return frozenset(found)


def _files(module: str) -> set[Path]:
    """Return a module's file with those of the packages around it; nothing if it is not ours."""
    parts = module.split(".")
    if parts[0] != PACKAGE.name:
        return set()
    base = PACKAGE.joinpath(*parts[1:])
    file = base.with_suffix(".py") if len(parts) > 1 else PACKAGE / "__init__.py"
    if not file.is_file():
        file = base / "__init__.py"
    if not file.is_file():  # a name inside a module, which its own import has found
        return set()
    around = [PACKAGE.joinpath(*parts[1:i]) / "__init__.py" for i in range(1, len(parts))]
    return {file, *(init for init in around if init.is_file())}
