"""Names as people write them, drivers print them and hubs list them; one way to find the entry that is meant."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher

from .errors import LINE, either, shown

#: Words that tell no entry from another: makers and brands, kinds of memory, what a checkpoint was tuned for.
BESIDE = frozenset({
    "nvidia", "geforce", "tesla", "quadro", "rtx", "amd", "instinct", "radeon", "intel", "gpu", "graphics",
    "hbm2", "hbm2e", "hbm3", "hbm3e", "gddr6", "gddr6x", "gddr7", "oam",
    "meta", "hf", "base", "pt", "it", "instruct", "chat",
})  # fmt: skip
#: How many names a message has at most, and how near (`_likeness`) the nearest is at least [1].
NAMED, LIKE = 4, 0.5
#: Letters and digits of a part of a name at least: "1" means none of those that have a 1 [1].
LEAST_OF_A_NAME = 3


def words(name: str) -> list[str]:
    """The words of a name that tell entries apart: no organization of a hub, nothing `BESIDE`, no number of SXM."""
    text = unicodedata.normalize("NFKC", name[:1000]).casefold().strip().replace("_", " ")
    text = re.sub(r"\((r|tm)\)", " ", re.sub(r"^[\w.-]+/(?=[\w.-]+$)", "", text)).replace("+", " plus ")
    text = re.sub(r"\brtx(?=\w)", "rtx ", re.sub(r"\bsxm\d\b", "sxm", text))
    text = re.sub(r"(\d) ?gi?b?\b", r"\1gb", text)  # 80 GB, 80GiB, 144G
    found = re.findall(r"\w+(?:\.\d+)*", text)
    return [word for word in found if word not in BESIDE] or found


def written_names(text: str) -> list[str]:
    """Names that an entry's file has for it besides its id: name, aliases, repository on Hugging Face, memory."""
    aliases = re.search(r"^aliases: \[(.*?)\]", text, re.M | re.S)
    listed = [each.strip(" '\"\n") for each in aliases[1].split(",")] if aliases else []
    for pattern in (r"^name: (.+)", r"Hugging Face ([\w-]+/[\w.-]+\w)", r"capacity_gb: ([\d.]+)"):
        if written := re.search(pattern, text, re.M):
            listed.append(written[1].strip("'\" ") + "GB" * pattern.startswith("cap"))
    return listed


def meant(name: str, known: Mapping[str, Iterable[str]]) -> list[str]:
    """The ids that a name can mean, nearest first: of the entry that is called so, or of all that have its words.

    Parameters
    ----------
    name : str
        As somebody has written it.
    known : mapping
        Other names of each entry, by its id.

    Returns
    -------
    list of str
        One where it is clear; none for an unknown name.
    """
    if name in known:
        return [name]
    given, called = words(name), {i: [words(each) for each in (i, *others)] for i, others in known.items()}
    if same := [i for i, names in called.items() if "".join(given) in map("".join, names)]:
        return [i for i in same if "".join(words(i)) == "".join(given)] or same
    if len("".join(given)) < LEAST_OF_A_NAME:
        return []
    having = [i for i, names in called.items() if {*given} <= {word for each in names for word in each}]
    if not having and len(given) == 1:  # "llama3": as names begin without what is between their words
        having = [i for i, names in called.items() if any("".join(each).startswith(given[0]) for each in names)]
    if len(given) > 1:  # in that order, if any are
        having = [i for i in having if any(each[: len(given)] == given for each in called[i])] or having
    return sorted(having, key=lambda i: -_likeness(given, called[i]))


def found(kind: str, name: object, known: Mapping[str, Iterable[str]], listed: str) -> str:
    """The id of the one entry that a name means; ValueError in a line with the nearest, where it is none or several.

    `listed` is the command that lists all.
    """
    ids = meant(name, known) if isinstance(name, str) else []
    if len(ids) == 1:
        return ids[0]
    if ids:
        raise ValueError(_line(f"{kind} {shown(name)} can be ", ids, ": say which"))
    given = words(name) if isinstance(name, str) else []
    like = {i: _likeness(given, [words(each) for each in (i, *others)]) for i, others in known.items() if given}
    ids = sorted((i for i in like if like[i] >= max(LIKE, 0.7 * max(like.values()))), key=lambda i: -like[i])[:3]
    start, end = f"unknown {kind} {shown(name)}.", f" `{listed}` lists all {len(known)}"
    if ids and {*words(ids[0])} < {*given}:  # another format or version of it
        beyond = " ".join(word for word in given if word not in words(ids[0]))
        raise ValueError(f"{start} The nearest is {ids[0]!r}, without {beyond[:40]!r}.{end}")
    raise ValueError(_line(f"{start} Did you mean ", ids, f"?{end}") if ids else start + end)


def _likeness(given: list[str], names: list[list[str]]) -> float:
    """How near a name is to those of an entry: the share of its words, and how alike their letters are [1]."""
    return max(
        len({*given} & {*each}) / max(len(given), 1) + SequenceMatcher(None, "".join(given), "".join(each)).ratio()
        for each in names
    )


def _line(start: str, ids: list[str], end: str) -> str:
    """Names between two parts of a line, as many as it holds."""
    lines = (f"{start}{either(ids[:n], len(ids) - n)}{end}" for n in range(min(NAMED, len(ids)), 0, -1))
    return next((line for line in lines if len(line) < LINE), start + end)
