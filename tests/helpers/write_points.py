"""Find, by reading the code, every place of the library and the notebooks that writes a file."""

import ast
import json
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
ATOMIC = {"write_atomically", "write_folder_atomically"}
# The helpers of files.py that are atomic in themselves.
HELPERS = {"write_bytes", "write_text", "write_json", "write_yaml", "write_csv"}
# Calls by name that make or move files, wherever they come from.
WRITERS = {
    *("write_bytes", "write_text", "savefig", "imwrite", "save", "save_file", "tofile", "to_file"),
    *("savez", "savez_compressed", "savetxt", "to_parquet", "to_pickle", "to_excel", "to_feather"),
    *("open_memmap", "copy", "copy2", "copyfile", "copyfileobj", "copytree", "move", "rename"),
    *(
        "symlink_to",
        "hardlink_to",
        "link",
        "touch",
        "extract",
        "extractall",
        "mkstemp",
        "write_image",
    ),
    *("dump", "to_csv", "to_json", "replace"),
}
WRITING_MODES = set("wax+")


def in_library() -> Iterator[tuple[str, str, str, bool]]:
    """Yield (file, function, call, atomic) for each place that writes, files.py itself left out.

    `atomic` is whether it stands in a `with write_atomically(…)` or `write_folder_atomically(…)`,
    or calls a helper of files.py, which does.
    """
    for file in sorted((ROOT / "h2a_lib").rglob("*.py")):
        if file.name == "files.py" and file.parent.name == "h2a_lib":
            continue
        yield from in_source(file.read_text(encoding="utf-8"), file.relative_to(ROOT).as_posix())
    for file in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        yield from in_source("\n".join(code), file.relative_to(ROOT).as_posix())


def in_source(source: str, name: str) -> Iterator[tuple[str, str, str, bool]]:
    tree = ast.parse(source)
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "h2a_lib.files"
        for alias in node.names
    }
    yield from _within(tree, name, "", False, imported & HELPERS)


def _within(
    node: ast.AST, name: str, function: str, atomic: bool, helpers: set[str]
) -> Iterator[tuple[str, str, str, bool]]:
    if isinstance(node, ast.FunctionDef):
        function, atomic = node.name, False
    if isinstance(node, ast.With):
        atomic = atomic or any(_called(item.context_expr) in ATOMIC for item in node.items)
    if isinstance(node, ast.Call):
        called = _called(node)
        if isinstance(node.func, ast.Name) and called in helpers:
            yield name, function, called, True
        elif _writes(node, called):
            yield name, function, called, atomic
    for child in ast.iter_child_nodes(node):
        yield from _within(child, name, function, atomic, helpers)


def _called(node: ast.AST) -> str:
    if not isinstance(node, ast.Call):
        return ""
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _writes(call: ast.Call, called: str) -> bool:
    words = [arg.value for arg in call.args if isinstance(arg, ast.Constant)]
    words += [word.value.value for word in call.keywords if isinstance(word.value, ast.Constant)]
    if called in ("open", "memmap", "fdopen"):
        modes = [word for word in words if isinstance(word, str) and 0 < len(word) <= 3]
        return any(set(mode) & WRITING_MODES for mode in modes)
    if called == "load":  # numpy's, mapped for writing
        return "r+" in words
    if called == "replace":  # a path's takes one argument, a string's two, a frame's keywords
        return len(call.args) == 1 and not call.keywords
    if called in ("to_csv", "to_json"):  # without a path it returns text
        return bool(call.args)
    if called == "copy":  # an array's, a frame's and the module's take no path
        return len(call.args) == 2
    if called in ("dump", "link"):  # of packages that write files themselves
        return isinstance(call.func, ast.Attribute) and len(call.args) >= 2
    return called in WRITERS


def as_table(reasons: dict[tuple[str, str], str]) -> str:
    """Return the places as the table of docs/reliability.md."""
    places: dict[tuple[str, str], list[tuple[str, bool]]] = {}
    for file, function, call, atomic in in_library():
        places.setdefault((file, function), []).append((call, atomic))
    lines = [
        "| file | function | calls | why no incomplete file can appear |",
        "| --- | --- | --- | --- |",
    ]
    for (file, function), calls in places.items():
        names = ", ".join(dict.fromkeys(f"`{call}`" for call, _ in calls))
        why = "atomic writer" if all(atomic for _, atomic in calls) else reasons[file, function]
        lines.append(
            f"| {file.removeprefix('h2a_lib/')} | {function or '(cells)'} | {names} | {why} |"
        )
    return "\n".join(lines)
