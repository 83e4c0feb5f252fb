"""Units: at the end of a variable's name (sfa_cm2, bmi_kg_m2), and in the formulas of a text ("height (m) squared")."""

import re
from collections import Counter
from collections.abc import Sequence

#: Powers of each unit: cm2/m2 is {"cm": 2, "m": -2}.
Powers = dict[str, int]
_ATOMS = ("years", "months", "days", "mm", "cm", "dm", "m", "kg", "mg", "ng", "g", "dl", "ml", "l", "u", "iu", "mmol")
_DENOMINATORS = ("m2", "m3", "ml", "dl", "l")
_ATOM = re.compile(rf"({'|'.join(sorted(_ATOMS, key=len, reverse=True))})([1-9]?)")
_FACTOR = re.compile(r"\(([^()]*)\)\s*(squared|cubed|(?:\^|\*\*)\s*[1-9])?")
_PLAIN = str.maketrans({"²": "2", "³": "3"})


def unit_of(name: str) -> str:
    """The unit that ends a name, as it stands there ("cm2_m2"); empty where there is none."""
    parts = name.split("_")
    if len(parts) > 2 and parts[-1] in _DENOMINATORS and _ATOM.fullmatch(parts[-2]):
        return "_".join(parts[-2:])
    return parts[-1] if len(parts) > 1 and _ATOM.fullmatch(parts[-1]) else ""


def read_unit(text: str) -> Powers | None:
    """Powers of "cm2", "kg/m2" or "kg_m2"; None where it is no unit known here."""
    parts = re.split(r"[_/]", text.strip().lower().translate(_PLAIN))
    found = [_ATOM.fullmatch(part) for part in parts]
    if len(parts) > 2 or None in found:
        return None
    return _multiply([({m[1]: int(m[2] or 1)}, sign) for m, sign in zip(found, (1, -1), strict=False) if m])


def read_formula(text: str) -> Powers | None:
    """Powers of the result of "SFA (cm2) / height (m) squared"; None where a side names no unit."""
    sides = re.split(r"/(?![^()]*\))", text.translate(_PLAIN))
    terms: list[tuple[Powers, int]] = []
    for i, side in enumerate(sides):
        factors = _FACTOR.findall(side)
        for unit, power in factors:
            powers = read_unit(unit)
            if powers is None:
                return None
            terms.append((powers, (-1 if i else 1) * _read_power(power)))
        if not factors:
            return None
    return _multiply(terms)


def _read_power(text: str) -> int:
    return {"": 1, "squared": 2, "cubed": 3}.get(text) or int(text[-1])


def _multiply(terms: Sequence[tuple[Powers, int]]) -> Powers:
    total: Counter[str] = Counter()
    for powers, power in terms:
        for atom, n in powers.items():
            total[atom] += n * power
    return {atom: n for atom, n in total.items() if n}


def show_unit(powers: Powers) -> str:
    """Text of powers: cm2 m-4."""
    return " ".join(f"{atom}{'' if n == 1 else n}" for atom, n in sorted(powers.items())) or "1"


def pair_indices(names: Sequence[str]) -> dict[str, str]:
    """Index -> the variable it divides by height squared, by unit alone where the names tell no more.

    An index ends with U_m2, its variable with U. The one whose stem is equal but for its last letter (esmi, esma), else
    the row just above.
    """
    pairs: dict[str, str] = {}
    for place, name in enumerate(names):
        unit = unit_of(name)
        if not unit.endswith("_m2"):
            continue
        base = unit.removesuffix("_m2")
        areas = [other for other in names if unit_of(other) == base]
        stem = name.removesuffix(f"_{unit}")
        alike = [area for area in areas if _is_alike(area.removesuffix(f"_{base}"), stem)]
        above = [names[place - 1]] if place and names[place - 1] in areas else []
        if len(alike) == 1 or above:
            pairs[name] = (alike if len(alike) == 1 else above)[0]
    return pairs


def _is_alike(a: str, b: str) -> bool:
    """Equal but for a letter at the end: v1 and v2 are no such pair."""
    return a[:-1] == b[:-1] and a[-1:].isalpha() and b[-1:].isalpha()
