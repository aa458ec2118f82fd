"""The graph's step that caches images of one size, geometry and contrast."""

import sys
from collections.abc import Sequence
from pathlib import Path

from h2a_lib.data.cache import build
from h2a_lib.errors import UserError
from h2a_lib.files import read_csv, read_json
from h2a_lib.pipeline.processes import end_with_leader


def main(arguments: Sequence[str]) -> int:
    """Execute `python -m h2a_lib.pipeline.cache_images RESULTS DATA SIZE GEOMETRY CONTRAST KEY`.

    The graph's job calls it; RESULTS holds the study's labels.csv and data.json, and KEY is the
    cache's `cache.json`. Returns 0, or 2 for a mistake of the user.
    """
    end_with_leader()
    results, data_folder, size_px, geometry, contrast, key = arguments
    try:
        build(
            read_csv(Path(results, "labels.csv")),
            Path(data_folder),
            Path(key).parent,
            size_px=int(size_px),
            geometry=geometry,  # type: ignore[arg-type]  # a wrong name is told when it is used
            contrast=contrast,  # type: ignore[arg-type]
            fingerprint=read_json(Path(results, "data.json"))["fingerprint"],
        )
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
