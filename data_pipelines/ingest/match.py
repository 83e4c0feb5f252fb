"""Join inputs with rows of the clinical table and with entries of --masks and --rois: by equal names alone.

Names that Unicode calls equal (NFC) are joined with a warning; names that only look alike are named, never joined
(docs/decisions/0027-ids-that-look-alike.md).
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bonemet_jax.patient_ids import (
    MAX_PAIRS,
    compose,
    describe_difference,
    group_alike,
    make_key,
    make_loose_keys,
    quote,
)
from data_pipelines.check_codes import VERDICTS
from data_pipelines.clinical.table import ClinicalTable
from data_pipelines.findings import Finding, find, refusal

#: Members of one group of look-alikes that are named; further ones are counted.
_MAX_MEMBERS = 6


# --- Inputs and table ---------------------------------------------------------------------------------


def join_table(
    numbers: Mapping[str, int], table: ClinicalTable | None, where: Path | None
) -> tuple[ClinicalTable, list[Finding]]:
    """The table with its rows under the inputs' names, and what is in only one of the two.

    Args:
        numbers: patient_id of every input -> its number.
        table: None where no table was given: then only the inputs' names are compared.
        where: the table's file.

    Returns: the table, in which an id equal to an input's name by Unicode (NFC) has that name, and findings.

    Raises: InputDataError when no row matches an input.
    """
    if table is None or where is None:
        return ClinicalTable({}), list(_find_alike(numbers, {}, where))
    names = _find_composed(numbers, table)
    composed = [
        find("cohort-id-composed", where=where.name,
             ids=f"row {table.row_of.get(row_id, 0)} {quote(row_id)} and input {numbers[name]} {quote(name)}")
        for row_id, name in names.items()
    ]  # fmt: skip
    joined = table.rename(names)
    rows = joined.row_of or dict.fromkeys(joined.rows, 0)
    alike = list(_find_alike(numbers, rows, where))
    found = [*composed, *_count_unmatched(numbers, joined, where, alike), *alike]
    return joined, found


def _find_composed(numbers: Mapping[str, int], table: ClinicalTable) -> dict[str, str]:
    """Id of the table -> name of the input that is the same text in another Unicode form; where both are unique."""
    listed = set(table.rows) | table.refused
    by_form: dict[str, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for place, ids in enumerate((listed, numbers)):
        for patient in ids:
            by_form[compose(patient)][place].append(patient)
    pairs = [(rows[0], inputs[0]) for rows, inputs in by_form.values() if len(rows) == len(inputs) == 1]
    return {row: name for row, name in sorted(pairs) if row != name}


def _count_unmatched(
    numbers: Mapping[str, int], table: ClinicalTable, where: Path, alike: Sequence[Finding]
) -> Iterator[Finding]:
    """Inputs without a row and rows without an input, counted. Raises: InputDataError when nothing matches."""
    ids, listed = set(numbers), set(table.rows) | table.refused  # a row with an error is a row
    if not ids & listed:
        named = "; ".join(finding.ids for finding in alike[:MAX_PAIRS])
        detail = f"{VERDICTS['cohort-no-match'].meaning}; look alike, not joined: {named}" if named else ""
        raise refusal("cohort-no-match", where, detail)
    n_no_row, n_no_image = len(ids - listed), len(set(table.rows) - ids)
    if n_no_row:
        yield find("cohort-no-row", f"{n_no_row} of {len(ids)} inputs have no row in the clinical table: "
                   "their columns stay empty")
    if n_no_image:
        yield find("cohort-no-image", f"{n_no_image} rows of the clinical table have no input and are left out")


def _find_alike(numbers: Mapping[str, int], rows: Mapping[str, int], where: Path | None) -> Iterator[Finding]:
    """One finding for each group of inputs and rows whose names look alike; rows alone are the table's own findings."""
    for ids in group_alike({*numbers, *rows}):
        yield from (_describe_group(sorted(group), numbers, rows, where)
                    for group in _split_group(set(ids), numbers, rows))


def _split_group(ids: set[str], numbers: Mapping[str, int], rows: Mapping[str, int]) -> list[set[str]]:
    """The groups to name among ids of one loose group.

    Equal numbers in equal order look alike; of ids without a partner separators between numbers do not count either.
    """
    by_key: dict[str, set[str]] = defaultdict(set)
    for patient in ids:
        by_key[make_key(patient)].add(patient)
    groups = [group for group in by_key.values() if len(group) > 1 and group & set(numbers)]
    single = {patient for patient in ids.difference(*groups) if (patient in numbers) != (patient in rows)}
    if single & set(numbers) and single & set(rows):
        groups.append(single)
    return groups


def _describe_group(
    group: Sequence[str], numbers: Mapping[str, int], rows: Mapping[str, int], where: Path | None
) -> Finding:
    members = []
    for patient in group[:_MAX_MEMBERS]:
        places = [f"row {rows[patient]}"] if rows.get(patient) else ["the table"] if patient in rows else []
        places += [f"input {numbers[patient]}"] if patient in numbers else []
        members.append(f"{' and '.join(places)} {quote(patient)}")
    members += [f"{len(group) - _MAX_MEMBERS} more"] if len(group) > _MAX_MEMBERS else []
    differences = dict.fromkeys(describe_difference(group[0], other) for other in group[1:_MAX_MEMBERS])
    ids = f"{', '.join(members)} differ by {'; '.join(differences)}"
    return find("cohort-id-alike", where=where.name if where is not None else "", ids=ids)


# --- Entries of --masks and --rois --------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """What a folder holds for one patient."""

    path: Path | None = None
    """<patient_id>/ or <patient_id><suffix>; None: nothing."""
    composed: str = ""
    """Ids, where the entry's name is the patient's in another Unicode form."""
    alike: str = ""
    """Ids, where there is no entry but some whose names look alike."""
    twice: str = ""
    """Names, with the patient's id left out, of several entries for the patient: none of them is chosen."""


class EntryFolder:
    """Entries of a folder by patient. Names are compared as they are listed, also where the file system folds case."""

    def __init__(self, folder: Path, suffixes: Sequence[str]) -> None:
        self._suffixes = suffixes
        self._entries = {f.name: f for f in sorted(folder.iterdir())} if folder.is_dir() else {}
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for name in self._entries:
            for own in {name, self._cut(name)}:
                self._by_name[own].append(name)
        self._by_key: dict[str, list[str]] = defaultdict(list)
        for name in self._entries:
            for key in make_loose_keys(self._cut(name)):
                self._by_key[key].append(name)

    def find(self, patient: str) -> Entry:
        """The patient's entry, by equal names, then by names equal after NFC; suffixes in capitals are not read."""
        own = self._by_name.get(patient, [])
        if len(own) > 1:
            return Entry(twice=self._list_endings(own))
        if own and (own[0] == patient or self._is_ours(own[0])):
            return Entry(self._entries[own[0]])
        near = sorted({name for key in make_loose_keys(patient) for name in self._by_key.get(key, ())})
        composed = [name for name in near if compose(self._cut(name)) == compose(patient) and self._is_ours(name)]
        if len(composed) == 1:
            return Entry(self._entries[composed[0]], composed=f"input {quote(patient)} and entry {quote(composed[0])}")
        if len({self._cut(name) for name in composed}) == 1:
            return Entry(twice=self._list_endings(composed))
        named = [f"{quote(name)} (differs by {self._compare(name, patient)})" for name in near[:_MAX_MEMBERS]]
        return Entry(alike=f"input {quote(patient)}, entry {', '.join(named)}" if named else "")

    def _cut(self, name: str) -> str:
        """The name without a suffix, in upper or lower case."""
        ending = next((end for end in self._suffixes if name.lower().endswith(end)), "")
        return name[: len(name) - len(ending)]

    def _list_endings(self, names: Sequence[str]) -> str:
        ends = (name[len(self._cut(name)) :] or ("/" if self._entries[name].is_dir() else "") for name in names)
        return ", ".join(f"<patient_id>{end}" for end in ends)

    def _is_ours(self, name: str) -> bool:
        return self._entries[name].is_dir() or name.endswith(tuple(self._suffixes))

    def _compare(self, name: str, patient: str) -> str:
        stem = self._cut(name)
        return "the case of its suffix" if stem == patient else describe_difference(stem, patient)


def compare_readers(rois: Path | None) -> list[Finding]:
    """A finding for every two folders of readers whose names look alike."""
    if rois is None or not rois.is_dir():
        return []
    first: dict[str, str] = {}
    found = []
    for name in sorted(f.name for f in rois.iterdir() if f.is_dir()):
        other = first.setdefault(make_key(name), name)
        if other != name:
            ids = f"{quote(other)} and {quote(name)} (differ by {describe_difference(other, name)})"
            found.append(find("cohort-readers-alike", where=rois, ids=ids))
    return found
