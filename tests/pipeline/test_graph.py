"""What runs, what is said of it, and what a repeated run leaves alone."""

import dataclasses
import sys

import pandas as pd
import pytest
from checkout import ROOT, copy_checkout
from in_process import h2a

from h2a_lib.commands.shared import open_finished
from h2a_lib.errors import UserError
from h2a_lib.files import read_json, write_json
from h2a_lib.pipeline import graph, ledger, perform
from h2a_lib.pipeline.staleness import (
    contents_now,
    read_record,
    stale_steps,
    summary,
    write_record,
)
from h2a_lib.pipeline.steps import NOTEBOOKS, Steps
from h2a_lib.study import runs, workspace


@pytest.fixture
def steps(tmp_path, monkeypatch) -> Steps:
    """Return the steps of a smoke study of two runs, all of which are done."""
    study = workspace.locate("smoke", root=copy_checkout(tmp_path / "h2a"))
    study.config.profiles["smoke"].experiments[:] = ["resnet18", "sex"]
    study.results_folder.mkdir(parents=True)
    study.labels_file.write_text("id\n1\n")
    write_json(study.data_file, {"fingerprint": "squares", "tier": "phantom"})
    monkeypatch.chdir(study.root)
    steps = Steps(study)
    contents = contents_now(steps)
    for step in steps.by_name.values():
        for output in step.outputs:
            output.parent.mkdir(parents=True, exist_ok=True)
            output.touch()
        write_record(step.record, step, contents[step.name], [], 90.0)
    return steps


def changed(steps: Steps, **settings) -> Steps:
    """Return the steps when the settings of the experiment `sex` are others."""
    steps.study.config.experiments["sex"].update(settings)
    return Steps(steps.study)


def test_all_images_are_prepared_before_any_run(steps):
    steps = changed(steps, image_size_px=48)
    of_rule = {"cache": [], "train": []}
    for step in steps.by_name.values():
        of_rule.get(step.rule, []).append(step.priority)
    assert len(of_rule["cache"]) == 2 and min(of_rule["cache"]) > max(of_rule["train"]) > 0


def test_of_a_finished_study_nothing_is_stale(steps):
    assert stale_steps(steps) == []
    assert graph.stale_runs(steps.study) == set()


def test_each_stale_step_has_a_reason_and_its_previous_duration(steps):
    stale = stale_steps(changed(steps, lr=3e-3, schedule="cosine"))
    by_name = {one.step.name: one for one in stale}
    assert by_name["train/sex/seed-0"].reason == "lr is now 0.003; schedule is now cosine"
    assert by_name["age_answer"].reason == "follows sex (seed 0)"
    assert by_name["compare"].reason == "study.yaml changed"
    assert "train/resnet18/seed-0" not in by_name
    assert {one.seconds for one in stale} == {90.0}
    text = summary(stale, 12, 2)
    assert text.startswith(f"{len(stale)} of 12 steps; sex (seed 0): lr is now 0.003")
    assert text.endswith("about 4 min 30 s")


def test_a_missing_output_and_a_missing_record_are_named(steps):
    (steps.study.results_folder / "figures/age_scatter.svg").unlink()
    steps.by_name["clusters"].record.unlink()
    reasons = {one.step.name: one.reason for one in stale_steps(steps)}
    assert reasons["age_answer"] == "results/smoke/figures/age_scatter.svg is missing"
    assert reasons["clusters"] == "no record says what it was made with"
    assert reasons["deck"] == "follows 07_age_answer, 09_clusters"


def record_results(steps: Steps, step: str) -> None:
    """Record a notebook's step as done, whose results are a figure, a table and variables."""
    results = dataclasses.replace(steps.study.results, notebook=steps.by_name[step].label)
    results.variables("age", {"mae": "11.8 months"})
    results.table(pd.DataFrame({"n": [1]}), "more_than_the_table_of_steps_names")
    figures = results.folder / "figures"
    (figures / "age_scatter.svg").write_text("<svg/>")
    description = {"file": "age_scatter.svg", "made_by": steps.by_name[step].label}
    write_json(figures / "age_scatter.json", description)
    content = contents_now(steps)[step]
    made = perform.results_of(steps.by_name[step], steps)
    write_record(steps.by_name[step].record, steps.by_name[step], content, made, 90.0)


@pytest.mark.parametrize(
    "name",
    [
        "variables/age.yml",
        "figures/age_scatter.svg",
        "figures/age_scatter.json",
        "tables/more_than_the_table_of_steps_names.csv",
    ],
)
def test_a_result_that_was_changed_is_made_again_and_neither_rendered_nor_published(steps, name):
    record_results(steps, "age_answer")
    assert stale_steps(steps) == []
    assert open_finished("smoke", None).name == "smoke"
    file = steps.study.results_folder / name
    file.write_text(file.read_text() + " ")
    reasons = {one.step.name: one.reason for one in stale_steps(steps)}
    assert reasons == {
        "age_answer": f"results/smoke/{name} was changed since",
        "deck": "follows 07_age_answer",
    }
    with pytest.raises(UserError, match=f"`h2a report --profile smoke` makes .*\n.*/{name}$"):
        open_finished("smoke", None)
    done = h2a("render", "--results", str(steps.study.results_folder), cwd=steps.study.root)
    assert done.returncode == 2 and f"results/smoke/{name}" in done.stderr


def test_a_record_without_hashes_holds_as_before(steps):
    record_results(steps, "age_answer")
    record = steps.by_name["age_answer"].record
    content = read_json(record)
    del content["sha256"]
    write_json(record, content)
    (steps.study.results_folder / "variables/age.yml").write_text("mae: 1.8 months\n")
    assert stale_steps(steps) == []


def test_arrays_that_the_preparation_has_made_are_not_called_unrecorded(steps):
    (cache,) = (step for step in steps.by_name.values() if step.rule == "cache")
    cache.record.unlink()
    reasons = {one.step.name: one.reason for one in stale_steps(steps)}
    assert reasons[cache.name] == "not made yet"


def test_before_anything_is_made_the_plan_counts_the_steps(steps, monkeypatch):
    monkeypatch.setattr(graph, "estimate", lambda *_: "2 trainings: about 1 min")
    n_steps = len(steps.by_name)
    steps.study.data_file.unlink()
    assert graph.plan(steps.study).splitlines() == [
        f"Nothing is made yet of 'smoke': first the data, then {n_steps} steps.",
        "2 trainings: about 1 min",
    ]


def test_a_report_begins_with_how_long_its_trainings_will_take(steps, monkeypatch, capsys):
    timed = []
    monkeypatch.setattr(graph, "_run_snakemake", lambda *_: None)
    monkeypatch.setattr(graph, "estimate", lambda _, configs, *__: timed.extend(configs) or "soon")
    graph.build(changed(steps, lr=3e-3).study, ["deck"])
    assert not timed, "it was timed before"
    steps.by_name["train/sex/seed-0"].record.unlink()
    graph.build(steps.study, ["deck"])
    assert [config.experiment for config in timed] == ["sex"]
    assert capsys.readouterr().out.splitlines()[-1] == "soon"


def test_status_ends_with_what_must_run(steps):
    steps = changed(steps)
    assert graph.report_state(steps.study) == "the report is up to date"
    (steps.study.results_folder / "figures/age_scatter.svg").unlink()
    assert graph.report_state(steps.study).startswith(
        f"the report is out of date: 2 of {len(steps.by_name)} steps; 07_age_answer: results/"
    )


def test_an_unknown_step_is_an_error_that_lists_the_known_ones(steps):
    with pytest.raises(UserError, match=r"step 'nothing'; known: .*population.*deck"):
        graph.build(steps.study, ["nothing"])


def test_snakemake_learns_what_is_up_to_date_and_nothing_else(steps):
    stale = stale_steps(changed(steps, lr=3e-3))
    graph.mark(steps.study, list(steps.by_name.values()), stale)
    markers = {
        name: (steps.study.root / graph.marker_of(steps.study, name)) for name in steps.by_name
    }
    assert {name for name, marker in markers.items() if not marker.exists()} == {
        one.step.name for one in stale
    }


def run_of(steps: Steps):
    """Return the folder of the run of `sex`, with a file that tells it from another."""
    folder = steps.study.run_folder("sex")
    (folder / "weights.safetensors").write_text("earlier")
    return folder


def train(monkeypatch, steps: Steps, fails: bool = False) -> int:
    """Perform the training of `sex`, whose module writes the files of a run."""

    def run_module(module, arguments):
        folder = steps.study.run_folder("sex")
        for name in (*runs.FILES, "notebook.ipynb", "weights.safetensors"):
            folder.mkdir(exist_ok=True)
            (folder / name).write_text("new")
            if fails:
                return 1
        return 0

    monkeypatch.setattr(perform, "run_module", run_module)
    return perform.perform(steps, "train/sex/seed-0")


def test_a_run_that_is_repeated_is_set_aside_until_its_successor_is_complete(steps, monkeypatch):
    folder = run_of(steps)
    old = perform.old_of(folder)
    steps = changed(steps, lr=3e-3)
    assert train(monkeypatch, steps, fails=True) == 1
    assert (old / "weights.safetensors").read_text() == "earlier"
    assert train(monkeypatch, steps, fails=True) == 1, "and the attempt does not take its place"
    assert (old / "weights.safetensors").read_text() == "earlier"
    assert train(monkeypatch, steps) == 0
    assert (folder / "weights.safetensors").read_text() == "new" and not old.exists()
    assert read_record(folder / "step.json").content.settings["lr"] == 3e-3


def test_each_evaluation_of_the_validation_hands_is_entered_in_the_ledger(steps, monkeypatch):
    folder = steps.study.results_folder
    assert ledger.sentence(folder) == ""
    assert [step.label for step in steps.by_name.values() if ledger.evaluates(step)] == [
        notebook.name for notebook in NOTEBOOKS if notebook.needs == "runs"
    ]

    def evaluate(steps, name):
        monkeypatch.setattr(
            perform, "run_module", lambda *_: [o.touch() for o in steps.by_name[name].outputs] and 0
        )
        assert perform.perform(steps, name) == 0

    for name in ("age_answer", "sex_answer", "age_answer"):
        evaluate(steps, name)
    assert ledger.sentence(folder).endswith("with 1 set of networks.")
    train(monkeypatch, steps := changed(steps, lr=3e-3))
    evaluate(steps, "age_answer")
    rows = ledger.read(folder)
    assert rows["notebook"].value_counts().to_dict() == {"07_age_answer": 3, "08_sex_answer": 1}
    assert rows["networks"].nunique() == 2 and len(set(rows["data"])) == 1
    train(monkeypatch, steps)
    assert len(ledger.read(folder)) == 4, "a training evaluates none"


def test_a_run_that_was_set_aside_returns_when_the_change_is_undone(steps, monkeypatch):
    folder, before = run_of(steps), dict(steps.study.config.experiments["sex"])
    train(monkeypatch, changed(steps, lr=3e-3), fails=True)
    steps.study.config.experiments["sex"].clear()
    steps.study.config.experiments["sex"].update(before)
    assert perform.perform(Steps(steps.study), "train/sex/seed-0") == 0
    assert (folder / "weights.safetensors").read_text() == "earlier"
    assert not perform.old_of(folder).exists()


def test_without_a_run_of_sex_no_earlier_answer_stays(steps):
    steps.study.config.profiles["smoke"].experiments[:] = ["resnet18"]
    steps = Steps(steps.study)
    assert "sex_answer" not in steps.by_name
    graph.remove_results_of_other_studies(steps)
    assert not (steps.study.results_folder / "variables/sex.yml").exists()
    assert (steps.study.results_folder / "variables/age.yml").exists()


def test_the_table_names_each_notebook_and_no_output_twice():
    stems = {file.stem for file in (ROOT / "notebooks").glob("[0-9]*.ipynb")}
    assert {notebook.name for notebook in NOTEBOOKS} | {"05_train", "00_start"} >= stems
    outputs = [output for notebook in NOTEBOOKS for output in notebook.outputs]
    assert len(outputs) == len(set(outputs))


def test_a_cluster_cannot_be_given_a_python_that_needs_quotes(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/home/me/My Projects/h2a/.venv/bin/python")
    assert graph.Cluster.named(None, None, tmp_path) is None
    with pytest.raises(UserError, match=r"My Projects.* without quotes into the jobs of a cluster"):
        graph.Cluster.named(None, tmp_path, tmp_path)
