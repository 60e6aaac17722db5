"""Published serving benchmarks anew: `make serving`, or `python tests/record_serving.py` with what it may leave out.

It writes the predictions (workbench/data/serving/predicted.csv; `--keep` leaves them), what the claims of
workbench/data/claims/served.yaml come to, and the tables of README that follow from both. Reasons are a person's: look
into every verdict that it prints.
"""

import re
import sys
from pathlib import Path

import yaml

from workbench import audit, studies
from workbench.audit.recompute import QUANTITIES

ROOT = Path(__file__).resolve().parents[1]
CLAIMS = ROOT / "workbench" / "data" / "claims" / "served.yaml"
EDGE = " At the edge of its tolerance."


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A table of README."""
    head = f"| {' | '.join(header)} |\n|{'---|' * len(header)}\n"
    return head + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def errors_table() -> str:
    """The errors of `studies.serving_summary`."""
    summary = studies.serving_summary(studies.serving_predictions())
    return markdown(list(summary), summary.to_numpy().tolist())


def record_claims() -> None:
    """Our values, verdicts, and which of them hang on their tolerance; the reasons stay, and so does the head."""
    head = "".join(re.findall(r"^#.*\n", CLAIMS.read_text(), re.M))
    fields = yaml.safe_load(CLAIMS.read_text())
    for entry, claim in zip(fields["claims"], audit.sources()["served"].claims, strict=True):
        result = QUANTITIES[claim.quantity](**claim.inputs)
        entry["ours"] = float(f"{result.ours:.6g}")
        entry["verdict"] = audit.verdict(claim, result)
        reason = entry.pop("reason", "").removesuffix(EDGE.strip()).rstrip() + EDGE * audit.hangs(claim, result)
        entry |= {"reason": reason.strip()} if reason else {}
        print(f"{claim.id}: {entry['ours'] / claim.published:.2f}, {entry['verdict']}")
    CLAIMS.write_text(head + yaml.safe_dump(fields, sort_keys=False, width=116))


def record_readme() -> None:
    """The table of errors below its heading, and how many claims have which verdict."""
    readme = ROOT / "README.md"
    text = re.sub(r"\| runs \| predicted by \|.*\n(\|.*\n)+", lambda _: errors_table(), readme.read_text())
    claims = audit.run()
    for verdict, count in audit.verdict_counts(claims).items():
        text = re.sub(rf"^\| {re.escape(str(verdict))} \| \d+ \|$", f"| {verdict} | {count} |", text, flags=re.M)
    readme.write_text(re.sub(r"^\d+ claims are recomputed", f"{len(claims)} claims are recomputed", text, flags=re.M))


if __name__ == "__main__":
    if sys.argv[1:] != ["--keep"]:
        studies.write_predictions()
        studies.write_held_out()
    record_claims()
    record_readme()
