"""Trust, part 1: intake, loaders and outputs never give a silent wrong number."""

from collections.abc import Callable

from tests.evidence.harness import Show, demo, lint, run_pytest, said, tests


def install(show: Show) -> str:
    """The locked requirements install with nothing but python3.11 and make."""
    return f"installed in {show.ok('make install').seconds:.0f} s"


def cases(show: Show) -> str:
    """The shared image cases and commands: every row as its table gives it."""
    held = run_pytest(show, "tests/end_to_end/test_shared_cases.py tests/study/test_lock.py")
    return held + said(show, "case ")


def bit_flips(show: Show) -> str:
    """200 bit flips each in .nii.gz images, masks and label maps, and in zip archives: refused, or equal."""
    held = run_pytest(show, "tests/ingest/test_damage_counts.py -k bit_flips")
    return held + said(show, r"\S+\.nii\.gz: |label map: |zip of ")


def byte_changes(show: Show) -> str:
    """200 byte changes in each lossless encoding: every decoder warning is a refusal; the rest is counted."""
    held = run_pytest(show, "tests/ingest/test_damage_counts.py tests/ingest/test_decoder_damage.py -k 'not bit_flips'")
    return held + said(show, r"[^:\n]+: 200 byte changes:|\d+ volumes bundled")


def harmless(show: Show) -> str:
    """pydicom's and nibabel's bundled files and the shared CT keep their verdicts and areas."""
    return run_pytest(show, "tests/ingest/test_dicom_verdicts.py tests/ingest/test_dicom_encodings.py "
                      "tests/ingest/test_nifti.py tests/ingest/test_masks.py") + said(show, r"\d+ files, ")


def geometry(show: Show) -> str:
    """Forms equal up to rounding, placeholders, the spine's side, oblique stacks, acquisitions, padding."""
    held = run_pytest(show, "tests/ingest/test_geometry.py tests/ingest/test_orientation.py --timeout 1800 "
                      "tests/ingest/test_acquisitions.py tests/bodycomp/test_orientation.py "
                      "tests/bodycomp/test_padding.py")
    return held + said(show, "sform and qform: |spine|oblique stacks: ")


def label_numbering(show: Show) -> str:
    """Five numberings on partial fields of view: identified, or refused as undecidable; none wrong."""
    held = run_pytest(show, "--timeout 1800 tests/ingest/test_label_numbering.py tests/ingest/test_dicom_masks.py "
                      "tests/ingest/test_numbering_collisions.py")
    return held + said(show, "label numbering, |hostile label tables: |hostile ")


def ids(show: Show) -> str:
    """Ids that look alike are named in tables, masks, regions and folds."""
    return run_pytest(show, "tests/test_patient_ids.py tests/ingest/test_match.py") + said(show, "ids: ")


def outputs(show: Show) -> str:
    """Every writing option against every kind of path; every verb with a closed pipe and a full device."""
    held = run_pytest(show, "--timeout 1800 tests/cli/test_output_paths.py tests/cli/test_streams.py")
    return held + said(show, "outputs, |streams, ")


def loaders(show: Show) -> str:
    """300 hostile files per loader: exit 2, 4, 7 or 8, one line, under 2 GiB and 60 s."""
    return run_pytest(show, "--timeout 1800 tests/loaders") + said(show, "hostile files, ")


def predictions(show: Show) -> str:
    """Threshold, class, risk with interval, files of every patient; synthetic runs refused."""
    return run_pytest(show, "tests/stats/test_decision_rule.py tests/report/test_predictions.py "
                      "tests/study/test_finished.py tests/end_to_end/test_study.py")


def channels(show: Show) -> str:
    """Colour and empty images, integral P and R, dtypes: beside scikit-image."""
    return run_pytest(show, "tests/channels/test_arguments.py")


def network(show: Show) -> str:
    """Listeners, SIGHUP, pinned actions."""
    return run_pytest(show, "tests/train/test_preemption.py tests/train/test_many_hosts.py tests/benchmarks/test_ci.py "
                      "-k 'listen or hang_up or sighup or test_ci'")


def earlier_cohorts(show: Show) -> str:
    """A cohort made under earlier rules is judged by the current ones."""
    return run_pytest(show, "tests/checks")


SHOWS: dict[str, Callable[[Show], str]] = {
    work.__name__: work
    for work in (install, cases, bit_flips, byte_changes, harmless, geometry, label_numbering, ids, outputs, loaders,
                 predictions, channels, network, earlier_cohorts, tests, demo, lint)
}
