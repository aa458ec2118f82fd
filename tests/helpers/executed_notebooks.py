"""What an executed notebook must show: every figure, every table, no path, no warning."""

import re

PATH = re.compile(r"PosixPath|(?<![\w<])/(?:[\w.-]+/)+[\w.-]+|\b(?:runs|results|cache)/[\w.-]+/")
WARNING = re.compile(r"\w*Warning\b")
TABLE = re.compile(r"study\.(table|variables)\(")
NOTHING_TO_DRAW = "has nothing to show here"


def texts(cell) -> list[str]:
    """Return every text that a cell's outputs show."""
    shown = []
    for output in cell["outputs"]:
        if output["output_type"] == "stream":
            shown.append(_joined(output["text"]))
        elif output["output_type"] == "error":
            shown.append(output["evalue"])
        else:
            shown += [
                _joined(text)
                for kind, text in output.get("data", {}).items()
                # An image's own text is never shown beside it.
                if kind.startswith("text/") and not has_image([output])
            ]
    return shown


def has_image(outputs) -> bool:
    kinds = {kind for output in outputs for kind in output.get("data", {})}
    return bool(kinds & {"image/png", "image/svg+xml"})


def problems_of(cells: list) -> list[str]:
    """Return what is wrong with executed cells: a figure or a table unseen, a path, a warning."""
    problems = []
    for cell in cells:
        source = _joined(cell["source"])
        shown = "\n".join(texts(cell))
        draws, tabulates = "study.show(" in source, TABLE.search(source)
        has_table = any("text/html" in output.get("data", {}) for output in cell["outputs"])
        if draws and not has_image(cell["outputs"]) and NOTHING_TO_DRAW not in shown:
            problems.append(f"no image: {source}")
        if tabulates and not has_table:
            problems.append(f"no table: {source}")
        problems += [f"{result}: {source}" for result in PATH.findall(shown)]
        problems += [f"{result}: {source}" for result in WARNING.findall(shown)]
    return problems


def _joined(text: str | list[str]) -> str:
    """Return a text that a notebook's file may keep as a list of lines."""
    return "".join(text)
