"""`python -m tests.studies NAME [SEEDS] [FOLDER]`: one study, its figures as JSON on standard output."""

import json
import sys
from pathlib import Path

from tests.studies.coverage import study_coverage
from tests.studies.large import study_planted_factors
from tests.studies.null import study_null
from tests.studies.texture import study_texture


def main(name: str, n_seeds: int, folder: Path) -> None:
    """Do one study."""
    folder.mkdir(parents=True, exist_ok=True)
    if name == "coverage":
        found = study_coverage(range(n_seeds))
    elif name == "large":
        found = {"seeds": [study_planted_factors(seed=seed) for seed in range(n_seeds)]}
    elif name == "null":
        found = study_null(range(n_seeds), folder)
    elif name == "texture":
        found = study_texture(range(n_seeds), folder)
    else:
        raise SystemExit(f"no study '{name}'; use coverage, large, null or texture")
    text = json.dumps(found, indent=1)
    (folder / f"{name}.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    given = [*sys.argv[1:], *[None] * 3]
    study = given[0] or ""
    main(study, int(given[1] or {"coverage": 200, "large": 4, "null": 20, "texture": 3}.get(study, 1)),
         Path(given[2] or f"runs/studies/{study}"))
