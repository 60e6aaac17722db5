"""YAML files: plain trees within the budget, refused in one line that names the place."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from . import reading

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

MAX_NUMBER = 10_000  # characters; numbers of base 60, 1:2:3, take a time that grows with the square of their length


class _UniqueKeys(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """A safe loader that refuses a key given twice, where YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        for key, times in Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)).items():
            if times > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{key[:80]!r} is given twice", node.start_mark)
        mapping: dict[object, object] = super().construct_mapping(node, deep)
        return mapping


def _check_tree(text: str) -> None:
    """Refuse what makes gigabytes of a few lines (aliases), overflows the loader's stack (depth), or takes hours."""
    depth, most = 0, reading.BUDGET.depth
    for event in yaml.parse(text, Loader=_UniqueKeys):
        mark: Any = event.start_mark
        if isinstance(event, yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "aliases are not allowed", mark)
        if tag := getattr(event, "tag", None):
            raise yaml.composer.ComposerError(None, None, f"tags such as {tag[:40]} are not allowed", mark)
        plain = event.value if isinstance(event, yaml.ScalarEvent) and event.implicit[0] else ""
        if len(plain) > MAX_NUMBER and plain.lstrip("+-")[:1].isdecimal():
            raise yaml.composer.ComposerError(None, None, f"a number of over {MAX_NUMBER:,} digits", mark)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > most:
            raise yaml.composer.ComposerError(None, None, f"nested over {most} levels deep", mark)


def read_yaml(path: "Traversable | Path") -> object:
    """Parse one YAML file; ValueError with its name and line where it is broken, too large or not a plain tree."""
    content = reading.read_small(path)
    try:
        text = content.decode("utf-8")
        _check_tree(text)
        return yaml.load(text, Loader=_UniqueKeys)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: no UTF-8, or a 13th month
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = " ".join(str(getattr(error, "problem", None) or error).split())[:300]
        raise ValueError(f"{path}{line}: not valid YAML ({problem})") from None


def read_mapping(path: "Traversable | Path") -> dict[str, object]:
    """Parse one YAML file that holds a mapping of fields."""
    fields = read_yaml(path)
    if not isinstance(fields, dict):
        raise ValueError(f"{path}: expected a mapping of fields, found {type(fields).__name__}")
    return fields
