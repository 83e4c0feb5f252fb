"""Intake: real patients' CT and tables, one trustworthy slice and its areas."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.evidence.harness import Show, lint, run_pytest, said, tests

SHARED = Path(os.environ.get("BONEMET_SHARED", Path(__file__).parents[3] / "shared"))
DATA = SHARED / "data"


def install(show: Show) -> str:
    """The locked requirements install with nothing but python3.11 and make."""
    return f"installed in {show.ok('make install').seconds:.0f} s"


def fat_without_a_network(show: Show) -> str:
    """Subcutaneous fat from HU alone on the odd slices: Dice median >= .95, worst >= .90, area error median <= 4 %."""
    figures = show.ok(".venv/bin/python -m tests.bodycomp.reference").out.strip().splitlines()
    held = run_pytest(show, "tests/bodycomp/test_segment.py")
    return f"{held} | " + " | ".join(row for row in figures if not row.startswith("#"))


def given_masks(show: Show) -> str:
    """With the given masks, areas equal numpy's own count to 1e-9."""
    return run_pytest(show, "tests/bodycomp/test_areas.py")


def real_slice(show: Show) -> str:
    """The T11 rule picks k = 19 with its warning; at z -768.5 trunk fat is 157.6 cm2 within 3 %."""
    source, labels = DATA / "ct_t11_dicom", DATA / "ct_t11_dicom_labels.nii.gz"
    told = []
    for name, flags in (("rule", f"--masks {labels}"), ("given", "--slice-z -768.5")):
        out = show.clone / "runs" / f"real_{name}"
        shutil.rmtree(out, ignore_errors=True)
        done = show.ok(f"bonemet measure -i {source} {flags} -o {out}")
        told += [row for row in done.out.splitlines() if "cm2" in row or "warning" in row]
    rule, given = (json.loads((show.clone / "runs" / f"real_{name}" / "areas.json").read_text())["patients"][0]
                   for name in ("rule", "given"))
    assert (rule["slice_index"], rule["z_mm"]) == (19, -766.5), rule
    assert "level-at-end" in rule["flags"], rule
    assert abs(given["trunk_fat_cm2"] / 157.6 - 1) < 0.03, given
    return " | ".join(told)


def encodings(show: Show) -> str:
    """Sixteen encodings of one slice: lossless bit-equal, lossy warned, the rest refused with the remedy."""
    return run_pytest(show, "tests/ingest/test_dicom_encodings.py")


def verdicts(show: Show) -> str:
    """Edge cases and every file of pydicom's bundled set: as tabled, each `ok` equal to an independent decode."""
    held = run_pytest(show, "tests/ingest/test_dicom_verdicts.py tests/ingest/test_dicom_rules.py "
                      "tests/ingest/test_dicom_pixels.py tests/ingest/test_dicom_frames.py")
    files = next(row for row in show.log.read_text().splitlines() if re.match(r"\d+ files, ", row))
    return f"{held}; {files}"


def water_and_orientation(show: Show) -> str:
    """Water phantom's centre within 1.03 +- 0.05 HU; every orientation comes out anatomical; mixed series; copies."""
    return run_pytest(show, "tests/ingest/test_dicom.py")


def readers_regions(show: Show) -> str:
    """ImageJ regions equal their .json, composites with holes have the right area; two readers' agreement."""
    return run_pytest(show, "tests/ingest/test_roi.py tests/bodycomp/test_agreement.py tests/bodycomp/test_export.py")


def volumes_pictures_level(show: Show) -> str:
    """NIfTI, PNG and JPEG, the level's rule, TotalSegmentator as a program."""
    return run_pytest(show, "tests/ingest/test_nifti.py tests/ingest/test_picture.py tests/ingest/test_level.py "
                      "tests/ingest/test_totalsegmentator.py")


def masks(show: Show) -> str:
    """Wrong shape, spacing, origin, flip, empty, full, outside the body, another patient's: as tabled."""
    held = run_pytest(show, "tests/ingest/test_masks.py tests/bodycomp/test_mask_check.py")
    return f"{held}; " + "; ".join(row for row in show.log.read_text().splitlines() if " caught" in row)


def field_of_view(show: Show) -> str:
    """Fat ring cut by the image border or the reconstruction circle: flagged; arms and table left out."""
    return run_pytest(show, "tests/bodycomp/test_field.py tests/bodycomp/test_trunk.py")


def geometry(show: Show) -> str:
    """Header forms, placeholders, spine, oblique stacks, acquisitions, padding: wrong refused, right kept."""
    held = run_pytest(show, "tests/ingest/test_geometry.py tests/ingest/test_orientation.py --timeout 1800 "
                      "tests/ingest/test_acquisitions.py tests/bodycomp/test_orientation.py "
                      "tests/bodycomp/test_padding.py")
    return held + said(show, "sform and qform: |spine|oblique stacks: ")


def clinical_table(show: Show) -> str:
    """Faulty CSVs: each message names row and column."""
    held = run_pytest(show, "tests/clinical")
    named = re.findall(r"^PASSED \S+test_a_fault_is_named_by_row_and_column\[(.+)\]$", show.log.read_text(), re.M)
    assert len(set(named)) >= 30, len(set(named))
    return f"{held}; {len(set(named))} faulty CSVs"


def privacy(show: Show) -> str:
    """Canary strings in every identifying place: 0 in any output."""
    return run_pytest(show, "tests/ingest/test_privacy.py")


def hostile_paths(show: Show) -> str:
    """Path-traversal and other hostile ids: harmless."""
    return run_pytest(show, "tests/ingest/test_paths.py")


def bombs(show: Show) -> str:
    """Deflate, gzip, header and zip bombs, a reader that hangs or crashes: refused under the cap, the next one read."""
    return run_pytest(show, "tests/ingest/test_bombs.py tests/ingest/test_worker.py tests/ingest/test_files.py")


def batches(show: Show) -> str:
    """One bad patient never stops the others, and is listed at the end."""
    return run_pytest(show, "tests/ingest/test_cohort.py tests/ingest/test_patients.py")


def verify(show: Show) -> str:
    """All checks, a table on the terminal, JSON and CSV, exit code 8 on errors; a datacard."""
    held = run_pytest(show, "tests/checks tests/cli/test_verify.py")
    done = show.command(f"bonemet verify -i {DATA}/dicom_edge_cases/* --slice-index 0")
    assert done.code == 8, f"exit {done.code}"
    verdict = next(row for row in done.out.splitlines() if row.startswith("verdict"))
    return f"{held}; edge cases: exit 8, {verdict}"


def throughput(show: Show) -> str:
    """slices/s of `measure` on 200 phantom DICOMs, 1 and 2 processes, with peak memory."""
    file = show.clone / "runs" / "bench" / "measure.jsonl"
    file.unlink(missing_ok=True)
    show.ok(f".venv/bin/python -m benchmarks measure --json {file}")
    records = [json.loads(line) for line in file.read_text().splitlines()]
    return "; ".join(f"{r['metric']} median {r['median']:.4g} {r['unit']} (n {r['n']})" for r in records)


SHOWS: dict[str, Callable[[Show], str]] = {
    work.__name__: work
    for work in (install, fat_without_a_network, given_masks, real_slice, encodings, verdicts, water_and_orientation,
                 readers_regions, volumes_pictures_level, masks, field_of_view, geometry, clinical_table, privacy,
                 hostile_paths, bombs, batches, verify, throughput, tests, lint)
}
