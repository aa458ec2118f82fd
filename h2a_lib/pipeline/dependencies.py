"""Which code determines the result of a step, and a digest of it.

A digest is of the syntax tree: comments, docstrings, blank lines and formatting do not count.
"""

import ast
import hashlib
import json
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

PACKAGE = Path(__file__).parents[1]
# Runs steps, words messages, shares out work: none of it changes what a step makes.
WITHOUT_EFFECT = ("pipeline/", "errors.py", "data/pool.py", "study/notebook.py")
# Where a statement keeps those inside it.
BLOCKS = ("body", "orelse", "handlers", "finalbody", "cases")


class Parsed(NamedTuple):
    """What was read of a source file."""

    tree: ast.Module
    magics: tuple[str, ...]
    """Lines of a notebook's own language: "%matplotlib inline"."""
    parameters: frozenset[str]
    """Names that a notebook's parameters cell assigns."""


class Code(NamedTuple):
    """What of a source file counts: the files of the library that it imports, and its digest."""

    imports: frozenset[Path]
    digest: str


def code_digests(
    sources: Iterable[Path], passed: Collection[str] = (), without: Collection[str] = ()
) -> dict[str, str]:
    """Return the digest of each file with code that notebooks or Python files use, by path.

    `passed` are parameters that a notebook is given: their defaults do not count. Nor do the parts
    of the package `without` ("figures/", "study/results.py") and what they alone import, besides
    `WITHOUT_EFFECT`.
    """
    digests = {}
    for source in sources:
        for file in {source, *files_used_by(source, (*WITHOUT_EFFECT, *without))}:
            name = file.relative_to(PACKAGE.parent) if PACKAGE.parent in file.parents else file.name
            code = _read(file, frozenset(passed if file == source else ()))
            if code.digest:
                digests[str(name)] = code.digest
    return dict(sorted(digests.items()))


def files_used_by(source: Path, without: Collection[str] = ()) -> list[Path]:
    """Return the library's files that a notebook or module imports, directly or through others.

    Imports inside functions count too, those for type checkers do not. Nothing is run. Files and
    folders (with a slash at the end) in `without` are passed over. The source is among them if it
    is the library's.
    """
    used: set[Path] = set()
    waiting = [source]
    while waiting:
        for file in _read(waiting.pop()).imports:
            name = file.relative_to(PACKAGE).as_posix()
            passed_over = any(
                name == part or (part.endswith("/") and name.startswith(part)) for part in without
            )
            if file not in used and not passed_over:
                used.add(file)
                waiting.append(file)
    return sorted(used | ({source} if source.is_relative_to(PACKAGE) else set()))


def _read(source: Path, passed: frozenset[str] = frozenset()) -> Code:
    return _code(source.read_text(encoding="utf-8"), source.suffix == ".ipynb", passed)


@lru_cache(maxsize=1000)
def _code(text: str, is_notebook: bool, passed: frozenset[str]) -> Code:
    """Parse a source; by its content, so that a file changed meanwhile is read anew."""
    parsed = _parse(text, is_notebook)
    return Code(_imports(parsed.tree), _digest(parsed, passed, is_notebook))


def _imports(tree: ast.Module) -> frozenset[Path]:
    files: set[Path] = set()
    for node in _walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            files |= _files(node.module)
            for alias in node.names:
                files |= _files(f"{node.module}.{alias.name}")
        elif isinstance(node, ast.Import):
            for alias in node.names:
                files |= _files(alias.name)
    return frozenset(files)


def _walk(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield all statements but those below `if TYPE_CHECKING`."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        match node:
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                continue
        yield node
        for block in BLOCKS:
            waiting += getattr(node, block, ())


@lru_cache(maxsize=1000)
def _files(module: str) -> frozenset[Path]:
    """Return a module's file with those of the packages around it; nothing if it is not ours."""
    parts = module.split(".")
    if parts[0] != PACKAGE.name:
        return frozenset()
    base = PACKAGE.joinpath(*parts[1:])
    file = base.with_suffix(".py") if len(parts) > 1 else PACKAGE / "__init__.py"
    if not file.is_file():
        file = base / "__init__.py"
    if not file.is_file():  # a name inside a module, which its own import has found
        return frozenset()
    around = [PACKAGE.joinpath(*parts[1:i]) / "__init__.py" for i in range(1, len(parts))]
    return frozenset({file, *(init for init in around if init.is_file())})


def _parse(text: str, is_notebook: bool) -> Parsed:
    if not is_notebook:
        return Parsed(ast.parse(text), (), frozenset())
    body: list[ast.stmt] = []
    magics: list[str] = []
    parameters: set[str] = set()
    for cell in json.loads(text)["cells"]:
        if cell["cell_type"] != "code":
            continue
        lines = "".join(cell["source"]).splitlines()
        magics += [line for line in lines if line[:1] in ("%", "!")]
        tree = ast.parse("\n".join(line for line in lines if line[:1] not in ("%", "!")))
        body += tree.body
        if "parameters" in cell.get("metadata", {}).get("tags", []):
            parameters |= {name for statement in tree.body for name in _assigned(statement)}
    return Parsed(ast.Module(body, []), tuple(magics), frozenset(parameters))


def _assigned(statement: ast.stmt) -> set[str]:
    match statement:
        case ast.Assign(targets=targets):
            return {target.id for target in targets if isinstance(target, ast.Name)}
        case ast.AnnAssign(target=ast.Name(id=name)):
            return {name}
    return set()


def _digest(parsed: Parsed, passed: frozenset[str], is_notebook: bool) -> str:
    """Return the hex digest of a source's code; "" if it has none."""
    unimportant = passed & parsed.parameters
    body = [
        statement
        for statement in parsed.tree.body
        if not ((names := _assigned(statement)) and names <= unimportant)
    ]
    parts: list[str] = []
    _append_tree(body, parts, keep_text=is_notebook)
    if len(parts) == 1 and not parsed.magics:
        return ""
    content = "\n".join([*parsed.magics, *parts]).encode("utf-8", "surrogatepass")
    return hashlib.sha256(content).hexdigest()[:16]


def _append_tree(value: Any, parts: list[str], keep_text: bool) -> None:
    """Append the parts of a syntax tree: the same for every Python version that can read it.

    `ast.dump` is not: versions differ in the empty fields that nodes have. A text that stands by
    itself, a docstring above all, is left out of a module; in a notebook it would be displayed.
    """
    if isinstance(value, list):
        for part in value:
            if keep_text or not _is_text(part):
                _append_tree(part, parts, keep_text)
        parts.append("]")
    elif isinstance(value, ast.AST):
        parts.append(type(value).__name__)
        for name in value._fields:
            part = getattr(value, name, None)
            if part is None or (isinstance(part, list) and not part):
                continue
            parts.append(name)
            if isinstance(part, list | ast.AST):
                _append_tree(part, parts, keep_text)
            else:
                parts.append(repr(part))
        parts.append(")")
    else:
        parts.append(repr(value))


def _is_text(statement: Any) -> bool:
    match statement:
        case ast.Expr(value=ast.Constant(value=str())):
            return True
    return False
