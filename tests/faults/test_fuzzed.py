"""What a coverage-guided fuzzer makes up is read, or refused with a reason (`fuzz.py`)."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import ROOT

pytestmark = pytest.mark.slow
pytest.importorskip("atheris", reason="atheris is for Linux on x86-64, up to Python 3.13")
N_INPUTS = 100_000 if "H2A_CAMPAIGN" in os.environ else 2_000


@pytest.mark.parametrize("what", ["images", "tables"])
def test_what_a_fuzzer_makes_up_is_refused_or_read(what, tmp_path):
    folders = (ROOT, ROOT / "tests" / "helpers", ROOT / "tests" / "faults")
    paths = os.pathsep.join(map(str, folders))
    fuzzer = Path(__file__).parents[1] / "helpers" / "fuzz.py"
    done = subprocess.run(
        [sys.executable, str(fuzzer), what, str(tmp_path), "-seed=1", f"-runs={N_INPUTS}"],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    # libFuzzer may count the empty input that it starts from, or not.
    (n_runs,) = re.findall(r"Done (\d+) runs", done.stderr)
    assert int(n_runs) >= N_INPUTS, done.stderr[-3000:]
    assert not list(tmp_path.glob("found-*"))
