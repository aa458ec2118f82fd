"""What the deck says of the study as a whole: data tier, runs, machine, time."""

from collections import Counter
from collections.abc import Iterable

from h2a_lib.study import provenance
from h2a_lib.study.workspace import Study, format_runs


def write_study_variables(study: Study) -> None:
    """Write the group of variables that no notebook computes."""
    runs = study.finished_runs()
    by_time = sorted((run.provenance for run in runs), key=lambda made: made["finished"])
    first, latest = by_time[0], by_time[-1]
    missing = study.missing_runs()
    config = runs[0].config
    data = f" --data {study.data_folder.name}" if study.name != study.profile_name else ""
    machines = (provenance.describe_machine(run.provenance["machine"]) for run in runs)
    study.results.variables(
        "study",
        {
            "title": study.config.title,
            "profile": study.profile_name,
            "about": study.profile.about,
            "tier": study.tier,
            "tier_label": study.tier_label,
            "command": f"h2a report --profile {study.profile_name}{data}",
            "date": latest["finished"][:10],
            "commit": provenance.describe_commit(latest),
            "first_date": first["finished"][:10],
            "first_commit": provenance.describe_commit(first),
            "fingerprint": study.fingerprint[:12],
            "n_runs": len(runs),
            "n_experiments": len({run.config.experiment for run in runs}),
            "image_size_px": config.image_size_px,
            "epochs": config.epochs,
            "machine": _tally(machines),
            "training_time": provenance.duration(sum(r.provenance["seconds"] for r in runs)),
            "torch": _tally(run.provenance["packages"]["torch"] for run in runs),
            "lock": _tally((run.provenance["lock_sha256"] or "none")[:12] for run in runs),
            **({"missing_runs": format_runs(missing)} if missing else {}),
        },
    )


def _tally(values: Iterable[str]) -> str:
    """Return what all runs share, or "this (35 runs); that (1 run)" where they differ."""
    counted = Counter(values).most_common()
    if len(counted) == 1:
        return counted[0][0]
    return "; ".join(f"{value} ({n} run{'s' if n > 1 else ''})" for value, n in counted)
