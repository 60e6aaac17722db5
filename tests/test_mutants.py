"""The mutants can be made of the package as it stands; whether they die takes minutes: `python tests/mutants.py`."""

import pytest
from mutants import MUTANTS, ROOT


@pytest.mark.parametrize("file", MUTANTS)
def test_the_text_of_every_mutant_stands_once_in_its_file(file):
    text = (ROOT / "workbench" / file).read_text()
    assert {old: text.count(old) for old, _, _ in MUTANTS[file]} == dict.fromkeys(
        [old for old, _, _ in MUTANTS[file]], 1
    )
