"""Units of stated formulas."""

from collections.abc import Iterator

from bonemet_jax.audit.finding import Outcome
from bonemet_jax.audit.tables import Tables
from bonemet_jax.audit.units import read_formula, read_unit, show_unit, unit_of


def check_unit(tables: Tables) -> Iterator[Outcome | None]:
    """The units in a formula give the unit of what it defines."""
    for formula in tables.formulas:
        result = read_formula(formula.text)
        units = {name: read_unit(unit_of(name)) for name in formula.names if unit_of(name)}
        wrong = [unit_of(name) for name, unit in units.items() if unit is not None and unit != result]
        if result is not None and units:
            yield None if not wrong else Outcome(
                formula.where, formula.text, wrong[0].replace("_", "/"), f"its units give {show_unit(result)}")
