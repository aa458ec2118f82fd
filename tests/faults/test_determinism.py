"""The whole study, twice: the same numbers and figures, wherever and on however many cores."""

import os

import pytest
from checkout import copy_checkout, h2a, metrics, shown

pytestmark = [
    pytest.mark.slow,
    # The jobs of tests/slurm, of one core each, say the same of another folder.
    pytest.mark.skipif("H2A_CAMPAIGN" not in os.environ, reason="a campaign: set H2A_CAMPAIGN=1"),
]


def test_from_another_folder_and_on_one_core_the_study_is_the_same(smoke, tmp_path):
    other = copy_checkout(tmp_path / "elsewhere" / "hands")
    done = h2a(other, "report", "--profile", "smoke", "--cores", "1")
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(metrics(smoke)) > 50 and len(shown(smoke)) > 40
    assert metrics(other) == metrics(smoke)
    assert shown(other) == shown(smoke)
