"""stub"""
from collections.abc import Sequence

from data_pipelines.ingest.files import InputFile
from data_pipelines.ingest.structures import Structure


def find_dicom_masks(files: Sequence[InputFile]) -> list[InputFile]:
    return []


def load_dicom_masks(files, image, stack) -> dict[str, Structure]:
    return {}
