"""Tolerances: each says where it comes from, and no verdict hangs on one unsaid."""

import math

import pytest

from workbench import audit
from workbench.audit import claims, verdicts
from workbench.audit.recompute import QUANTITIES
from workbench.audit.values import Recomputed, ends
from workbench.common import yaml_records

ALL = [claim for source in audit.sources().values() for claim in source.claims]
#: Verdicts that another tolerance would change, as the number lies at the edge of what reading a chart is worth.
EDGES = {
    "medusa-fig18-q112-intensity", "medusa-fig18-q16-performance", "medusa-fig18-q32-performance",
    "medusa-fig18-q64-performance", "medusa-fig18-q80-intensity", "medusa-fig18-q80-performance",
    "medusa-fig18-q96-intensity", "medusa-fig18-q96-performance", "medusa-fig19-ar-performance",
    "medusa-fig19-prose-q112-performance", "medusa-fig19-prose-q16-intensity", "medusa-fig19-prose-q16-performance",
    "medusa-fig19-q16-performance", "medusa-fig19-q32-performance", "medusa-fig22-b2-q112", "medusa-fig22-b4-q80",
    "peer-clock-l40s",
}  # fmt: skip


@pytest.fixture(scope="module")
def table():
    return audit.run()


def claim(**changes):
    fields = {
        "id": "test", "where": "a chart", "statement": "Six", "quantity": "product", "inputs": {"factors": [2, 3]},
        "published": 6.0, "unit": "1", "within": 0.1, "basis": "chart", "verdict": "reproduces",
    } | changes  # fmt: skip
    return yaml_records.validated(audit.Claim, fields, "x.yaml")


def test_every_basis_is_used_and_said():
    assert {claim.basis for claim in ALL} <= set(audit.BASES)
    assert set(claims.STRICT) < set(audit.BASES)
    assert all(len(said) > 20 for said in audit.BASES.values())


def is_half_a_unit(value, within):
    """Whether a tolerance is half of a power of ten that the value is a multiple of; written to two digits."""
    unit = 2 * within * abs(value)
    power = 10.0 ** round(math.log10(unit))
    return unit == pytest.approx(power, rel=0.1) and value / power == pytest.approx(round(value / power), abs=1e-6)


@pytest.mark.parametrize("each", [claim for claim in ALL if claim.basis == "rounding"], ids=lambda claim: claim.id)
def test_rounding_is_half_a_unit_of_a_digit_that_is_printed(each):
    values = [value for value in ends(each.published) if value]
    assert not values or any(is_half_a_unit(value, each.within) for value in values)


@pytest.mark.parametrize(
    ("basis", "within"), [("exact", 1e-9), ("chart", 0.1), ("chart range", 0.25), ("range", 0.1), ("vendor", 0.01)]
)
def test_a_basis_has_one_tolerance(basis, within):
    assert {claim.within for claim in ALL if claim.basis == basis} <= {within}


def test_about_is_no_more_than_10_percent():
    assert all(claim.within <= 0.1 for claim in ALL if claim.basis == "about")


def test_the_verdicts_that_hang_on_a_tolerance_are_known_and_say_so(table):
    moved = []
    for source in audit.sources().values():
        for each in source.claims:
            result = QUANTITIES[each.quantity](**each.inputs)
            tolerances = (each.within / 1.5, each.within, each.within * 1.5)
            found = {audit.verdict(each.model_copy(update={"within": w}), result) for w in tolerances}
            if len(found) > 1 and each.basis not in claims.STRICT:
                moved.append(each.id)
    assert set(moved) == EDGES
    assert set(table[table.hangs].id) == EDGES
    for row in table.itertuples():
        assert ("at the edge" in row.reason.lower()) == row.hangs, row.id


def test_what_is_below_1_or_highest_is_an_order():
    orders = [each for each in ALL if each.id.endswith(("-below-1", "-best", "-steepest"))]
    assert len(orders) == 8
    assert {each.basis for each in orders} == {"exact"}


def test_a_count_a_share_or_an_order_hangs_on_nothing():
    for each in ALL:
        if each.basis == "exact":
            assert not verdicts.flips(each, QUANTITIES[each.quantity](**each.inputs)), each.id


@pytest.mark.parametrize(
    ("basis", "ours", "flips", "hangs"),
    [
        ("chart", 6.0, False, False),
        ("chart", 6.3, False, False),  # 5 %, within 6.7
        ("chart", 6.48, True, True),  # 8 %
        ("chart", 6.72, True, True),  # 12 %
        ("chart", 7.0, False, False),  # 17 %, beyond 15
        ("rounding", 6.48, True, False),
    ],
)
def test_hangs(basis, ours, flips, hangs):
    assert audit.flips(claim(basis=basis), Recomputed(ours)) == flips
    assert audit.hangs(claim(basis=basis), Recomputed(ours)) == hangs


@pytest.mark.parametrize(
    ("kind", "ours", "verdict"),
    [
        ("as printed", 5.0, "reproduces"),  # one value against a range, inside it
        ("as printed", 8.0, "does not reproduce"),
        ("as printed", (4.9, 5.1), "does not reproduce"),  # a range that ends elsewhere
        ("within", (4.9, 5.1), "reproduces"),
        ("within", (3.9, 6.1), "reproduces"),  # 2.5 and 1.7 % outside
        ("within", (3.0, 5.0), "does not reproduce"),
    ],
)
def test_a_range_is_judged_as_it_is_meant(kind, ours, verdict):
    assert audit.verdict(claim(published=(4.0, 6.0), kind=kind), Recomputed(ours)) == verdict


def test_a_formula_of_the_source_may_hang_too():
    assert audit.hangs(claim(), Recomputed(10.0, 6.48))
    assert not audit.hangs(claim(), Recomputed(10.0, 6.1))


def test_the_text_says_it(table):
    line = next(line for line in audit.audit_text(table).splitlines() if "medusa-fig22-b4-q80:" in line)
    assert line.endswith("does not reproduce, at the edge of its tolerance")
    assert audit.show_verdict("reproduces", False) == "reproduces"
    assert audit.summary(table).endswith(f"{len(EDGES)} are at the edge of their tolerance")
