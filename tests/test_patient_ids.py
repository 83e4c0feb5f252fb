"""Which ids look alike, what they differ by, and how they are shown."""

import pytest

from bonemet_jax.patient_ids import (
    MAX_PAIRS,
    describe_difference,
    describe_pairs,
    find_alike,
    group_alike,
    make_key,
    quote,
)

#: Kind -> two ids that a reader takes for one.
LOOK_ALIKES = {
    "Unicode composition": ("Jos\u00e9-1", "Jose\u0301-1"),
    "leading zeros": ("007", "7"),
    "zeros after letters": ("P007", "P7"),
    "zeros after a dash": ("p-01", "p-1"),
    "case": ("P1a", "p1A"),
    "leading blank": (" p1", "p1"),
    "trailing blank": ("p1 ", "p1"),
    "inner blank": ("p 1", "p1"),
    "blank between numbers": ("00 7", "007"),
    "blank before a zero": ("1 07", "107"),
    "zero after a dash between numbers": ("1-011", "1-11"),
    "dash between numbers": ("12-3", "123"),
    "no-break space": ("p\u00a01", "p 1"),
    "ideographic space": ("p\u30001", "p 1"),
    "full-width digits": ("\uff10\uff10\uff17", "007"),
    "digits of another script": ("\u0667", "7"),
    "zero-width space": ("p\u200b1", "p1"),
    "soft hyphen": ("p\u00ad1", "p1"),
    "en dash": ("p\u20131", "p-1"),
    "non-breaking hyphen": ("p\u20111", "p-1"),
    "minus sign": ("p\u22121", "p-1"),
    "trailing .0": ("7.0", "7"),
    "underscore": ("p_1", "p-1"),
    "no separator": ("p-1", "p1"),
    "apostrophe": ("'007", "007"),
    "Cyrillic letter": ("\u0410\u04211", "AC1"),
    "ligature": ("\ufb01x1", "fix1"),
    "several at once": ("P-007", "p_7.0"),
}


@pytest.mark.parametrize(("a", "b"), LOOK_ALIKES.values(), ids=LOOK_ALIKES)
def test_look_alikes_share_a_key_and_are_shown_apart(a: str, b: str) -> None:
    assert group_alike([a, b, "other"]) == [sorted([a, b])]
    assert quote(a) != quote(b) and quote(a).isprintable() and quote(b).isprintable()
    assert find_alike([a], [b]) == [(a, b)] and find_alike([a], [a, b]) == []
    assert "more than" not in describe_difference(a, b)


@pytest.mark.parametrize(("a", "b"), [
    ("1-11", "11-1"), ("1-11", "111"), ("p1", "p2"), ("p10", "p1"), ("70", "7"), ("7.5", "75"), ("A1", "B1"),
    ("*", "?"),
])
def test_different_ids_have_different_keys(a: str, b: str) -> None:
    assert make_key(a) != make_key(b)


@pytest.mark.parametrize(("patient", "shown"), [
    ("007", "'007'"), ("Jos\u00e9", "'Jos\u00e9'"), ("Jose\u0301", r"'Jose\u0301'"), ("\uff17", r"'\uff17'"),
    ("p\u00a01", r"'p\u00a01'"), ("p\u200b", r"'p\u200b'"), ("a\u2013b", r"'a\u2013b'"), ("\u0410-1", r"'\u0410-1'"),
    ("\u043f\u0430\u0446-1", "'\u043f\u0430\u0446-1'"), ("\u60a3\u80051", "'\u60a3\u80051'"),
    ("\x1b[2J", r"'\u001b[2J'"),
])
def test_signs_that_mislead_are_spelled_out(patient: str, shown: str) -> None:
    assert quote(patient) == shown


def test_what_they_differ_by() -> None:
    assert describe_difference("007", "7") == "leading zeros"
    assert describe_difference("Jos\u00e9", "Jose\u0301") == "Unicode composition"
    assert describe_difference("P 1", "p1") == "case and blanks"


def test_ten_pairs_are_named_and_the_rest_counted() -> None:
    pairs = find_alike([f"{n:03d}" for n in range(1, 31)], [str(n) for n in range(1, 31)])
    assert len(pairs) == 30
    text = describe_pairs(pairs)
    assert text.count("leading zeros") == MAX_PAIRS and text.endswith("20 more pairs")
