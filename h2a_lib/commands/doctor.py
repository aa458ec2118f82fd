"""`h2a doctor`: what this machine has and lacks for a study."""

import platform
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import typer

from h2a_lib.commands.shared import print_table
from h2a_lib.errors import UserError


def command() -> None:
    """Show what this machine has and what it lacks; exit code 1 if something needed is missing."""
    from h2a_lib.study.workspace import CONFIG_FILE, project_root

    try:
        root = project_root()
    except UserError:
        root = Path.cwd()
    table = [*machine_findings(root)]
    if (root / CONFIG_FILE).is_file():
        table += data_findings(root)
    else:
        remedy = "clone the project; `h2a predict` and `h2a data` work without"
        table.append(Finding("study", f"no {CONFIG_FILE} here or above", False, remedy))
    raise typer.Exit(1 if show(table) else 0)


@dataclass(frozen=True)
class Finding:
    """One item of the check; the report cannot be made without what is `needed`."""

    what: str
    state: str
    good: bool = True
    remedy: str = ""
    needed: bool = False


def machine_findings(root: Path) -> Iterator[Finding]:
    """Check Python, processor, GPU, memory, the disk that holds `root`, and Quarto."""
    from h2a_lib.data.pool import memory
    from h2a_lib.pipeline import gpus
    from h2a_lib.study.provenance import describe_machine, machine

    yield Finding("Python", platform.python_version())
    yield Finding("machine", describe_machine(machine()))
    if places := gpus.places():
        yield Finding("GPUs", f"{len(gpus.listed())}, room for {len(places)} runs at a time")
    gigabytes = memory() / 2**30
    yield Finding("memory", f"{gigabytes:.0f} GB", gigabytes >= 4, "the demo needs 4 GB", True)
    free = shutil.disk_usage(root).free / 1e9
    yield Finding("disk", f"{free:.0f} GB free", free >= 2, "the demo needs 2 GB", True)
    quarto = shutil.which("quarto")
    yield Finding(
        "Quarto", quarto or "not found", bool(quarto), "not needed: Pandoc and Typst render instead"
    )


def data_findings(root: Path) -> Iterator[Finding]:
    """Check study.yaml, and which data its profiles have."""
    from h2a_lib.study import config
    from h2a_lib.study.workspace import CONFIG_FILE

    try:
        parsed = config.load(root / CONFIG_FILE)
    except UserError as error:
        yield Finding("study", str(error), False, f"mend {CONFIG_FILE}", needed=True)
        return
    wrong = (m for name in parsed.profiles for m in parsed.wrong_experiments(name).values())
    for message in dict.fromkeys(wrong):
        yield Finding("study", message, False, f"mend {CONFIG_FILE}")
    for name, profile in parsed.profiles.items():
        if profile.data is None:
            yield Finding(f"data of {name}", "synthetic, drawn when needed")
            continue
        folder = root / profile.data
        yield Finding(
            f"data of {name}",
            str(profile.data) if folder.is_dir() else "not found",
            folder.is_dir(),
            f"h2a data fetch --source … --out {profile.data} (docs/rsna-data.md)",
        )


def show(findings: Iterable[Finding]) -> bool:
    """Print the findings; return whether something needed is missing."""
    from rich.markup import escape
    from rich.table import Table

    table = Table("", "what", "found", "what to do")
    missing = False
    for finding in findings:
        mark = "ok" if finding.good else "missing" if finding.needed else "–"
        missing |= finding.needed and not finding.good
        remedy = "" if finding.good else finding.remedy
        table.add_row(mark, *map(escape, (finding.what, finding.state, remedy)))
    print_table(table)
    return missing
