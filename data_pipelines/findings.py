"""What intake may say of the user's data: one table of verdicts, and the finding that carries one.

A code is written here and nowhere else; docs/verdicts.md is made from this table.
"""

from dataclasses import dataclass
from typing import Literal

from bonemet_jax.errors import InputDataError

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Verdict:
    """What a code means. An error refuses the file, the row or the patient; a warning travels with the number."""

    severity: Severity
    meaning: str
    mend: str


#: Code -> verdict, room by room.
VERDICTS: dict[str, Verdict] = {
    "input": Verdict("error", "the input cannot be used", "see the message"),
    # --- files, archives, worker ---
    "file-missing": Verdict("error", "no such file or folder", "check the path"),
    "file-not-understood": Verdict("error", "no CT images found", "give a folder of one CT series, or a NIfTI volume"),
    "file-too-slow": Verdict("error", "reading took too long and was stopped", "give --seconds a higher limit where "
                             "the input is sound"),
    "file-too-large": Verdict("error", "reading needs more memory than one input may take",
                              "give only the CT series, or --memory-gib a higher limit where the input is sound"),
    "file-crashed-reader": Verdict("error", "reading failed in a way nobody foresaw",
                                   "convert or export it again; please report it if that does not help"),
    "file-unreadable": Verdict("error", "the file cannot be read", "check its permissions"),
    "file-large": Verdict("error", "a file larger than any CT series has", "give only the CT series"),
    "file-too-many": Verdict("error", "more files than one patient's export has", "give one folder a patient"),
    "file-archive-damaged": Verdict("error", "a damaged zip archive", "pack or copy it again"),
    "file-archive-path": Verdict("error", "a zip archive with a path that leads outside it",
                                 "do not trust this archive"),
    "file-archive-link": Verdict("error", "a zip archive with a symbolic link", "pack the files themselves"),
    "file-archive-encrypted": Verdict("error", "an encrypted zip archive", "unpack it and give the folder"),
    "file-archive-nested": Verdict("error", "an archive inside the zip archive", "unpack it and give the folder"),
    "file-archive-method": Verdict("error", "a zip archive packed by an unusual method",
                                   "pack it by the usual one (deflate), or unpack it and give the folder"),
    "file-archive-bomb": Verdict("error", "a zip archive that unpacks to far more than images do",
                                 "do not trust this archive"),
    # --- DICOM ---
    "dicom-other-files": Verdict("warning", "files that are not DICOM were left out", "check that none is missing"),
    "dicom-uneven": Verdict("warning", "slice distances are uneven: files may be missing, or of two acquisitions",
                            "export the series again"),
    "dicom-lossy": Verdict("warning", "lossy compression: Hounsfield units are approximate",
                           "export the series uncompressed or lossless"),
    "dicom-left-out": Verdict("warning", "files that are not axial CT were left out", "check that none is missing"),
    "dicom-damaged": Verdict("error", "a damaged DICOM file", "export it again"),
    "dicom-bomb": Verdict("error", "a deflated file that unpacks to far more than an image does",
                          "do not trust this file"),
    "dicom-value": Verdict("error", "a header element whose value cannot be read", "export the file again"),
    "dicom-frame-groups": Verdict("error", "a multi-frame image without one functional group a frame",
                                  "convert it to one file a slice (the archive's export)"),
    "dicom-not-ct": Verdict("error", "not a CT image", "keep only the CT series in the folder"),
    "dicom-other-class": Verdict("error", "a CT object but no CT image", "keep only the CT series in the folder"),
    "dicom-frames": Verdict("error", "several frames in a single-frame class: their places are not told",
                            "convert it to one file a slice (the archive's export)"),
    "dicom-localiser": Verdict("error", "a localiser (scout) image", "keep only the axial CT series in the folder"),
    "dicom-no-image": Verdict("error", "no image in the file", "keep only the CT series in the folder"),
    "dicom-too-large": Verdict("error", "the header claims more pixels than a CT slice has", "export it again"),
    "dicom-not-grey": Verdict("error", "not a greyscale image", "export the original CT series"),
    "dicom-bits": Verdict("error", "pixels are not whole numbers of 8 or 16 bit", "export the original CT series"),
    "dicom-not-hu": Verdict("error", "pixel values are not Hounsfield units", "export the original CT series"),
    "dicom-lookup-table": Verdict("error", "the pixels' lookup table does not give Hounsfield units",
                                  "export the series with rescale slope and intercept"),
    "dicom-no-slope": Verdict("error", "rescale slope or intercept is missing or no use: no Hounsfield units",
                              "export the original CT series"),
    "dicom-no-spacing": Verdict("error", "pixel spacing is missing or not positive",
                                "export the series with PixelSpacing"),
    "dicom-no-position": Verdict("error", "slice position is missing", "export the original axial series"),
    "dicom-no-orientation": Verdict("error", "slice orientation is missing", "export the original axial series"),
    "dicom-not-axial": Verdict("error", "a sagittal or coronal picture", "give the axial series"),
    "dicom-tilt-large": Verdict("error", "a tilted or oblique slice", "reconstruct straight axial slices"),
    "dicom-turned": Verdict("error", "a slice turned in its plane", "reconstruct slices along the patient's axes"),
    "dicom-tilt-contradicts": Verdict("error", "gantry tilt and slice orientation contradict each other",
                                      "reconstruct straight axial slices"),
    "dicom-tilt": Verdict("warning", "tilted slices: areas are multiplied by the tilt's cosine", "look at the overlay"),
    "dicom-tilt-tag": Verdict("warning", "gantry tilt and slice orientation differ: the orientation is taken",
                              "look at the overlay"),
    "dicom-inverted": Verdict("warning", "marked to be shown inverted: the values are taken as they are",
                              "look at the overlay"),
    "dicom-spacing": Verdict("error", "pixel spacing cannot be a CT's", "export the original CT series"),
    "dicom-no-syntax": Verdict("warning", "the transfer syntax is not named and was recognised by the first bytes",
                               "look at the overlay"),
    "dicom-two-patients": Verdict("error", "images of several patients", "give each patient a folder"),
    "dicom-several-series": Verdict("error", "several CT series",
                                    "choose one with --series N, or give each its own folder"),
    "dicom-no-series": Verdict("error", "no such series", "give another --series"),
    "dicom-two-phases": Verdict("error", "two different pictures at one slice position",
                                "give one phase its own folder"),
    "dicom-copies": Verdict("warning", "copies of slices were left out", "nothing, or export once"),
    "dicom-interleaved": Verdict("error", "several acquisitions in one series, at interleaved positions",
                                 "choose one with --acquisition N"),
    "dicom-no-acquisition": Verdict("error", "no such acquisition", "give another --acquisition"),
    "dicom-placeholder": Verdict("error", "position and pixel spacing are placeholders: the geometry is unknown",
                                 "export the original CT series, or accept 1 mm pixels with --trust-geometry"),
    "dicom-placeholder-trusted": Verdict("warning", "placeholder position and pixel spacing are trusted",
                                         "compare the areas with those of the original CT series"),
    "dicom-unit-pixels": Verdict("warning", "pixels of exactly 1 mm: resampled, or a placeholder",
                                 "check the pixel spacing against the original CT series"),
    "dicom-shifted": Verdict("error", "slices are shifted against each other", "export the original axial series"),
    "dicom-no-pixels": Verdict("error", "no pixel data in the file", "export it again with its image"),
    "dicom-truncated": Verdict("error", "pixel data are cut off", "export or copy it again"),
    "dicom-more-pixels": Verdict("warning", "more pixel data than rows and columns need: the first are taken",
                                 "look at the overlay"),
    "dicom-size-contradicts": Verdict("error", "compressed pixel data of another size than rows and columns",
                                      "export it again"),
    "dicom-undecodable": Verdict("error", "pixel data that cannot be decoded",
                                 "export it uncompressed (Explicit VR Little Endian)"),
    "dicom-high-bits": Verdict("warning", "bits above those stored were left out", "look at the overlay"),
    # --- NIfTI, pictures ---
    "nifti-damaged": Verdict("error", "not a readable NIfTI file", "convert it again"),
    "nifti-several": Verdict("error", "several NIfTI volumes and none is called ct.nii.gz",
                             "name the CT ct.nii.gz, or give the file itself"),
    "nifti-not-3d": Verdict("error", "not one volume of three dimensions", "give one CT volume"),
    "nifti-datatype": Verdict("error", "voxels are colours or complex numbers", "convert the original CT again"),
    "nifti-too-large": Verdict("error", "the header claims more voxels than a CT has", "convert it again, or crop it"),
    "nifti-scaling": Verdict("error", "slope and intercept say nothing: no Hounsfield units", "convert it again"),
    "nifti-no-orientation": Verdict("error", "orientation is not given", "convert the DICOM again"),
    "nifti-two-orientations": Verdict("error", "the two orientations of the header contradict each other",
                                      "convert the DICOM again"),
    "nifti-placeholder-affine": Verdict(
        "error", "the affine is a placeholder (an identity): voxel size and orientation are unknown",
        "convert the DICOM again, or accept 1 mm voxels with --trust-geometry",
    ),
    "nifti-placeholder-trusted": Verdict("warning", "a placeholder affine is trusted: voxels of 1 mm",
                                         "compare the areas with those of the original CT series"),
    "nifti-unit-voxels": Verdict("warning", "pixels of exactly 1 mm: resampled, or a placeholder",
                                 "check the voxel size against the original CT series"),
    "nifti-spacing": Verdict("error", "voxel size is missing or cannot be a CT's", "convert the DICOM again"),
    "nifti-units": Verdict("warning", "voxel size is not given in mm and was converted", "check the areas"),
    "nifti-oblique": Verdict("error", "oblique volume", "resample it to straight axial slices"),
    "nifti-turned": Verdict("warning", "the volume is slightly turned in its slices' plane: areas are as they are",
                            "look at the overlay"),
    "nifti-tilt": Verdict("warning", "the volume is slightly turned: areas are multiplied by the tilt's cosine",
                          "look at the overlay"),
    "nifti-not-finite": Verdict("error", "values that are not finite", "convert the original CT again"),
    "picture-damaged": Verdict("error", "not a readable PNG or JPEG picture", "save it again"),
    "picture-too-large": Verdict("error", "the picture has more pixels than a CT slice", "save the slice alone"),
    "picture-no-spacing": Verdict("error", "a picture tells no pixel spacing", "give --picture-spacing in mm"),
    "picture-spacing": Verdict("error", "the pixel spacing declared cannot be a CT's", "give row and column in mm"),
    "picture-window-range": Verdict("error", "the window declared is no range of Hounsfield units",
                                    "give the Hounsfield units of black and of white"),
    "picture-colour": Verdict("error", "the picture is coloured or partly transparent", "save it in greys alone"),
    "picture-turned": Verdict("error", "the picture is stored turned", "save it upright"),
    "picture-several": Verdict("error", "the file holds several pictures", "save the slice alone"),
    "picture-hu": Verdict("warning", "a picture: Hounsfield units are those of the window declared, front up and the "
                          "patient's right on the left", "give the DICOM series"),
    "picture-window": Verdict("warning", "the window cuts the Hounsfield ranges that are counted",
                              "save it with a window of -200 to 300 HU or wider"),
    "picture-no-hu": Verdict("warning", "no window is declared: grey levels are no Hounsfield units, and no range is "
                             "applied", "give --picture-window"),
    "picture-lossy": Verdict("warning", "JPEG is lossy: values are approximate", "save it as PNG"),
    # --- level ---
    "slice-only": Verdict("warning", "the only slice is taken as the level asked for", "check that it is"),
    "level-no-slice": Verdict("error", "no such slice", "give another --slice-z or --slice-index"),
    "level-differs": Verdict("warning", "by the labels the slice chosen is not of the level asked for",
                             "check --slice-z or --slice-index, or give that --level"),
    "level-at-end": Verdict("warning", "the level touches the volume's end: its largest slice may lie outside",
                            "give a volume that reaches further"),
    "level-unknown": Verdict("error", "nothing says where the vertebra is",
                             "give --masks with a vertebra label, or --slice-z"),
    "level-missing": Verdict("error", "the vertebra is not in the volume", "give --slice-z or --level"),
    "level-edge": Verdict("error", "only the edge of the vertebra is in the volume", "give --slice-z or --level"),
    # --- masks and readers' regions ---
    "mask-half": Verdict("warning", "masks hold only a part of a muscle: it stays unsegmented", "segment both sides"),
    "mask-empty": Verdict("warning", "the mask is empty on this slice", "check the slice"),
    "mask-outside": Verdict("warning", "part of the mask lies outside the trunk and is left out",
                            "look at the overlay"),
    "mask-missing": Verdict("error", "masks not found",
                            "give TotalSegmentator's or BOA's output folder, or one label map"),
    "mask-shape": Verdict("error", "mask and image differ in shape", "segment this very image"),
    "mask-spacing": Verdict("error", "mask and image differ in pixel spacing", "segment this very image"),
    "mask-position": Verdict("error", "mask and image differ in position in the patient", "segment this very image"),
    "mask-orientation": Verdict("error", "mask and image differ in orientation", "segment this very image"),
    "mask-slices": Verdict("error", "mask and image differ in slice position", "segment this very image"),
    "mask-version": Verdict("error", "labels are numbered as by TotalSegmentator 1, or BOA before 1.0",
                            "segment with version 2, or give one file a structure"),
    "mask-twice": Verdict("error", "several masks of one name", "give the folder of one patient"),
    "mask-values": Verdict("error", "mask values are not labels", "give whole numbers from 0"),
    "mask-full": Verdict("error", "the mask covers everything", "segment this very image"),
    "mask-off-body": Verdict("error", "the mask lies outside the body", "segment this very image"),
    "mask-foreign": Verdict("error", "the mask does not fit the picture: flipped, or of another image",
                            "segment this very image"),
    "mask-misfit": Verdict("warning", "the mask fits the picture badly", "look at the overlay"),
    "mask-segmenter-missing": Verdict("error", "TotalSegmentator is not on PATH",
                                      "pip install TotalSegmentator, or give --masks"),
    "mask-segmenter-failed": Verdict("error", "TotalSegmentator failed", "run it by hand and give --masks"),
    "mask-segmenter-slow": Verdict("error", "TotalSegmentator took too long and was stopped",
                                   "run it by hand, best on a GPU, and give --masks"),
    "roi-missing": Verdict("error", "no ImageJ regions found", "give .roi files or a zip of them"),
    "roi-damaged": Verdict("error", "not a readable ImageJ region", "save it again"),
    "roi-no-area": Verdict("error", "a line, point, angle or text encloses no area", "draw an area, or delete it"),
    "roi-kind": Verdict("error", "a kind of region that is not understood",
                        "turn it into a polygon in ImageJ (Edit > Selection > Create Mask, then Create Selection)"),
    "roi-name": Verdict("error", "a region's name tells no tissue", "name it SAT, VAT or ESM"),
    "roi-outside": Verdict("error", "a region lies outside the picture", "draw it on this very picture"),
    "roi-other-slice": Verdict("error", "no region lies on the slice chosen", "give --slice-z of the slice drawn on"),
    "roi-two-slices": Verdict("error", "regions lie on two slices that may both be the one chosen",
                              "keep those of one slice"),
    "roi-clipped": Verdict("warning", "a part of a region lies outside the picture", "look at the overlay"),
    "roi-other-slices": Verdict("warning", "regions of other slices were left out", "check that this is meant"),
    "roi-other-files": Verdict("warning", "files that are no ImageJ regions were left out",
                               "check that none is missing"),
    "roi-overlap": Verdict("warning", "regions of two tissues overlap: the more closely drawn one has the pixels",
                           "draw the subcutaneous ring as a composite with a hole"),
    "roi-on-nifti": Verdict("warning", "regions on a NIfTI volume are read as drawn front up, the patient's right on "
                            "the left", "look at the overlay"),
    # --- slice and field of view ---
    "slice-no-air": Verdict("error", "no air on the slice: not in Hounsfield units, or cut too closely",
                            "export the original CT series"),
    "slice-no-trunk": Verdict("error", "no trunk on the slice", "choose another slice"),
    "slice-orientation": Verdict(
        "error", "the spine is not posterior along the header's axes: the orientation is wrong",
        "correct the header or convert the original CT again; --trust-geometry measures the slice as it is",
    ),
    "slice-orientation-trusted": Verdict(
        "warning", "the spine is not posterior along the header's axes, which are trusted", "look at the overlay"
    ),
    "slice-padding": Verdict("warning", "padding inside the trunk: its pixels count as no tissue",
                             "look at the overlay; export the original CT series"),
    "fat-unsegmented": Verdict(
        "warning", "fat is unsegmented: subcutaneous and visceral fat together, no SFA and no VFA",
        "give masks, or leave --segment at hu",
    ),
    "fat-no-wall": Verdict("warning", "no wall of muscle and ribs is found: fat stays unsegmented, no SFA and no VFA",
                           "look at the overlay; give masks"),
    "muscle-estimated": Verdict("warning", "the erector spinae are found by Hounsfield units and the vertebra's label: "
                                "typically 10 to 30 % off", "look at the overlay, or give a mask"),
    "field-touched": Verdict("warning", "the trunk touches the edge of the field of view", "look at the overlay"),
    "field-cut": Verdict("warning", "the field of view cuts the trunk: areas at its edge are incomplete",
                         "reconstruct with a larger field of view"),
    "field-arm": Verdict("warning", "an arm lies against the trunk and is cut off where it joins",
                         "look at the overlay"),
    "slice-trunk-large": Verdict("error", "the trunk is larger than anybody's", "check the pixel spacing"),
    "slice-hu-shift": Verdict("warning", "air or fat lies elsewhere than on the Hounsfield scale",
                              "check rescale slope and intercept, or the conversion"),
    "fat-none": Verdict("warning", "a fat that was looked for was not found: its area stays empty",
                        "look at the overlay"),
    "slice-height": Verdict("error", "body height is out of range", "give metres, 0.5 to 2.6"),
    # --- clinical table ---
    # The file as a whole.
    "csv-unreadable": Verdict("error", "cannot read the clinical CSV", "check the path and its permissions"),
    "csv-workbook": Verdict("error", "not a CSV", "open it in the spreadsheet and save it as CSV UTF-8"),
    "csv-too-large": Verdict("error", "too large for a clinical table", "give one row a patient, no other columns"),
    "csv-encoding": Verdict("error", "the encoding is neither UTF-8, UTF-16 with a byte-order mark nor gb18030",
                            "save it as CSV UTF-8"),
    "csv-gb18030": Verdict("warning", "not UTF-8: read as gb18030",
                           "save it as CSV UTF-8, or check that names and ids are read right"),
    "csv-separator": Verdict("warning", "cells are not separated by commas", "nothing, if the columns are read right"),
    "csv-quote": Verdict("error", "quotes do not match", "close the quote, or double a quote inside a quoted cell"),
    "csv-empty": Verdict("error", "the clinical table is empty", "give a header and one row a patient"),
    # Its header.
    "csv-no-id": Verdict("error", "no column patient_id",
                         "begin with a header, name the column of ids patient_id, separate cells by commas"),
    "csv-column-twice": Verdict("error", "two columns hold the same value", "keep one"),
    "csv-column-open": Verdict("error", "the name leaves unit or coding open", "rename the column"),
    "csv-column-near": Verdict("warning", "the name is nearly a column's and is not used", "rename the column"),
    "csv-column-unnamed": Verdict("warning", "a column without a name is not used", "name it, or remove it"),
    "csv-columns-unused": Verdict("warning", "columns not used", "nothing, if they are not meant to be"),
    "csv-alias": Verdict("warning", "another name of a column was understood", "check that it is meant"),
    "csv-unit-read": Verdict("warning", "a column in another unit was converted", "check the unit"),
    # Its rows and ids.
    "csv-ragged": Verdict("error", "cells are missing or too many",
                          "quote cells that hold the separator, use decimal points; write one cell a column"),
    "csv-id-empty": Verdict("error", "no id", "one id a patient"),
    "csv-id-twice": Verdict("error", "an id is given twice: neither row is used", "one row a patient"),
    "csv-id-scientific": Verdict("error", "a spreadsheet turned the id into scientific notation",
                                 "format the ids as text and export again"),
    "csv-id-spoiled": Verdict("error", "a formula or an error value in place of the id", "write the id as text"),
    "csv-id-long": Verdict("error", "the id has more than 255 characters", "use a shorter id"),
    "csv-id-trimmed": Verdict("warning", "blanks around ids were left out", "remove them"),
    "csv-id-decimal": Verdict("warning", "ids end in .0: a program made numbers of them",
                              "format the ids as text and export again"),
    "csv-id-alike": Verdict("warning", "ids differ only by case, width or leading zeros", "check that both exist"),
    # Its cells.
    "csv-control": Verdict("error", "a sign that nobody sees", "type the cell anew"),
    "csv-formula": Verdict("error", "a formula, not its value", "paste values only and export again"),
    "csv-excel-error": Verdict("error", "a spreadsheet's error value", "mend the formula, or leave the cell empty"),
    "csv-date": Verdict("error", "a date or a range in place of a number",
                        "write the number; spreadsheets turn 3-1 and 1.2 into dates"),
    "csv-bound": Verdict("error", "a bound of the assay, not a value",
                         "decide on a value and say so in your methods, or leave the cell empty"),
    "csv-unit-in-cell": Verdict("error", "a unit or text behind the number",
                                "write the number alone; the column's name carries the unit"),
    "csv-thousands": Verdict("error", "separators of thousands", "write the number without them"),
    "csv-ambiguous": Verdict("error", "the cell has two readings", "write the one that is meant"),
    "csv-decimal-comma": Verdict("error", "a decimal comma where it is not plain", "use decimal points in this column"),
    "csv-decimal-comma-read": Verdict("warning", "decimal commas were read as decimal points", "check the column"),
    "csv-scientific": Verdict("warning", "scientific notation was read", "check that no digits are lost"),
    "csv-not-number": Verdict("error", "not a number", "write a number, or leave the cell empty where unknown"),
    "csv-not-binary": Verdict("error", "not 0 or 1", "write 0 or 1, or leave the cell empty where unknown"),
    "csv-level": Verdict("error", "no known level", "write one of the levels, or leave the cell empty where unknown"),
    "csv-spelling": Verdict("warning", "other spellings were understood", "check that they are meant"),
    "csv-range": Verdict("error", "out of range", "correct the cell, or leave it empty where unknown"),
    "csv-range-unit": Verdict("error", "out of range, but not in another unit, like most of the column",
                              "rename the column to the one with that unit"),
    "csv-cell-unit": Verdict("error", "out of range, but not in another unit, unlike the rest of the column",
                             "write the cell in the column's unit, or leave it empty where unknown"),
    "csv-missing-undeclared": Verdict("error", "out of range, like a code for unknown",
                                      "declare it with --missing CODE, or leave the cell empty"),
    "csv-missing-doubtful": Verdict("warning", "a number often used for unknown is taken as measured",
                                    "declare it with --missing COLUMN=CODE if it means unknown"),
    "csv-missing-declared": Verdict("warning", "declared codes were read as unknown", "check their number"),
    "csv-slice-both": Verdict("error", "slice_z_mm and slice_index are both given", "give one of them"),
    "csv-more-errors": Verdict("error", "more errors than are listed", "mend those listed first"),
    "csv-more-warnings": Verdict("warning", "more warnings than are listed", "look at those listed first"),
    # Columns against each other.
    "csv-index": Verdict("error", "the index is not area / height^2", "correct index, area or height"),
    "csv-index-height": Verdict("error", "index and area imply no adult's height", "correct index or area"),
    "csv-event-time": Verdict("error", "an event status without its time", "give the time, or leave both empty"),
    "csv-event-at-zero": Verdict("error", "an event at time 0",
                                 "give the time to the event; leave patients out who had it before surgery"),
    "csv-label-event": Verdict("error", "a bone metastasis is a distant metastasis", "correct one of the two"),
    "csv-triple-negative": Verdict("error", "triple negative with a positive receptor", "correct one of the two"),
    "csv-subtype": Verdict("warning", "the subtype is not that of the receptors and Ki-67",
                           "correct it, unless it comes from gene expression"),
    "csv-endocrine": Verdict("warning", "endocrine therapy without a hormone receptor", "check both"),
    "csv-menopause": Verdict("warning", "menopause is rare at this age", "check both"),
    "csv-age": Verdict("warning", "a rare age", "check it"),
    "csv-bmi": Verdict("warning", "BMI is not weight / height^2", "check the three"),
    "csv-time-no-event": Verdict("warning", "a follow-up time without event status", "give the status"),
    "csv-time-long": Verdict("warning", "a follow-up of more than 20 years", "check that the column holds months"),
    "csv-zero": Verdict("warning", "0 in a measurement", "leave the cell empty if it means unknown"),
    # --- cohort ---
    "cohort-no-id": Verdict("error", "the input's name gives no patient_id", "give a folder with a name"),
    "cohort-same-name": Verdict("error", "two inputs have the same name", "give every patient another folder name"),
    "cohort-no-match": Verdict("error", "no patient_id of the table is the name of an input folder",
                               "make ids and folder names equal"),
    "cohort-no-row": Verdict("warning", "inputs have no row in the clinical table: their columns stay empty",
                             "add their rows"),
    "cohort-row-refused": Verdict("warning", "inputs have a row with errors in the clinical table: it is not used",
                                  "mend the rows' errors"),
    "cohort-no-image": Verdict("warning", "rows of the clinical table have no input and are left out",
                               "give their images"),
    "cohort-no-masks": Verdict("warning", "no masks for this input: read without",
                               "name them <patient_id>/ or <patient_id>.nii.gz in that folder"),
    "cohort-no-rois": Verdict("warning", "no reader's regions for this input: read without",
                              "name them <reader>/<patient_id>.zip, .roi or folder"),
    "cohort-none-read": Verdict("error", "no input could be read", "run `bonemet verify`, which lists every reason"),
    "cohort-replaced": Verdict("warning", "measured here, not taken from the table", "check that the table agrees"),
    "cohort-cut": Verdict("warning", "not wholly in view here: the table's value is left out",
                          "look at the overlay; reconstruct with a larger field of view"),
    "cohort-index-lost": Verdict("warning", "area measured here but no height: the table's index left out",
                                 "give height_m"),
    "cohort-index-differs": Verdict("warning", "the table's index is not the area measured here / height^2",
                                    "check slice, height and table"),
    # --- cohort directory (verify) ---
    "cohort-unreadable": Verdict("error", "manifest or table of the cohort cannot be read", "make the cohort again"),
    "cohort-file-missing": Verdict("error", "a file that the manifest names is missing",
                                   "restore it from a copy, or make the cohort again"),
    "cohort-file-changed": Verdict("error", "the file is not what was written (sha256 differs)",
                                   "restore it from a copy, or make the cohort again"),
    "cohort-file-unlisted": Verdict("warning", "files that the manifest does not name",
                                    "take them out before the cohort is handed on"),
    "cohort-no-column": Verdict("error", "the cohort table lacks a column", "make the cohort again"),
    "cohort-cell": Verdict("error", "a cell of the cohort table is not what the column holds",
                           "mend the clinical table and run ingest again"),
    "cohort-twice": Verdict("error", "an id is given twice", "keep one row a patient"),
    "cohort-no-label": Verdict("warning", "bone metastasis is unknown: training refuses these patients",
                               "add the outcome to the clinical table, or use the cohort for predict only"),
    "cohort-one-class": Verdict("warning", "all patients with a known outcome are of one class: nothing to learn",
                                "add patients of the other class"),
    "cohort-no-slice": Verdict("error", "a patient's slice is missing", "run ingest again with that patient's images"),
    "cohort-slice-damaged": Verdict("error", "a patient's slice cannot be read", "run ingest again"),
    "cohort-area": Verdict("error", "an area of the table is not that of the slice",
                           "run ingest again; change no area by hand"),
    "cohort-index": Verdict("error", "an index is not its area divided by the height squared",
                            "mend height or index in the clinical table and run ingest again"),
    "cohort-same-image": Verdict("error", "one image stands under several ids: test data would leak into training",
                                 "find out whose it is and leave the others out"),
    "cohort-salt-open": Verdict("error", "others on this machine may read the salt and undo the hashed file names",
                                "chmod 600 salt"),
}


@dataclass(frozen=True)
class Finding:
    """One thing the user should know."""

    code: str
    what: str
    """One sentence: the meaning, and the figures of this case."""
    fact: str = ""
    """What decided: a header element and what it holds, a cell, a figure beside its limit."""
    where: str = ""
    """File, member of an archive, or table."""
    patient: str = ""
    """patient_id, where it concerns one."""
    row: int | None = None
    """Row of the table as a spreadsheet counts: 1 is the header."""
    column: str = ""
    remedy: str = ""
    """What to do in this case, where the table's remedy does not fit it."""

    @property
    def severity(self) -> Severity:
        """error or warning."""
        return VERDICTS[self.code].severity

    @property
    def mend(self) -> str:
        """What to do about it."""
        return self.remedy or VERDICTS[self.code].mend

    def __str__(self) -> str:
        return f"{self.what} ({self.fact})" if self.fact else self.what


def find(code: str, detail: str = "", fact: str = "", where: object = "") -> Finding:
    """The finding of a code; `detail` replaces the table's words where this case needs figures."""
    return Finding(code, detail or VERDICTS[code].meaning, fact, str(where))


def refusal(code: str, where: object, detail: str = "", fact: str = "", mend: str = "") -> InputDataError:
    """The error of a code, to be raised; `mend` replaces the table's remedy where this case knows a better one."""
    verdict = VERDICTS[code]
    return InputDataError(detail or verdict.meaning, where, mend or verdict.mend, code, fact)


def finding_of(error: InputDataError) -> Finding:
    """The finding that an error carries."""
    return Finding(error.code, error.what, error.fact, error.where, remedy=error.mend)
