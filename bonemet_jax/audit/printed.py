"""A printed number stands for every value that rounds to it: half a unit of its last place to either side."""

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d{1,2})?")
_LONGEST, _LARGEST = 40, 10**12
_SIGNS = str.maketrans({"−": "-", "≤": "<", "≥": ">"})


@dataclass(frozen=True)
class Printed:
    """The text and the closed interval it stands for, exactly; of "<0.001" 0..0.001, of ">0.05" 0.05..1."""

    text: str
    exact_low: Fraction
    exact_high: Fraction

    @property
    def low(self) -> float:
        """Smallest value that is printed so."""
        return float(self.exact_low)

    @property
    def high(self) -> float:
        """Largest value that is printed so."""
        return float(self.exact_high)

    @property
    def value(self) -> float:
        """The number as it stands."""
        return float((self.exact_low + self.exact_high) / 2)

    def divided(self, by: int) -> "Printed":
        """The same text as a share: 83.1 per cent, divided by 100."""
        return Printed(self.text, self.exact_low / by, self.exact_high / by)

    def meets(self, low: float, high: float) -> bool:
        """Whether some value printed so lies in low..high."""
        return low <= self.high + _slack(self.high) and high >= self.low - _slack(self.low)


def _slack(value: float) -> float:
    """What float arithmetic may lose beside an exact bound."""
    return 1e-12 * max(abs(value), 1e-3)


def parse_number(text: str) -> Printed:
    """A decimal as printed, its zeros included: "27.0" is 26.95..27.05. Raises: ValueError."""
    plain = text.strip().translate(_SIGNS)
    if len(plain) > _LONGEST or not _NUMBER.fullmatch(plain):
        raise ValueError(text)
    number = Decimal(plain)
    if abs(number) > _LARGEST:
        raise ValueError(text)
    half = Fraction(10) ** int(number.as_tuple().exponent) / 2
    return Printed(text, Fraction(number) - half, Fraction(number) + half)


def parse_p(text: str) -> Printed:
    """A p value: "0.036", "<0.001", "> 0.05". Raises: ValueError, also for one outside 0..1."""
    plain = text.strip().translate(_SIGNS).removeprefix("p").strip().removeprefix("=").strip()
    if plain[:1] in ("<", ">"):
        number = parse_number(plain[1:].lstrip("= "))
        bound = (number.exact_low + number.exact_high) / 2
        low, high = (Fraction(0), bound) if plain[0] == "<" else (bound, Fraction(1))
    else:
        number = parse_number(plain)
        low, high = max(number.exact_low, Fraction(0)), min(number.exact_high, Fraction(1))
    if not 0 <= low <= high <= 1:
        raise ValueError(text)
    return Printed(text, low, high)


def parse_count(text: str) -> int:
    """A whole number of patients. Raises: ValueError."""
    if not re.fullmatch(r"\d{1,7}", text.strip()):
        raise ValueError(text)
    return int(text)


def find_count(share: Printed, n: int) -> int | None:
    """The smallest k for which k / n is printed as `share`; None: there is none."""
    k = max(math.ceil(share.exact_low * n), 0)
    return k if k <= min(share.exact_high * n, n) else None
