"""`python -m tests.evidence ISSUE [NAME ...]`: an issue's must-shows, all or the named ones again."""

import importlib
import sys
from pathlib import Path

from tests.evidence.harness import run_issue

ROOT = Path(__file__).parents[2]


def main(argv: list[str]) -> int:
    """0 when every must-show holds, 1 otherwise, 2 when the issue is unknown."""
    machinery = {"__init__", "__main__", "harness"}
    known = sorted(f.stem for f in Path(__file__).parent.glob("*.py") if f.stem not in machinery)
    if not argv or argv[0] not in known:
        print(f"usage: make evidence ISSUE=name; known: {', '.join(known)}", file=sys.stderr)
        return 2
    shows = importlib.import_module(f"tests.evidence.{argv[0]}").SHOWS
    return 0 if run_issue(shows, ROOT, ROOT / "evidence" / argv[0], argv[1:]) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
