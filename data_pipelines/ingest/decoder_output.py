"""Warnings that image decoders print on standard error, or raise as Python warnings, while they decode one image."""

import contextlib
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from bonemet_jax.process_state import REPLACING_WARNINGS

#: Words of libjpeg, OpenJPEG and GDCM -> what a message quotes; the decoders' own text is never quoted.
PHRASES = {
    "premature end of data segment": "premature end of data segment",
    "premature end of JPEG file": "premature end of JPEG file",
    "extraneous bytes before marker": "extraneous bytes before a marker",
    "bad Huffman code": "bad Huffman code",
    "bad arithmetic code": "bad arithmetic code",
    "found marker": "a marker where another is due",
    "Inconsistent progression sequence": "inconsistent progression sequence",
    "tile": "damaged tile",
    "packet": "damaged packet",
    "segment": "damaged segment",
}
#: OpenJPEG's message about a colour transform declared for a grey image, which it then skips.
_HARMLESS = "Skip the MCT step"
#: Python warnings of pydicom that compare header elements, not pixel data.
_OF_HEADERS = ("Photometric Interpretation", "Number of Frames", "matches the expected number", "decoding plugin has",
               "Extended Offset Table", "Bits Stored", "Pixel Representation")  # fmt: skip
#: Python warnings about a program or library, not about data.
_OF_PROGRAMS = (DeprecationWarning, PendingDeprecationWarning, FutureWarning, ResourceWarning, ImportWarning)
_MAX_BYTES = 1 << 16


@dataclass
class DecoderOutput:
    """What was printed or warned inside the block; complete after it."""

    text: str = ""

    @property
    def fact(self) -> str:
        """Empty without a warning, else words of a closed list."""
        if not self.text:
            return ""
        known = next((shown for phrase, shown in PHRASES.items() if phrase in self.text), "")
        return f"decoder warning: {known}" if known else "decoder warning"


@contextlib.contextmanager
def capture_decoder_output() -> Iterator[DecoderOutput]:
    """Collect what the block's libraries write to file descriptor 2, and its Python warnings.

    Standard error is replaced by a pipe, since guarded processes must not write files. Its writing end never blocks, so
    that no decoder can wait for a reader; what exceeds the pipe is dropped. One block at a time in a process: what
    another thread prints meanwhile is collected too.
    """
    output = DecoderOutput()
    with REPLACING_WARNINGS, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        reading, writing = os.pipe()
        try:
            os.set_blocking(writing, False)
            os.set_blocking(reading, False)
            with _standard_error_as(writing):
                yield output
        finally:
            os.close(writing)
            with contextlib.suppress(BlockingIOError):
                printed = os.read(reading, _MAX_BYTES).decode("ascii", "replace")
                output.text = "\n".join(line for line in printed.splitlines() if line and _HARMLESS not in line)
            os.close(reading)
            warned = [str(one.message) for one in caught if not issubclass(one.category, _OF_PROGRAMS)]
            output.text += "\n".join(text for text in warned if not any(words in text for words in _OF_HEADERS))


@contextlib.contextmanager
def _standard_error_as(descriptor: int) -> Iterator[None]:
    """File descriptor 2 is another one inside the block; closed again where it was closed before."""
    try:
        before = os.dup(2)
    except OSError:
        before = -1
    os.dup2(descriptor, 2)
    try:
        yield
    finally:
        if before < 0:
            os.close(2)
        else:
            os.dup2(before, 2)
            os.close(before)
