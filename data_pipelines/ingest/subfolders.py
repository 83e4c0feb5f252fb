"""Which files of an input are another patient's: images outside the subfolder of the volume that was chosen."""

import os
from collections.abc import Sequence
from pathlib import PurePosixPath

from bonemet_jax.errors import InputDataError
from data_pipelines.findings import refusal
from data_pipelines.ingest.files import InputFile
from data_pipelines.ingest.nifti import SUFFIXES
from data_pipelines.ingest.picture import SUFFIXES as PICTURE_SUFFIXES

#: A folder of this name holds masks, not images.
MASKS = "masks"
_IMAGE_SUFFIXES = (*SUFFIXES, *PICTURE_SUFFIXES, ".dcm", ".ima", ".zip", ".mha", ".mhd", ".nrrd")
#: First bytes of a DICOM file without a preamble: group 0002 or 0008, little endian.
_BARE_DICOM = (b"\x02\x00", b"\x08\x00")
_PREAMBLE_BYTES = 128


def get_folder(file: InputFile) -> PurePosixPath:
    """The folder of a file; a member of an archive is in a folder of the archive's path."""
    return PurePosixPath(file.where.replace("\\", "/").replace(":", "/")).parent


def check_one_folder(chosen: InputFile, files: Sequence[InputFile], where: object) -> None:
    """Raise InputDataError where images other than masks are outside the folder of the volume that was chosen.

    Files in the folders below the volume's own are that patient's.
    """
    own = get_folder(chosen)
    outside = [file for file in files if not get_folder(file).is_relative_to(own)
               and MASKS not in get_folder(file).parts[-1:] and is_image(file)]  # fmt: skip
    if outside:
        raise refuse_folders([chosen, *outside], where)


def refuse_folders(files: Sequence[InputFile], where: object) -> InputDataError:
    """The refusal of images in several subfolders, with their number."""
    folders = [get_folder(file) for file in files]
    depth = len(PurePosixPath(os.path.commonpath(folders)).parts)
    n = len({folder.parts[depth : depth + 1] for folder in folders})
    return refusal("file-several-folders", where, f"images in several subfolders: {n} of them")


def is_image(file: InputFile) -> bool:
    """Whether a file is an image, a volume or an archive of such, by its ending or as DICOM by its first bytes."""
    if file.name.lower().endswith(_IMAGE_SUFFIXES):
        return True
    try:
        with file.open() as stream:
            head = stream.read(_PREAMBLE_BYTES + 4)
    except InputDataError:
        return False
    return head[_PREAMBLE_BYTES:] == b"DICM" or head[:2] in _BARE_DICOM
