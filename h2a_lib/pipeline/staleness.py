"""Which steps of a study must run, and why: by content, not by time stamps or place.

Each finished step leaves a record beside its outputs: its settings, a digest of each source file
it used, and the digests of the steps before it, down to the data. A step is up to date if the
record says what is true now and its outputs are there. The records are plain files, so a study
that is moved, copied or cloned is as up to date as before.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from h2a_lib.errors import UserError
from h2a_lib.files import read_json, sha256, write_json
from h2a_lib.pipeline.dependencies import PACKAGE, code_digests
from h2a_lib.pipeline.steps import DATA, Step, Steps
from h2a_lib.study.provenance import duration, now

MOST_REASONS = 3


@dataclass(frozen=True)
class Content:
    """What determines a step's result: settings, and digests by source file and by step before it.

    Code has the digest of its syntax tree, other files that of their bytes; "data" is a step too.
    """

    settings: Mapping[str, Any]
    code: Mapping[str, str]
    inputs: Mapping[str, str]

    @cached_property
    def digest(self) -> str:
        """Of all of it."""
        text = json.dumps([self.settings, self.code, self.inputs], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class Record(NamedTuple):
    """What a finished step has left: what it was made with, what it made, and how long it took.

    `hashes` has the SHA-256 of each figure, table and group of variables among the outputs.
    """

    content: Content
    outputs: tuple[Path, ...]
    seconds: float
    hashes: Mapping[str, str]

    def altered(self, root: Path) -> list[str]:
        """Return the results that are there and not as the step has left them."""
        return [
            name
            for name, digest in self.hashes.items()
            if (root / name).is_file() and sha256(root / name) != digest
        ]


class Stale(NamedTuple):
    """A step that must run, and why: "lr is now 0.003".

    `is_cause` says whether it would run even if no other step did; `seconds` how long it took
    before.
    """

    step: Step
    reason: str
    is_cause: bool
    seconds: float | None


def read_record(file: Path) -> Record | None:
    """Return a record; None if it is missing or unreadable."""
    try:
        read = read_json(file)
        content = Content(read["settings"], read["code"], read["inputs"])
        outputs, hashes = tuple(map(Path, read["outputs"])), dict(read.get("sha256", {}))
        return Record(content, outputs, float(read["seconds"]), hashes)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_record(file: Path, step: Step, content: Content, made: Iterable[str], s: float) -> None:
    """Write the record of a step that has just been done; `made` are its results, see `Record`."""
    made = list(made)
    outputs = dict.fromkeys([*map(str, step.outputs), *made])
    write_json(
        file,
        {
            "step": step.name,
            "digest": content.digest,
            "seconds": round(s, 1),
            "finished": now(),
            "outputs": list(outputs),
            "sha256": {name: sha256(Path(name)) for name in made},
            "settings": content.settings,
            "inputs": content.inputs,
            "code": content.code,
        },
    )


def contents_now(steps: Steps) -> dict[str, Content]:
    """Return what determines the result of each step now, by the step's name."""
    contents: dict[str, Content] = {}
    for step in steps.by_name.values():
        contents[step.name] = _content(step, steps, lambda name: contents[name].digest)
    return contents


def content_as_made(step: Step, steps: Steps) -> Content:
    """Return the content of a step that begins now: its inputs are as they were recorded."""

    def recorded(name: str) -> str:
        before = read_record(steps.study.root / steps.by_name[name].record)
        return before.content.digest if before else ""

    return _content(step, steps, recorded)


def _content(step: Step, steps: Steps, digest_of: Callable[[str], str]) -> Content:
    root = steps.study.root
    # The library is the one that runs, wherever it is installed; the notebooks are the study's.
    sources = [
        (PACKAGE.parent if source.startswith(PACKAGE.name) else root) / source
        for source in step.sources
    ]
    code = code_digests(sources, step.passed, step.without)
    code |= {str(file): sha256(root / file)[:16] for file in step.files}
    inputs = {n: steps.data_digest if n == DATA else digest_of(n) for n in step.needs}
    # Settings as they are when they have been written and read.
    return Content(json.loads(json.dumps(step.settings)), code, inputs)


def stale_steps(steps: Steps, targets: tuple[str, ...] = ("deck",)) -> list[Stale]:
    """Return the steps that lead to some targets and must run, each after those that it needs."""
    contents = contents_now(steps)
    stale: dict[str, Stale] = {}
    for step in steps.leading_to(targets):
        record = read_record(steps.study.root / step.record)
        reason, is_cause = _why(step, contents[step.name], record, steps, set(stale))
        if reason:
            stale[step.name] = Stale(step, reason, is_cause, record.seconds if record else None)
    return list(stale.values())


def _why(
    step: Step, content: Content, record: Record | None, steps: Steps, stale: set[str]
) -> tuple[str, bool]:
    """Return why a step must run ("" if it need not), and whether the cause is its own."""
    root = steps.study.root
    if record is None:
        # The preparation of the data makes all arrays before the first step.
        begun = step.rule != "cache" and any((root / output).exists() for output in step.outputs)
        return ("no record says what it was made with" if begun else "not made yet"), True
    reasons = _changes(record.content.settings, content.settings)
    before, after = record.content.code, content.code
    if changed := [name for name in {**before, **after} if before.get(name) != after.get(name)]:
        reasons.append(f"code of {_list(changed)} changed")
    before, after = record.content.inputs, content.inputs
    if before.get(DATA) != after.get(DATA):
        reasons.append("the data changed")
    if {*before} != {*after}:
        reasons.append("other runs are wanted")
    for output in {**dict.fromkeys(step.outputs), **dict.fromkeys(record.outputs)}:
        if not (root / output).exists():
            reasons.append(f"{output} is missing")
            break
    if altered := record.altered(root):
        reasons.append(f"{_list(altered)} {'was' if len(altered) == 1 else 'were'} changed since")
    if reasons:
        return "; ".join(reasons), True
    later = [name for name in step.needs if name in stale]
    if not (later := later or [name for name in after if before[name] != after[name]]):
        return "", False
    labels = [steps.by_name[name].label if name in steps.by_name else name for name in later]
    return f"follows {_list(labels)}", False


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    changes = []
    for key in {**before, **after}:
        if key not in after:
            changes.append(f"{key} is no longer a setting")
        elif key == "study.yaml" and before.get(key) != after[key]:
            changes.append("study.yaml changed")
        elif before.get(key, ...) != after[key]:
            changes.append(f"{key} is now {_text(after[key])}")
    return changes


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(
            str(part) if key == "name" else f"{key} {_text(part)}" for key, part in value.items()
        )
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value) or "not set"


def _list(names: list[str]) -> str:
    more = len(names) - MOST_REASONS
    return ", ".join(names[:MOST_REASONS]) + (f" and {more} more" if more > 0 else "")


def check_results(results: Path, root: Path, remedy: str) -> None:
    """Refuse results that somebody has changed: a UserError names them, and the remedy.

    Published results have no records, and pass.
    """
    records = map(read_record, sorted((results / "steps").glob("[!.]*.json")))
    altered = [name for record in records if record for name in record.altered(root)]
    if altered:
        names = "\n".join(f"  {name}" for name in altered)
        raise UserError(f"changed after the study had made them; {remedy}:\n{names}")


# --- in words ---


def summary(stale: list[Stale], n_steps: int, parallel: int) -> str:
    """Return "21 of 40 steps: lr of resnet34 is now 3e-3; about 12 min"."""
    causes = Counter(one.reason for one in stale if one.is_cause)
    reasons = []
    for reason, times in causes.most_common():
        labels = [one.step.label for one in stale if one.is_cause and one.reason == reason]
        where = labels[0] if times == 1 else f"{times} steps"
        reasons.append(f"{where}: {reason}")
    parts = [f"{len(stale)} of {n_steps} steps", _list(reasons)]
    if all(one.seconds is not None for one in stale):
        total = sum(one.seconds or 0.0 for one in stale)
        longest = max((one.seconds or 0.0 for one in stale), default=0.0)
        parts.append(f"about {duration(max(longest, total / parallel))}")
    return "; ".join(parts)


def listing(stale: list[Stale]) -> list[str]:
    """Return a line for each step that must run: why, and how long it took the last time."""
    width = max((len(one.step.label) for one in stale), default=0)
    return [
        f"{one.step.label:<{width}}  {one.reason}"
        + ("" if one.seconds is None else f"  ({duration(one.seconds)} the last time)")
        for one in stale
    ]
