"""From the text of a file to Tables (shape: tables.py). Everything that does not fit is refused with its place."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, cast

from bonemet_jax.audit.document import Node, Tree, load_tree
from bonemet_jax.audit.printed import Printed
from bonemet_jax.audit.tables import (
    HAZARD_FIELDS,
    MEASURES,
    STATISTICS,
    Cell,
    Continuous,
    Counted,
    Cutoff,
    Estimate,
    Formula,
    Hazard,
    Performance,
    Table2,
    Tables,
    Test,
)
from bonemet_jax.audit.units import pair_indices

_LISTS = ("listed", "listed_twice", "not_listed")
_TABLE1_KEYS = {"p", "n", "test", "doubtful"}
_PARTS = "groups, table1_continuous, table1_counts, table2, table3, ..., NAME_cutoff, pairs, denominators, formulas"


def load_tables(path: Path | str) -> Tables:
    """Read and parse a file. Raises: InputDataError with the place in it."""
    return parse_tables(load_tree(path), str(path))


def parse_tables(tree: Tree, file: str = "tables") -> Tables:
    """Parse what a file holds, or a mapping of that shape. Raises: InputDataError with the place in it."""
    top = Node(tree, "", file)
    parts = top.items()
    _check_parts(top, parts)
    groups = {name: _need_count(node) for name, node in parts["groups"].items().items()} if "groups" in parts else {}
    continuous = tuple(_read_continuous(node, name, groups) for name, node in _rows(parts, "table1_continuous"))
    models = [name for name in parts if _is_model_table(name)]
    return Tables(
        groups, continuous,
        tuple(_read_counted(node, name, groups) for name, node in _rows(parts, "table1_counts")),
        _read_pairs(parts.get("pairs"), [row.name for row in continuous]),
        _read_table2(parts["table2"]) if "table2" in parts else Table2(),
        tuple(p for table in models for p in _read_models(parts[table], table)),
        tuple(_read_cutoff(parts[key], key, groups) for key in parts if key.endswith("cutoff")),
        tuple(_read_formula(node) for node in (parts["formulas"].members() if "formulas" in parts else [])),
        {split: _read_sizes(node, groups) for split, node in _rows(parts, "denominators")},
    )


def _is_model_table(name: str) -> bool:
    return name.startswith("table") and not name.startswith("table1") and name != "table2"


def _check_parts(top: Node, parts: Mapping[str, Node]) -> None:
    fixed = {"source", "notes", "groups", "table1_continuous", "table1_counts", "table2", "pairs", "denominators",
             "formulas"}
    for name, node in parts.items():
        if name not in fixed and not _is_model_table(name) and not name.endswith("cutoff"):
            raise node.refuse("a part that is not known", f"the parts are {_PARTS}")
    if not any(name.startswith("table") or name.endswith("cutoff") for name in parts):
        raise top.refuse("no table in the file", f"the parts are {_PARTS}")
    if "groups" not in parts and any(name.startswith("table1") or name.endswith("cutoff") for name in parts):
        raise top.refuse("groups are missing", 'add the patients of each group, as groups: {"no": 379, "yes": 52}')


def _rows(parts: Mapping[str, Node], name: str) -> Iterable[tuple[str, Node]]:
    return parts[name].items().items() if name in parts else ()


def _need_count(node: Node) -> int:
    n = node.count()
    if n is None or n < 1:
        raise node.refuse("a number of patients is wanted here", "write it as a whole number")
    return n


def _read_sizes(node: Node | None, groups: Mapping[str, int]) -> dict[str, int]:
    """Patients of each group, those stated in place of the whole group's."""
    stated = node.items() if node is not None else {}
    for name, size in stated.items():
        if name not in groups:
            raise size.refuse(f"no group '{name[:40]}'", f"the groups are {', '.join(groups)}")
    return {**groups, **{name: _need_count(size) for name, size in stated.items()}}


class _Doubts:
    """What a row marks as doubtful; `known` are the places it may name."""

    def __init__(self, node: Node | None, known: Iterable[str]) -> None:
        self.whole = node is not None and node.value == "true"
        self.places: set[str] = set()
        if node is None or self.whole or node.value == "false":
            return
        for entry, allowed in ((member, set(known)) for member in node.members()):
            if entry.text() not in allowed:
                raise entry.refuse(f"'{entry.text()[:40]}' names nothing in this row",
                                   f"use true, or some of {', '.join(sorted(allowed)[:12])}")
            self.places.add(entry.text())

    def hold(self, *parts: str) -> bool:
        """Whether the place, or one that holds it, is doubtful."""
        return self.whole or any(".".join(parts[: i + 1]) in self.places for i in range(len(parts)))


# --- Table 1 --------------------------------------------------------------------------------------


def _read_test(node: Node | None) -> Test | None:
    known = ("student", "welch", "chisq", "yates", "fisher", "other")
    return cast("Test", node.choose(*known)) if node is not None else None


def _check_keys(node: Node, row: Mapping[str, Node], known: Iterable[str]) -> None:
    for name in row:
        if name not in set(known):
            raise node.refuse(f"'{name[:40]}' is not known here", f"use {', '.join(sorted(known))}")


def _read_continuous(node: Node, name: str, groups: Mapping[str, int]) -> Continuous:
    row = node.items()
    _check_keys(node, row, {*groups, *_TABLE1_KEYS})
    doubts = _Doubts(row.get("doubtful"), ["p", *groups, *(f"{g}.{s}" for g in groups for s in STATISTICS)])
    statistics: dict[str, dict[str, Printed]] = {}
    for group in groups:
        values = row[group].members(len(STATISTICS)) if group in row else []
        read = {s: v.number() for s, v in zip(STATISTICS, values, strict=False)}
        statistics[group] = {s: v for s, v in read.items() if v is not None and not doubts.hold(group, s)}
    p = row["p"].p() if "p" in row and not doubts.hold("p") else None
    return Continuous(name, node.place, statistics, _read_sizes(row.get("n"), groups), p, _read_test(row.get("test")))


def _read_counted(node: Node, name: str, groups: Mapping[str, int]) -> Counted:
    row = node.items()
    _check_keys(node, row, {"levels", *_TABLE1_KEYS})
    if "levels" not in row:
        raise node.refuse("levels are missing", "levels: {LEVEL: {GROUP: [n, per cent]}}")
    levels = row["levels"].items()
    places = [f"{level}{group}" for level in levels for group in ("", *(f".{g}" for g in groups))]
    kinds = [f"{place} {kind}" for place in places for kind in ("counts", "percentages")]
    doubts = _Doubts(row.get("doubtful"), ["p", *places, *kinds])
    cells = {level: _read_cells(cell, level, groups, doubts) for level, cell in levels.items()}
    p = row["p"].p() if "p" in row and not doubts.hold("p") else None
    return Counted(name, node.place, cells, _read_sizes(row.get("n"), groups), p, _read_test(row.get("test")))


def _read_cells(node: Node, level: str, groups: Mapping[str, int], doubts: _Doubts) -> dict[str, Cell]:
    stated = node.items()
    _check_keys(node, stated, groups)
    cells = {}
    for group in groups:
        count, percent = stated[group].members(2) if group in stated else (None, None)
        keep = {kind: not doubts.hold(level, group) and not doubts.hold(f"{level} {kind}")
                and not doubts.hold(f"{level}.{group} {kind}") for kind in ("counts", "percentages")}
        cells[group] = Cell(count.count() if count and keep["counts"] else None,
                            percent.number() if percent and keep["percentages"] else None)
    return cells


def _read_pairs(node: Node | None, names: list[str]) -> dict[str, str]:
    pairs = pair_indices(names)
    for index, area in (node.items() if node is not None else {}).items():
        for name in (index, area.text()):
            if name not in names:
                raise area.refuse(f"no continuous variable '{name[:40]}'", "give the names of two rows: {INDEX: AREA}")
        pairs[index] = area.text()
    return pairs


# --- Tables 2, 3, ... -----------------------------------------------------------------------------


def _read_table2(node: Node) -> Table2:
    parts = node.items()
    names = [name for name in parts if name not in (*_LISTS, "hr_is", "doubtful")]
    doubts = _Doubts(parts.get("doubtful"), [*names, *(f"{n}.{f}" for n in names for f in HAZARD_FIELDS)])
    lists = {key: tuple(member.text() for member in parts[key].members()) for key in _LISTS if key in parts}
    hr_is = "refit" if "hr_is" in parts and parts["hr_is"].choose("exp_coef", "refit") == "refit" else "exp_coef"
    return Table2(tuple(_read_hazard(parts[name], name, doubts) for name in names), hr_is, **lists)


def _read_hazard(node: Node, name: str, doubts: _Doubts) -> Hazard:
    *numbers, p = node.members(len(HAZARD_FIELDS))
    read = [*(number.number() for number in numbers), p.p()]
    kept = {f: None if doubts.hold(name, f) else value for f, value in zip(HAZARD_FIELDS, read, strict=True)}
    return Hazard(name, node.place, **kept)


def _read_models(node: Node, table: str) -> list[Performance]:
    found = [performance for name, row in node.items().items() for performance in _read_model(row, name, table)]
    shares = [e.value for p in found for name, e in p.measures.items() if name != "auc"]
    in_percent = any(share.value > 1 for share in shares)
    return [_as_shares(performance) for performance in found] if in_percent else found


def _read_model(node: Node, model: str, table: str) -> list[Performance]:
    if not isinstance(node.value, Mapping):
        return [Performance(table, model, "", node.place, _read_measures(node, "", _Doubts(None, ())), None)]
    row = node.items()
    splits = [name for name in row if name != "doubtful" and not name.endswith("_p")]
    _check_keys(node, row, {*splits, *(f"{split}_p" for split in splits), "doubtful"})
    known = [*splits, *(f"{s}_p" for s in splits), *(f"{s}.{m}" for s in splits for m in MEASURES)]
    doubts = _Doubts(row.get("doubtful"), known)
    found = []
    for split in splits:
        p = row[f"{split}_p"].p() if f"{split}_p" in row and not doubts.hold(f"{split}_p") else None
        found.append(Performance(table, model, split, row[split].place, _read_measures(row[split], split, doubts), p))
    return found


def _read_measures(node: Node, split: str, doubts: _Doubts) -> dict[str, Estimate]:
    read = {m: _read_estimate(value, f"{node.place}.{m}")
            for m, value in zip(MEASURES, node.members(len(MEASURES)), strict=True)}
    return {m: estimate for m, estimate in read.items() if estimate is not None and not doubts.hold(split, m)}


def _read_estimate(node: Node, where: str) -> Estimate | None:
    if node.value is None or isinstance(node.value, str):
        value, low, high = node.number(), None, None
    else:
        value, low, high = (number.number() for number in node.members(3))
    return Estimate(where, value, low, high) if value is not None else None


def _as_shares(performance: Performance) -> Performance:
    measures = {m: e if m == "auc" else _divide(e) for m, e in performance.measures.items()}
    return Performance(performance.table, performance.model, performance.split, performance.where, measures,
                       performance.p)


def _divide(estimate: Estimate) -> Estimate:
    low, high = (bound.divided(100) if bound else None for bound in (estimate.low, estimate.high))
    return Estimate(estimate.where, estimate.value.divided(100), low, high, 100)


def _read_cutoff(node: Node, key: str, groups: Mapping[str, int]) -> Cutoff:
    parts = node.items()
    values = [name for name in parts if name == "value" or name.startswith("value_")]
    _check_keys(node, parts, {*values, "sens", "spec", "variable", "positive", "n"})
    if len(values) != 1:
        raise node.refuse("one value_UNIT is wanted here", "as in value_cm2_m2: 27.7")
    name = key.removesuffix("cutoff").removesuffix("_") + values[0].removeprefix("value")
    name = parts["variable"].text() if "variable" in parts else name
    read = {m: _read_estimate(parts[m], f"{node.place}.{m}") for m in ("sens", "spec") if m in parts}
    measures = {m: e for m, e in read.items() if e is not None}
    if any(e.value.value > 1 for e in measures.values()):
        measures = {m: _divide(e) for m, e in measures.items()}
    side = cast("Literal['low', 'high']", parts["positive"].choose("low", "high")) if "positive" in parts else None
    return Cutoff(name, node.place, parts[values[0]].number(), measures, _read_sizes(parts.get("n"), groups), side)


def _read_formula(node: Node) -> Formula:
    parts = node.items()
    _check_keys(node, parts, {"of", "text"})
    if set(parts) != {"of", "text"}:
        raise node.refuse("of and text are wanted here", "{of: [NAME_UNIT], text: formula}")
    return Formula(tuple(name.text() for name in parts["of"].members()), node.place, parts["text"].text())
