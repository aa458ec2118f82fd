"""A run that fails is named on the deck; an old deck never stands for it."""

import json
import re
import shutil
from pathlib import Path

import nbformat
import pytest
import yaml
from checkout import copy_checkout, h2a
from trained import trained
from typer.testing import CliRunner

from h2a_lib.commands import app as cli
from h2a_lib.errors import UserError
from h2a_lib.files import write_json
from h2a_lib.pipeline import graph, prepare
from h2a_lib.report.study_variables import write_study_variables
from h2a_lib.study import workspace


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Return a study of two planned runs, of which only resnet18 has finished."""
    study = workspace.locate("smoke", root=copy_checkout(tmp_path / "h2a"))
    study.config.profiles["smoke"].experiments[:] = ["resnet18", "sex"]
    study.config.profiles["smoke"].more_seeds.clear()
    run = trained(study.run_folder("resnet18"), epochs=1)
    write_json(study.data_file, {"fingerprint": "squares", "tier": "phantom"})
    settings = {"resnet18": run.config}
    real = workspace.Study.run_config
    monkeypatch.setattr(
        workspace.Study,
        "run_config",
        lambda self, name, seed=0: settings.get(name) or real(self, name, seed),
    )
    study.deck_folder.mkdir(parents=True)
    (study.deck_folder / "slides.html").write_text("of an earlier study")
    return study


def builds(monkeypatch, *fail: bool) -> list[list[tuple[str, int]]]:
    """Let each building of the graph fail or not; return what each was asked for."""
    requested, outcomes = [], iter(fail)

    def build(study, targets, **how):
        requested.append(study.planned_runs())
        if next(outcomes):
            raise UserError("the study is not complete: see the messages above")

    monkeypatch.setattr(graph, "build", build)
    monkeypatch.setattr(graph, "stale_runs", lambda study: {("sex", 0)} & set(study.planned_runs()))
    return requested


def test_the_report_is_made_of_the_other_runs_and_names_the_one_that_failed(study, monkeypatch):
    requested = builds(monkeypatch, True, False)
    with pytest.raises(UserError, match=r"^sex \(seed 0\) failed: .* The deck says that"):
        graph.make_report(study)
    assert requested == [[("resnet18", 0), ("sex", 0)], [("resnet18", 0)]]
    assert [run.config.experiment for run in study.finished_runs()] == ["test"]
    write_study_variables(study)
    assert (
        "missing_runs: sex (seed 0)" in (study.results_folder / "variables/study.yml").read_text()
    )


def test_where_nothing_can_be_shown_without_it_the_old_deck_goes(study, monkeypatch):
    builds(monkeypatch, True, True)
    with pytest.raises(UserError, match="the deck of an earlier study was removed"):
        graph.make_report(study)
    assert not study.deck_folder.exists()


def test_a_study_in_which_no_run_failed_but_another_step_is_not_made_of_less(study, monkeypatch):
    study.config.profiles["smoke"].experiments[:] = ["resnet18"]
    requested = builds(monkeypatch, True)
    with pytest.raises(UserError, match="not complete"):
        graph.make_report(study)
    assert len(requested) == 1 and not study.missing_file.exists()


def test_the_next_report_wants_every_run_again(study, monkeypatch):
    write_json(study.missing_file, [["sex", 0]])
    assert study.planned_runs() == [("resnet18", 0)]
    monkeypatch.setattr("h2a_lib.data.sources.inspect", lambda *_, **__: pytest.fail("reached"))
    monkeypatch.setattr(prepare, "_draw_phantoms", lambda *_: None)
    with pytest.raises(pytest.fail.Exception):
        prepare.prepare_data(study)
    assert study.planned_runs() == [("resnet18", 0), ("sex", 0)]


def test_the_status_does_not_count_a_stale_run_as_done(study, monkeypatch):
    monkeypatch.setattr(workspace, "locate", lambda *_: study)
    for stale, n_done in (({("sex", 0)}, 1), ({("resnet18", 0), ("sex", 0)}, 0)):
        monkeypatch.setattr(graph, "stale_runs", lambda _, stale=stale: stale)
        output = CliRunner().invoke(cli.app, ["status", "--profile", "smoke"]).output
        assert f"{n_done} of 2 runs are done" in output
        assert ("stale" in output) == (n_done == 0)


@pytest.mark.parametrize("document", ["slides.qmd", "paper.qmd"])
def test_deck_and_article_have_a_place_to_say_so(document):
    text = (Path(__file__).parents[2] / "report" / document).read_text()
    place = re.search(r'\{\.when [^}]*has="var:study\.missing_runs"\}', text).start()
    assert place < text.index("\n## ", text.index("study.tier_label")), "at the very beginning"


def test_a_kernel_that_is_killed_is_reported_as_such(tmp_path):
    from h2a_lib.pipeline import notebooks

    cell = nbformat.v4.new_code_cell("import os\nos.kill(os.getpid(), 9)")
    tagged = nbformat.v4.new_code_cell("n = 1", metadata={"tags": ["parameters"]})
    kernel = {"kernelspec": {"name": "python3", "display_name": "", "language": "python"}}
    notebook = nbformat.v4.new_notebook(cells=[tagged, cell], metadata=kernel)
    nbformat.write(notebook, tmp_path / "05_train.ipynb")
    with pytest.raises(notebooks.NotebookError, match="its kernel was killed, most likely because"):
        notebooks.execute(tmp_path / "05_train.ipynb", tmp_path / "out.ipynb", {})
    assert not (tmp_path / "out.ipynb").exists()
    assert json.loads((tmp_path / "05_train.ipynb").read_text())["cells"][1]["outputs"] == []


@pytest.mark.slow
def test_of_a_run_killed_for_its_memory_no_old_figure_is_shown_and_the_rest_is_made(
    smoke, tmp_path
):
    folder = copy_checkout(tmp_path / "h2a")
    study_file = yaml.safe_load((folder / "study.yaml").read_text())
    study_file["profiles"]["smoke"]["experiments"] = ["resnet18", "sex"]
    (folder / "study.yaml").write_text(yaml.safe_dump(study_file, sort_keys=False))
    # As the kernel ends what takes too much memory.
    path = folder / "notebooks" / "05_train.ipynb"
    notebook = nbformat.read(path, as_version=4)
    cell = nbformat.v4.new_code_cell(
        "import os\n\nif experiment == 'sex':\n    os.kill(os.getpid(), 9)"
    )
    before_training = next(k for k, c in enumerate(notebook.cells) if "open_study" in c.source)
    notebook.cells.insert(before_training + 1, cell)
    nbformat.write(notebook, path)
    results = Path("results", "smoke")
    earlier = [*(smoke / results).glob("*/sex*.*"), *(smoke / results).glob("*/*_sex.*")]
    assert len(earlier) > 10
    for file in earlier:
        copied = folder / file.relative_to(smoke)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copied)

    done = h2a(folder, "report", "--profile", "smoke")

    assert done.returncode == 2
    assert "its kernel was killed, most likely because" in done.stderr + done.stdout
    assert "sex (seed 0) failed" in done.stderr.splitlines()[-1]
    runs = folder / "runs" / "smoke"
    assert (runs / "resnet18/seed-0/metrics.json").exists()
    assert not (runs / "sex/seed-0/metrics.json").exists()
    for document in ("slides.html", "paper.html"):
        text = (folder / "report" / "_output" / "smoke" / document).read_text()
        text = " ".join(text.split())
        assert "Runs are missing: sex (seed 0) failed" in text
        assert "sex_roc" not in text and "saliency_sex" not in text
