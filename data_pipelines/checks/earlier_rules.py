"""A cohort made under earlier intake rules, judged by the current ones.

A cohort keeps one slice per patient and not the files it came from. What the slice shows is judged; what only the files
could show is listed as not known.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from data_pipelines.bodycomp.orientation import find_spine
from data_pipelines.bodycomp.padding import count_padding
from data_pipelines.canonical import CanonicalSlice
from data_pipelines.findings import Finding, find
from data_pipelines.ingest.cohort import INTAKE_RULES
from data_pipelines.ingest.grid import UNIT_TOLERANCE

#: Kind of source -> code of the warning about pixels of exactly 1 mm.
_UNIT_PIXELS = {"nifti": "nifti-unit-voxels", "dicom": "dicom-unit-pixels"}


def judge_slice(image: CanonicalSlice, facts: Mapping[str, Any]) -> Iterator[Finding]:
    """Findings of the current rules that a stored slice shows.

    Args:
        image: the slice.
        facts: of this slice, from ingest.json.
    """
    if not image.is_hu:
        return
    side, figures = find_spine(image.hu, image.body > 0, image.spacing_mm)
    if side not in (None, "posterior"):
        yield find("slice-orientation", fact=f"spine {side}: {figures}")
    kind = facts.get("kind")
    if _has_unit_pixels({"row_mm": image.spacing_mm[0], "column_mm": image.spacing_mm[1]}) and kind in _UNIT_PIXELS:
        yield find(_UNIT_PIXELS[kind], fact="1 x 1 mm")
    n = count_padding(image.hu, image.spacing_mm)
    if n and kind != "picture":
        yield find("slice-padding", fact=f"{n} pixels")


def list_unknown(slices: Sequence[Mapping[str, Any]], rules: int) -> Iterator[Finding]:
    """What cannot be known without the source files: a finding for each question, with the number of slices.

    Args:
        slices: facts of every readable slice, from ingest.json.
        rules: number of the intake rules that the cohort was made under.
    """
    volumes = [facts for facts in slices if facts.get("kind") == "nifti"]
    frames = [facts for facts in slices if facts.get("kind") == "dicom"]
    masked = [facts for facts in slices if not facts.get("label_numbering") and _has_masks(facts)]
    questions = (
        ("whether the NIfTI files were complete and their checksums correct", volumes),
        ("whether sform and qform of the NIfTI headers agree", volumes),
        ("whether the NIfTI affine was a placeholder", [facts for facts in volumes if _has_unit_pixels(facts)]),
        ("whether a decoder reported damaged pixel data", frames),
        ("whether acquisitions were interleaved in the series", [one for one in frames if one.get("n_slices", 1) > 1]),
        ("how the label map was numbered", masked),
    )
    for question, concerned in questions:
        if concerned:
            yield find("cohort-unknown", f"not known without the source files: {question}",
                       f"{len(concerned)} of {len(slices)} slices; made under intake rules {rules}, "
                       f"current rules {INTAKE_RULES}")


def _has_unit_pixels(facts: Mapping[str, Any]) -> bool:
    return all(abs(facts.get(name, 0.0) - 1.0) < UNIT_TOLERANCE for name in ("row_mm", "column_mm"))


def _has_masks(facts: Mapping[str, Any]) -> bool:
    sources = [value for name, value in facts.items() if name.endswith("_source")]
    return facts.get("level_source") == "labels" or "mask" in sources
