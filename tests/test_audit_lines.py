"""Documents judged line by line: every line claimed or not computable, what is misread a class of its own."""

import re

import pytest
from typer.testing import CliRunner

from workbench import audit, cli
from workbench.audit import claims

#: The documents, and how many lines each has.
LINES = {
    "medusa-fig09-transcribed": 48, "medusa-fig15-transcribed": 58, "medusa-fig16-transcribed": 54,
    "medusa-fig18-transcribed": 55, "t4-report": 266,
}  # fmt: skip
DOCUMENTS = {name: source for name, source in audit.sources().items() if source.lines is not None}


@pytest.fixture
def table(audited):
    return audited.copy()


def test_the_documents_have_all_their_lines():
    assert {name: source.lines for name, source in DOCUMENTS.items()} == LINES


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_line_is_claimed_or_said_not_to_be_computable(name):
    source = DOCUMENTS[name]
    said = [number for sentence in source.sentences for number in sentence.numbers]
    assert set(said) == set(range(1, LINES[name] + 1))
    assert [sentence.numbers.start for sentence in source.sentences] == sorted(
        s.numbers.start for s in source.sentences
    )
    for sentence in source.sentences:
        assert (sentence.claims is None) != (sentence.not_computable is None)
        assert len(sentence.not_computable or "") < 80  # own words, and few


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_claim_stands_on_a_line_or_is_of_another_file(name):
    source = DOCUMENTS[name]
    named = {claim for sentence in source.sentences for claim in sentence.claims or ()}
    assert {claim.id for claim in source.claims} == (named & {c.id for c in source.claims}) | set(source.elsewhere)
    assert named <= {claim.id for other in audit.sources().values() for claim in other.claims}


def test_what_a_transcription_misreads_is_apart_from_what_the_paper_prints(table):
    transcribed = {source.title for source in audit.sources().values() if source.transcription}
    assert len(transcribed) == 4
    misread = table[table.verdict == "wrong as transcribed"]
    assert set(misread.source) == transcribed
    assert not (table[table.source.isin(transcribed)].verdict == "does not reproduce").any()
    assert table[table["where"].str.contains("as transcribed")].source.isin(transcribed).all()
    wrong = table[(table.source == "Medusa") & (table.verdict == "does not reproduce")]
    assert sorted(wrong.id) == [
        "medusa-fig15-peak", "medusa-fig16-peak", "medusa-fig17-peak", "medusa-fig18-gain-performance",
        "medusa-fig21-legend-formula", "medusa-fig22-b32-below-1", "medusa-fig22-b4-fall", "medusa-fig22-b4-q80",
        "medusa-fig22-b4-steepest", "medusa-fig22-b64-below-1", "medusa-fig23-steepest",
    ]  # fmt: skip


def test_texts_are_whole():
    for source in audit.sources().values():
        for claim in source.claims:
            for text in (claim.where, claim.statement, claim.reason or ""):
                assert text == " ".join(text.split()), claim.id
                assert not re.search(r"[a-z]- (?!(and|or|to)\b)[a-z]", text), claim.id


# What is refused --------------------------------------------------------------------------------------------------

DOCUMENT = """
title: T
citation: C
transcription: true
lines: 3
sentences:
  - {lines: "1-2", not_computable: title}
  - {lines: "3", claims: [one]}
  - {lines: "3", claims: [two]}
claims:
  - {id: one, where: w, statement: s, quantity: product, inputs: {factors: [2, 3]}, published: 6, unit: "1",
     within: 0.1, verdict: reproduces}
  - {id: two, where: w, statement: s, quantity: product, inputs: {factors: [2, 3]}, published: 7, ours: 6, unit: "1",
     within: 0.1, verdict: wrong as transcribed, reason: It is six.}
"""


@pytest.fixture
def read(tmp_path, monkeypatch):
    (tmp_path / "claims").mkdir()
    monkeypatch.setattr(claims, "DATA", tmp_path)

    def run(text):
        (tmp_path / "claims" / "x.yaml").write_text(text)
        return audit.sources()

    return run


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"1-2"', '"1"', "T, of 3 lines: line 2 is in none of its sentences"),
        ('"1-2"', '"1-4"', "T, of 3 lines: line 4 does not exist"),
        ("lines: 3\n", "", "T, of no lines: line 1 does not exist"),
        ("[two]", "[one]", "T: no sentence states claim two; name it in one, or under elsewhere"),
        ("claims:\n  - {id", "elsewhere: [three]\nclaims:\n  - {id", "elsewhere has 'three', which is no claim of it"),
        ("claims:\n  - {id", "elsewhere: [one]\nclaims:\n  - {id", "elsewhere has 'one', which .* or stands on a line"),
        ("[two]", "[two, towo]", r"x\.yaml, lines 3: unknown claim 'towo'\. Did you mean 'two'"),
        ('"1-2", not_computable: title', '"1-2"', "lines 1-2: give either claims or not_computable"),
        ("claims: [two]", "claims: [two], not_computable: title", "lines 3: give either claims or not_computable"),
        ('"1-2"', '"1 to 2"', r"sentences\.0\.lines = '1 to 2': String should match pattern"),
        ('"1-2"', "0", "Input should be a valid string"),
        ("transcription: true\n", "", "has the verdict 'wrong as transcribed', but T is no transcription"),
        (
            "wrong as transcribed",
            "does not reproduce",
            "has the verdict 'does not reproduce', but T is a transcription",
        ),
    ],
)
def test_bad_documents(read, old, new, message):
    assert DOCUMENT.count(old) >= 1
    with pytest.raises(ValueError, match=message):
        read(DOCUMENT.replace(old, new, 1))


# Counts -----------------------------------------------------------------------------------------------------------


def test_counts_of_a_document(read):
    read(DOCUMENT)
    table = audit.run()
    assert audit.verdict_counts(table) == {
        "reproduces": 1, "reproduces with the source's formula only": 0, "wrong as transcribed": 1,
        "does not reproduce": 0, "not recomputed": 0,
    }  # fmt: skip
    row = audit.by_source(table).loc["T"]
    assert row.to_dict() == {
        "sentences": 3, "claims": 2, "reproduced": 1, "with the source's formula only": 0, "as transcribed wrong": 1,
        "wrong": 0, "not recomputed": 0, "not computable": 1, "at the edge": 0,
    }  # fmt: skip
    assert audit.summary(table).startswith("2 claims: 1 reproduce, 0 with the source's formula only, 1 are wrong as tr")
    assert "two: published 7, ours 6 (-14.29%, tolerance 10.00%): wrong as transcribed" in audit.audit_text(table)


def test_counts_of_every_source_add_up(table):
    counts = audit.by_source(table)
    assert list(counts.index) == [source.title for source in audit.sources().values()]
    assert counts.claims.sum() == len(table)
    verdicts = counts.loc[:, "reproduced":"not recomputed"]
    assert (verdicts.sum(axis=1) == counts.claims).all()
    assert list(verdicts.sum()) == list(audit.verdict_counts(table).values())


def test_audit_by_source_prints_a_row_for_each():
    result = CliRunner().invoke(cli.app, ["audit", "--by", "source", "--figure", "medusa-fig1*"])
    head, paper, *rest = result.stdout.splitlines()
    assert head.split()[:3] == ["source", "sentences", "claims"]
    assert head.endswith("not computable at the edge")
    assert paper.split()[:2] == ["Medusa", "-"]
    assert " ".join(rest[1].split()).startswith("Figure 16 of Medusa, as transcribed 51 24 8 0 16 0 0 23 0")
    assert rest[-1] == audit.summary(audit.run("medusa-fig1*"))


def test_sentences_are_counted_of_whole_documents_alone(table):
    result = CliRunner().invoke(cli.app, ["audit", "--by", "source", "--figure", "t4-roofline"])
    claims = audit.run("t4-roofline")
    (row,) = [line.split() for line in result.stdout.splitlines() if line.lstrip().startswith("T4 report")]
    assert row[2:4] == ["-", str(len(claims))]
    assert row[-2:] == ["-", str(claims.hangs.sum())]
    whole = audit.by_source(table).loc["T4 report"]
    assert whole["sentences"] > whole["not computable"] > 0


@pytest.mark.parametrize("option", [["--all"], ["--csv", "table.csv"]])
def test_audit_by_source_takes_nothing_that_it_would_pass_over(option):
    result = CliRunner().invoke(cli.app, ["audit", "--by", "source", *option])
    assert result.exit_code == 1
    message = f"workbench: --by source shows no claims: give it without {option[0]}"
    assert result.stderr.splitlines() == [message]


def test_audit_by_something_else_is_refused_in_one_line():
    result = CliRunner().invoke(cli.app, ["audit", "--by", "sorce"])
    assert result.exit_code != 0
    assert result.stderr.splitlines() == [
        "workbench: unknown --by 'sorce'. Did you mean 'source'? Allowed: source.",
    ]
