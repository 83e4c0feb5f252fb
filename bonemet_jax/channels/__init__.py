"""Image channels: CT window, LBP, HOG, mask. Pure, batched and jit-able; `reference` is scikit-image.

Import the modules themselves, so that a caller pays for what it uses.
"""
