"""A full disk at every write site: exit 5, path and bytes named, nothing under the final name, earlier state intact."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("full_disk_sites.py")
SITES = {"cohort", "build", "near_duplicates", "folds", "cv", "embed", "gradcam", "fuse", "stats", "report", "--report",
         "configs copy", "phantom"}


def _namespace(command: str) -> list[str]:
    return ["unshare", "--map-root-user", "--mount", "sh", "-c", command]


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    disk = tmp_path_factory.mktemp("disk")
    mount = f"mount -t tmpfs -o size=128m tmpfs {disk}"
    has_unshare = shutil.which("unshare") is not None
    if not has_unshare or subprocess.run(_namespace(mount), capture_output=True, check=False).returncode:
        pytest.skip("needs a private mount namespace (unshare --map-root-user --mount) for a small disk")
    done = subprocess.run(
        _namespace(f"{mount} && exec {sys.executable} {SCRIPT} {disk}"), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(row) for row in done.stdout.splitlines() if row.startswith("{")]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_site_fails_clearly_and_loses_nothing(trials: list[dict]) -> None:
    failed = [t for t in trials if t["code"] != 0 and not t["finished"]]
    assert {t["site"] for t in failed} >= SITES
    for trial in failed:
        assert trial["code"] == 5, trial
        assert len(trial["told"]) == 1, trial
        assert "could not write" in trial["told"][0], trial
        assert "bytes" in trial["told"][0], trial
        assert "/" in trial["told"][0], trial
    for trial in trials:
        assert trial["leftovers"] == [], trial
        assert trial["earlier_intact"], trial
    print(f"{len(failed)} full-disk trials at {len({t['site'] for t in failed})} sites: exit 5, "
          f"{sum(t['earlier_intact'] for t in trials)}/{len(trials)} earlier state intact")
