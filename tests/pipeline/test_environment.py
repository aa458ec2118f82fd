"""The user's own configuration does not reach a step, and sockets find a folder."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from checkout import ROOT

from h2a_lib.errors import UserError
from h2a_lib.pipeline import environment, notebooks
from h2a_lib.pipeline.environment import step_environment

FOREIGN = {
    "SNAKEMAKE_PROFILE": "/cluster",
    "MATPLOTLIBRC": "/dark",
    "MPLBACKEND": "Qt5Agg",
    "IPYTHONDIR": "/home/me/.ipython",
    "OMP_NUM_THREADS": "64",
    "MKL_NUM_THREADS": "64",
    "PYTHONPATH": "/elsewhere",
    "PYTHONSTARTUP": "/startup.py",
    "JUPYTER_CONFIG_DIR": "/home/me/.jupyter",
    "PAPERMILL_LOG": "x",
    "XDG_CONFIG_HOME": "/home/me/.config",
    "LC_ALL": "tr_TR.UTF-8",
    "LANG": "tr_TR.UTF-8",
    "BASH_ENV": "/home/me/.bashrc",
    "QUARTO_PROFILE": "mine",
    "TYPST_FONT_PATHS": "/home/me/fonts",
    "NUMBA_DISABLE_JIT": "1",
    "ONEDNN_DEFAULT_FPMATH_MODE": "BF16",
    "DNNL_DEFAULT_FPMATH_MODE": "BF16",
    "ATEN_CPU_CAPABILITY": "default",
    "NVIDIA_TF32_OVERRIDE": "1",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1",
    "NPY_DISABLE_CPU_FEATURES": "AVX2",
    "GOTO_NUM_THREADS": "64",
    "BLIS_NUM_THREADS": "64",
    "VECLIB_MAXIMUM_THREADS": "64",
    "OPENCV_IO_MAX_IMAGE_PIXELS": "100",
    "LOKY_MAX_CPU_COUNT": "x",
    "LT_PRECISION": "16-mixed",
    "GIT_DIR": "/elsewhere/.git",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_variable_of_the_user_does_not_reach_a_step(name):
    mine = step_environment(ROOT, FOREIGN | {"PATH": "/bin"})
    assert mine.get(name) != FOREIGN[name]


def test_what_is_no_configuration_of_our_tools_is_kept():
    kept = {"HOME": "/home/me", "TMPDIR": "/scratch", "CUDA_VISIBLE_DEVICES": "1", "H2A_X": "1"}
    kept |= {"SLURM_JOB_ID": "7", "LD_LIBRARY_PATH": "/cuda", "TORCH_HOME": "/t", "CXX": "g++"}
    kept |= {"HTTPS_PROXY": "http://proxy", "QUARTO_TYPST": "/typst", "NUMBA_CACHE_DIR": "/n"}
    assert kept.items() <= step_environment(ROOT, kept).items()


def test_an_activated_conda_brings_neither_its_python_nor_its_folders(tmp_path):
    conda = tmp_path / "conda" / "bin"
    conda.mkdir(parents=True)
    for name in ("python", "jupyter"):
        (conda / name).symlink_to("/bin/false")
    active = {"CONDA_PREFIX": str(conda.parent), "CONDA_DEFAULT_ENV": "base", "CONDA_SHLVL": "1"}
    mine = step_environment(ROOT, active | {"PATH": f"{conda}:/usr/bin:/bin"})
    assert not mine.keys() & active.keys()
    for name in ("python", "jupyter"):
        assert Path(shutil.which(name, path=mine["PATH"])).parent == Path(sys.executable).parent


def test_make_lab_opens_the_notebooks_as_a_step_sees_them(tmp_path):
    assert "-m h2a_lib.pipeline.environment jupyter lab" in (ROOT / "Makefile").read_text()
    words = [sys.executable, "-m", environment.__name__, "printenv", "OMP_NUM_THREADS"]
    mine = os.environ | {"OMP_NUM_THREADS": "64", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=tmp_path, env=mine, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


def test_make_takes_a_python_in_a_folder_with_a_space():
    show = ["make", "-n", "--always-make", "env", "PYTHON=/my py/python3"]
    done = subprocess.run(show, cwd=ROOT, capture_output=True, text=True, check=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith(("/my", '"/my'))]
    assert [shlex.split(line)[:2] for line in lines] == [
        ["/my py/python3", "-c"],
        ["/my py/python3", "-m"],
    ]


def test_sums_have_one_thread_and_tools_their_settings_in_the_project():
    mine = step_environment(ROOT, {})
    assert mine["OMP_NUM_THREADS"] == "1"
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "MPLCONFIGDIR"):
        assert Path(mine[name]).is_relative_to(ROOT / "cache")


def test_make_lets_python_keep_what_it_compiles():
    show = ["make", "--no-print-directory", "--eval", "show: ; @env", "show"]
    mine = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "KEPT": "1"}
    done = subprocess.run(show, cwd=ROOT, env=mine, capture_output=True, text=True, check=True)
    assert "KEPT=1" in done.stdout and "PYTHONDONTWRITEBYTECODE" not in done.stdout


def test_a_notebook_is_the_same_whatever_the_user_has_configured(tmp_path):
    """A startup file, a kernel called python3 of another program, a dark style, a small umask."""
    home = tmp_path / "home"
    startup = home / ".ipython" / "profile_default" / "startup"
    kernel = home / ".local" / "share" / "jupyter" / "kernels" / "python3"
    for folder in (startup, kernel, tmp_path / "project" / "notebooks"):
        folder.mkdir(parents=True)
    (startup / "00.py").write_text("leaked = True")
    (kernel / "kernel.json").write_text(
        json.dumps({"argv": ["/no/such/python"], "display_name": "", "language": "python"})
    )
    (tmp_path / "matplotlibrc").write_text("figure.facecolor: black\n")
    source = tmp_path / "project" / "notebooks" / "x.ipynb"
    code = (
        "import os, matplotlib\n"
        "print('leaked' in globals(), matplotlib.rcParams['axes.facecolor'],"
        " os.environ['OMP_NUM_THREADS'], os.environ['LC_ALL'])"
    )
    kernelspec = {"kernelspec": {"name": "python3", "display_name": "", "language": "python"}}
    cells = [nbformat.v4.new_code_cell(code)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernelspec), source)
    foreign = {
        "HOME": str(home),
        "IPYTHONDIR": str(home / ".ipython"),
        "MATPLOTLIBRC": str(tmp_path / "matplotlibrc"),
        "OMP_NUM_THREADS": "7",
        "LC_ALL": "tr_TR.UTF-8",
    }
    subprocess.run(
        [sys.executable, "-m", notebooks.__name__, str(source), str(tmp_path / "o.ipynb"), "{}"],
        env=os.environ | foreign,
        umask=0o077,
        check=True,
    )
    (output,) = nbformat.read(tmp_path / "o.ipynb", as_version=4).cells[0].outputs
    assert output.text == "False white 1 C.UTF-8\n"


def test_sockets_go_where_there_is_room_for_their_names(tmp_path, monkeypatch):
    long = tmp_path / ("l" * 100)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    with environment.socket_folder() as folder:
        assert long not in folder.parents
    monkeypatch.setenv("TMPDIR", "/dev/shm")
    with environment.socket_folder() as folder:
        assert folder.parent == Path("/dev/shm")


def test_temporary_files_go_where_the_user_says_then_to_the_system_then_to_the_project(
    tmp_path, monkeypatch
):
    chosen, runtime = tmp_path / "chosen", tmp_path / "runtime"
    runtime.mkdir()
    monkeypatch.setenv("TMPDIR", str(chosen))  # not there yet
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.delenv("TEMP", raising=False)
    monkeypatch.delenv("TMP", raising=False)
    parents = list(environment.temporary_parents())
    assert parents[:3] == [chosen, runtime, Path("/tmp")]
    assert parents[-1] == ROOT / "cache"
    assert environment.temporary_parent() == runtime
    chosen.mkdir()
    assert environment.temporary_parent() == chosen


def test_a_relative_folder_for_temporary_files_is_the_same_from_everywhere(tmp_path, monkeypatch):
    (tmp_path / "t").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", "t")
    assert environment.temporary_parent() == tmp_path / "t"


def test_without_a_folder_for_temporary_files_the_message_says_what_to_do(monkeypatch):
    monkeypatch.setattr(environment, "temporary_parents", lambda: iter([Path("/no/such/folder")]))
    with pytest.raises(UserError, match="set TMPDIR to one that can"):
        environment.temporary_parent()


def test_where_the_home_is_read_only_the_tools_keep_their_caches_in_the_project(
    tmp_path, monkeypatch
):
    user = {"HOME": str(tmp_path)}
    assert "XDG_CACHE_HOME" not in step_environment(ROOT, user)
    monkeypatch.setattr(os, "access", lambda *_: False)
    mine = step_environment(ROOT, user)
    assert Path(mine["XDG_CACHE_HOME"]).is_relative_to(ROOT / "cache")
    assert "TORCH_HOME" not in mine
    (tmp_path / ".cache" / "torch").mkdir(parents=True)  # weights that cannot be fetched again
    assert step_environment(ROOT, user)["TORCH_HOME"] == str(tmp_path / ".cache" / "torch")


def test_without_a_folder_for_sockets_the_message_says_what_to_do(monkeypatch):
    monkeypatch.setattr(environment, "takes_sockets", lambda _: False)
    with pytest.raises(UserError, match="set TMPDIR to one"), environment.socket_folder():
        pass
