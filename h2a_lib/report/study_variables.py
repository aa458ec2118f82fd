"""What the report states about the study as a whole: data tier, runs, machine, time."""

import shlex
from collections import Counter
from collections.abc import Iterable

from h2a_lib.pipeline import ledger
from h2a_lib.pipeline.prepare import remembered_format
from h2a_lib.study import provenance
from h2a_lib.study.workspace import Study, format_runs

# Of the RSNA data alone: other data were never looked at while the recipe was made.
CAVEAT = (
    "Earlier versions of the recipe were tuned on the validation hands, which have been used for "
    "evaluation more than once; results on them are optimistic by an unknown amount."
)


def write_study_variables(study: Study) -> None:
    """Write the group of variables that no notebook computes."""
    runs = study.finished_runs()
    by_time = sorted((run.provenance for run in runs), key=lambda record: record["finished"])
    first, latest = by_time[0], by_time[-1]
    missing = describe_missing(study)
    evaluations = ledger.sentence(study.results_folder)
    config = runs[0].config
    sizes = sorted({run.config.image_size_px for run in runs})
    machines = (provenance.describe_machine(run.provenance["machine"]) for run in runs)
    study.results.variables(
        "study",
        {
            "title": study.config.title,
            "profile": study.profile_name,
            "about": study.profile.about,
            "tier": study.tier,
            "tier_label": study.tier_label,
            "command": report_command(study),
            "date": latest["finished"][:10],
            "commit": provenance.describe_commit(latest),
            "first_date": first["finished"][:10],
            "first_commit": provenance.describe_commit(first),
            "fingerprint": study.fingerprint[:12],
            "n_runs": len(runs),
            "n_experiments": len({run.config.experiment for run in runs}),
            "image_size_px": config.image_size_px,
            "image_sizes": " or ".join(f"{size} × {size}" for size in sizes),
            "epochs": config.epochs,
            "machine": _tally(machines),
            "training_time": provenance.duration(sum(r.provenance["seconds"] for r in runs)),
            "torch": _tally(run.provenance["packages"]["torch"] for run in runs),
            "lock": _tally((run.provenance["lock_sha256"] or "none")[:12] for run in runs),
            **({"caveat": CAVEAT} if study.tier == "rsna" else {}),
            **({"missing_runs": missing} if missing else {}),
            **({"evaluations": evaluations} if evaluations else {}),
        },
    )


def describe_missing(study: Study) -> str:
    """Return "resnet18 (seed 0) failed; sex (seed 0) diverged"; empty if no run is missing."""
    diverged: list[list[str | int]] = [list(run) for run in study.diverged_runs()]
    failed = [run for run in study.missing_runs() if run not in diverged]
    kinds: dict[str, list[list[str | int]]] = {"failed": failed, "diverged": diverged}
    return "; ".join(f"{format_runs(runs)} {kind}" for kind, runs in kinds.items() if runs)


def report_command(study: Study) -> str:
    """Return the line that makes this report again, from the project's folder."""
    words = ["h2a", "report", "--profile", study.profile_name]
    if study.name != study.profile_name:
        folder, root = study.data_folder.resolve(), study.root.resolve()
        inside = folder.is_relative_to(root)
        words += ["--data", str(folder.relative_to(root) if inside else folder)]
    words += remembered_format(study).options
    return shlex.join(words)


def _tally(values: Iterable[str]) -> str:
    """Return what all runs share, or "this (35 runs); that (1 run)" where they differ."""
    counted = Counter(values).most_common()
    if len(counted) == 1:
        return counted[0][0]
    return "; ".join(f"{value} ({n} run{'s' if n > 1 else ''})" for value, n in counted)
