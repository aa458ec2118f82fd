"""How a notebook shows a table: estimates with their intervals, no needless digits, no index."""

import math
import re
from numbers import Real
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # half a second to import, which the command line need not wait for
    import pandas as pd

DIGITS = 3
# Of a longer table, the first and the last rows are shown.
MOST_ROWS = 60
ABSENT = "–"
HEADING = re.compile(r"<th>.*?</th>")
NO_ROWS = "No rows: there is nothing to list here."


class Table:
    """A table to be displayed; its file keeps the numbers in full.

    Three columns `x`, `x_low`, `x_high` become one, "x (95 % CI)". An index is shown only if it has
    a name.
    """

    def __init__(self, frame: "pd.DataFrame") -> None:
        self.frame = _readable(frame if frame.index.names == [None] else frame.reset_index())

    def __repr__(self) -> str:
        return self.frame.to_string(index=False, max_rows=MOST_ROWS) if len(self.frame) else NO_ROWS

    def _repr_html_(self) -> str:
        if not len(self.frame):
            return f"<p><em>{NO_ROWS}</em></p>"
        import pandas as pd

        # A "$" in an id is a letter, not the start of a formula.
        with pd.option_context("display.max_colwidth", None, "display.html.use_mathjax", False):
            html = self.frame.to_html(index=False, border=0, justify="left", max_rows=MOST_ROWS)
        # Long headings may be broken, so that the table is not wider than the page.
        return HEADING.sub(lambda heading: heading[0].replace("_", "_<wbr>"), html)


def _readable(frame: "pd.DataFrame") -> "pd.DataFrame":
    import pandas as pd

    columns: dict[str, list[str]] = {}
    for name in map(str, frame.columns):
        is_bound = any(
            name.endswith(end) and name.removesuffix(end) in frame for end in ("_low", "_high")
        )
        if is_bound:
            continue
        if f"{name}_low" in frame and f"{name}_high" in frame:
            triples = zip(frame[name], frame[f"{name}_low"], frame[f"{name}_high"], strict=True)
            columns[f"{name} (95 % CI)"] = [_estimate(*triple) for triple in triples]
        else:
            values = list(frame[name])
            columns[name] = [_text(value, _common_decimals(values)) for value in values]
    return pd.DataFrame(columns, dtype=object)


def _common_decimals(values: list[Any]) -> int | None:
    """Return how many decimals suit all numbers of a column; None if they differ too much."""
    sizes = [abs(float(x)) for x in values if isinstance(x, Real) and math.isfinite(x) and x]
    if not sizes or all(size == round(size) for size in sizes):
        return 0
    decimals = _decimals(max(sizes))
    return decimals if round(min(sizes), decimals) else None


def _text(value: Any, decimals: int | None) -> str:
    """Return a cell's text: three significant digits, "yes" or "no", a dash for what is absent."""
    if isinstance(value, bool) or type(value).__name__ == "bool":  # NumPy's too
        return "yes" if value else "no"
    if value is None:
        return ABSENT
    if not isinstance(value, Real):
        return str(value)
    value = float(value)
    if math.isnan(value):
        return ABSENT
    if decimals is None:
        return f"{value:.{DIGITS}g}"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    grouped = "," if abs(value) >= 10_000 else ""
    return f"{value:{grouped}.{decimals}f}".replace("-", "−")


def _decimals(largest: float) -> int:
    size = math.floor(math.log10(largest)) if largest else 0
    return min(max(DIGITS - 1 - size, 1 if size < DIGITS else 0), DIGITS)


def _estimate(value: float, low: float, high: float) -> str:
    known = [abs(float(x)) for x in (value, low, high) if x is not None and math.isfinite(x)]
    decimals = _decimals(max(known)) if known else 0
    centre, low_text, high_text = (_text(x, decimals) for x in (value, low, high))
    if ABSENT in (low_text, high_text):
        return centre
    # A dash between numbers of which one is negative would be misread.
    between = " to " if "−" in low_text + high_text else "–"
    return f"{centre} ({low_text}{between}{high_text})"
