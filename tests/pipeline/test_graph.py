"""What Snakemake is told, and what is told of it."""

import pytest
from checkout import copy_checkout
from data_folders import write_set

from h2a_lib.errors import UserError
from h2a_lib.pipeline import graph
from h2a_lib.study import workspace


@pytest.mark.slow
def test_no_error_of_snakemake_is_lost_nor_any_sign_of_the_data_folder(tmp_path):
    data = write_set(tmp_path / "o'hands #1: {x}", ["1", "2"])
    study = workspace.locate("smoke", data, root=copy_checkout(tmp_path / "h2a"))
    with pytest.raises(UserError, match="No rule to produce nothing"):
        graph.build(study, ["nothing"])
