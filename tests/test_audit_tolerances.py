"""Tolerances: each says where it comes from, and the verdicts that another one would change are known."""

import re
from itertools import product

import pytest

from workbench import audit
from workbench.audit import claims
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
#: Verdicts that come out by how a number is rounded: it agrees by less than half a unit of its last digit, but not by
#: less than a third; or it would agree were the unit half as large again.
ROUNDED = {
    "peer-llmviewer-a6000-fp16", "peer-medusa-181", "peer-ridge-a6000", "peer-varcas-h100-fp16",
    "t4-data-decode-b1-2048-time", "t4-data-decode-b1-512-time", "t4-data-decode-b4-2048-intensity",
    "t4-data-decode-b4-512-time", "t4-data-prefill-b1-128-time", "t4-data-prefill-b1-512-time",
    "t4-data-prefill-b4-512-intensity", "t4-data-prefill-b4-512-time", "t4-decode-b1-2048-tokens",
    "t4-decode-b1-512-tokens", "t4-gain-batching", "t4-gain-batching-2048", "t4-gain-kv-8bit", "t4-latency-p99-half",
    "t4-parameters", "t4-prefill-b1-128-intensity", "t4-prefill-b1-512-tokens", "t4-prefill-b4-512-time",
    "t4-single-throughput", "t4-summary-overall-intensity", "t4-tpot-p99", "t4-ttft-p99-50", "t4-ttft-p99-appendix",
    "t4-ttft-p99-table",
}  # fmt: skip


@pytest.fixture
def table(audited):
    return audited.copy()


def claim(**changes):
    fields = {
        "id": "test", "where": "a chart", "statement": "Six", "quantity": "product", "inputs": {"factors": [2, 3]},
        "published": 6.0, "unit": "1", "within": 0.1, "basis": "chart", "verdict": "reproduces",
    } | changes  # fmt: skip
    return yaml_records.validated(audit.Claim, fields, "x.yaml")


def test_every_basis_is_used_and_said():
    assert {claim.basis for claim in ALL} == set(audit.BASES)
    assert set(claims.STRICT) < set(audit.BASES)
    assert all(len(said) > 20 for said in audit.BASES.values())


def units(each):
    """The unit of the last digit of a published value, for each number of the statement that is this value."""
    found = set()
    for text in re.findall(r"\d[\d,]*(?:\.\d+)?", each.statement):
        number, unit = float(text.replace(",", "")), 10.0 ** -len(text.partition(".")[2])
        for value, scale in product(ends(each.published), (1, 1e12)):  # FLOP/s may stand as TFLOP/s
            if value and value == pytest.approx(number * scale, rel=1e-9):
                found.add(unit * scale / value)
    return found


def of_basis(basis):
    rows = [claim for claim in ALL if claim.basis == basis]
    return pytest.mark.parametrize("each", rows, ids=[claim.id for claim in rows])


@of_basis("rounding")
def test_rounding_is_half_a_unit_of_the_last_digit_that_is_printed(each):
    assert any(each.within == pytest.approx(unit / 2, rel=0.1) for unit in units(each))


@of_basis("vendor digit")
def test_a_vendor_s_digit_is_the_one_before_the_last(each):
    assert any(each.within == pytest.approx(10 * unit / 2, rel=0.1) for unit in units(each))


@of_basis("cut off")
def test_what_is_cut_off_lies_above_by_less_than_a_unit(each, table):
    assert any(each.within == pytest.approx(unit, rel=0.1) for unit in units(each))
    assert 0 < table.set_index("id").deviation[each.id] < each.within


@of_basis("about")
def test_about_is_half_a_unit_of_the_last_digit_that_is_not_0_or_10_percent(each):
    def last(value):
        return next(10.0**power for power in range(20, -1, -1) if value % 10**power == 0)

    limits = [min(last(value) / 2 / value, 0.1) for value in ends(each.published)]
    assert any(each.within == pytest.approx(limit, rel=0.01) for limit in limits)


@pytest.mark.parametrize(
    ("basis", "within"),
    [
        ("exact", 1e-9),
        ("our reading", 1e-9),
        ("chart", 0.1),
        ("chart range", 0.25),
        ("range", 0.1),
        ("server", 0.15),
        ("vendor", 0.01),
    ],
)
def test_a_basis_has_one_tolerance(basis, within):
    assert {claim.within for claim in ALL if claim.basis == basis} == {within}


def test_a_threshold_of_ours_is_published_not_hidden_in_the_inputs():
    for each in ALL:
        if each.quantity == "medusa_share":
            said = [f"{limit:,.0f}" for limit in each.inputs.get("performance", ()) if limit]
            assert all(limit.rstrip("0,") in each.statement for limit in said), each.id
    assert {claim.id for claim in ALL if claim.basis == "our reading"} == {
        "medusa-fig15-qkpv-ar-below-roof", "medusa-fig18-ar-below-peak", "t4-current-bottleneck",
        "t4-decode-memory-bound", "t4-headline", "t4-idle", "t4-prefill-compute-bound", "t4-prefill-compute-bound-50",
    }  # fmt: skip


@pytest.fixture(scope="module")
def flipping():
    """Claims whose verdict another tolerance would change, by basis."""
    found = {basis: set() for basis in audit.BASES}
    for each in ALL:
        result = QUANTITIES[each.quantity](**each.inputs)
        tolerances = (each.within / 1.5, each.within, each.within * 1.5)
        if len({audit.verdict(each.model_copy(update={"within": w}), result) for w in tolerances}) > 1:
            found[each.basis].add(each.id)
    return found


def test_the_verdicts_that_hang_on_a_tolerance_are_known_and_say_so(table, flipping):
    found = set().union(*(found for basis, found in flipping.items() if basis not in claims.STRICT))
    assert found == set(table[table.hangs].id)
    assert found - flipping["server"] == EDGES  # those of servers move with every number of an engine
    for row in table.itertuples():
        assert ("at the edge" in row.reason.lower()) == row.hangs, row.id


def test_the_verdicts_that_rounding_decides_are_known(flipping):
    assert set().union(*(flipping[basis] for basis in claims.STRICT)) == ROUNDED


def test_what_is_below_1_or_highest_is_an_order():
    orders = [each for each in ALL if each.id.endswith(("-below-1", "-best", "-steepest"))]
    assert len(orders) == 8
    assert {each.basis for each in orders} == {"exact"}


def test_a_count_a_share_or_an_order_hangs_on_nothing(flipping):
    assert not flipping["exact"] | flipping["our reading"]


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
    assert audit.summary(table).endswith(f"{table.hangs.sum()} are at the edge of their tolerance")
