"""Real CT slices on which channels are held against scikit-image, windowed as records store them."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom

from bonemet_jax.channels.window import window_ct

#: Not a patient: water in a cylinder, most of it a tie.
WATER = "water_phantom"


def _read_dicom(file: Path) -> np.ndarray:
    data = pydicom.dcmread(file)
    return data.pixel_array * float(data.RescaleSlope) + float(data.RescaleIntercept)


def load_real_ct(shared: Path) -> dict[str, np.ndarray]:
    """Series by name, each uint8 (slice, height, width)."""
    data = shared / "data"
    abdomen = np.asanyarray(nib.Nifti1Image.from_filename(data / "ct_t11_l2_nifti" / "ct.nii.gz").dataobj)
    volumes = {
        "ct_t11_dicom": np.stack([_read_dicom(file) for file in sorted((data / "ct_t11_dicom").iterdir())]),
        "ct_t11_l2_nifti": np.moveaxis(abdomen, 2, 0),
        "ct_transfer_syntaxes": _read_dicom(data / "ct_transfer_syntaxes" / "CTImage.dcm")[None],
        WATER: _read_dicom(data / "water_phantom.dcm")[None],
    }
    return {name: window_ct(volume) for name, volume in volumes.items()}
