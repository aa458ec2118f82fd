"""Studies to render and decks to look at."""

import shutil

import pytest
from PIL import Image
from report_results import copy_project, make_study

from h2a_lib.phantoms.render import render as render_phantom
from h2a_lib.report import render, staging
from h2a_lib.report.staging import OPENING_FILE, OPENING_HAND


@pytest.fixture(scope="session")
def full_study(tmp_path_factory):
    """A study that has every figure, table and variable the deck can show."""
    folder = tmp_path_factory.mktemp("full")
    make_study(folder)
    return folder


@pytest.fixture
def study(full_study, tmp_path):
    """A study of one's own, to break."""
    folder = tmp_path / "study"
    shutil.copytree(full_study, folder)
    return folder


@pytest.fixture(scope="session")
def opening(tmp_path_factory):
    """The radiograph that opens the talk; a project that has it does not draw it anew."""
    file = tmp_path_factory.mktemp("opening") / OPENING_FILE
    Image.fromarray(render_phantom(**OPENING_HAND).image).save(file)
    return file


@pytest.fixture
def project(tmp_path, opening):
    """The deck's sources, without what may be staged beside them but the opening."""
    project = copy_project(tmp_path / "report")
    shutil.copy(opening, project)
    return project


def render_with(renderer, study, folder):
    project = copy_project(folder / "report")
    return render(study / "results", project, folder / "out", study, renderer)


@pytest.fixture(scope="session")
def rendered(full_study, tmp_path_factory):
    """The deck of the whole study, through Pandoc and Typst."""
    return render_with("pandoc", full_study, tmp_path_factory.mktemp("pandoc"))


@pytest.fixture(scope="session")
def quarto_rendered(full_study, tmp_path_factory):
    """The same through Quarto, where it is installed."""
    if shutil.which("quarto") is None:
        pytest.skip("quarto is not installed")
    return render_with("quarto", full_study, tmp_path_factory.mktemp("quarto"))


@pytest.fixture(scope="session", params=["pandoc", "quarto"])
def by_each(request):
    """The deck by one renderer after the other."""
    name = {"pandoc": "rendered", "quarto": "quarto_rendered"}[request.param]
    return request.getfixturevalue(name)


WRITTEN: dict[tuple, tuple[str, bytes]] = {}


@pytest.fixture(autouse=True)
def figures_are_cut_once(monkeypatch):
    """Studies of many tests have the same figures: each is prepared for slides and PDF once."""

    def remembered(function):
        def write(source, folder, *rest):
            key = (function.__name__, source.name, source.read_bytes(), *rest)
            if key not in WRITTEN:
                made = function(source, folder, *rest)
                WRITTEN[key] = made.name, made.read_bytes()
            name, content = WRITTEN[key]
            (folder / name).write_bytes(content)
            return folder / name

        return write

    for name in ("_without_tier", "write_for_pdf"):
        monkeypatch.setattr(staging, name, remembered(getattr(staging, name)))
