"""YAML files for people, read within bounds: one mapping a file, each key once, no hidden growth.

PyYAML's safe loader, restricted where a short file could cost much or mean something unseen: lists and
mappings that are too deep, aliases that multiply, numbers of many digits, keys that stand twice, second
documents and tags are refused. Words that YAML 1.1 takes for dates or for base 60 stay texts: `24:00:00` is
not 86400.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml
from yaml.composer import Composer

from anarchy.ground.bounded import MAX_CONFIG_BYTES, MAX_DEPTH, MAX_DIGITS, read_text
from anarchy.ground.errors import UserError

MAX_WRITTEN_OUT: Final = 4 * MAX_CONFIG_BYTES
"""Entries and characters with every alias written out: a file may repeat itself, within reason."""

_INT: Final = "tag:yaml.org,2002:int"
_FLOAT: Final = "tag:yaml.org,2002:float"
_TIMESTAMP: Final = "tag:yaml.org,2002:timestamp"
_NULL: Final = "tag:yaml.org,2002:null"
_MERGE: Final = "tag:yaml.org,2002:merge"
_WITHOUT_ALIASES: Final = "write the values out, without aliases"
_START: Final = "start it with `key: value`"
_NOT_TEXT: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters other than tab and line feed, and halves of a surrogate pair: escapes can write them."""


class _Refused(yaml.MarkedYAMLError):
    """What is YAML and passes a bound: `problem` says what, with the key."""

    def __init__(self, problem: str, mark: Any, remedy: str) -> None:
        super().__init__(problem=problem, problem_mark=mark)
        self.remedy = remedy


def _plain_resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """PyYAML's implicit types by first letter, without dates, and numbers without base 60."""
    resolvers = {
        first: [(tag, pattern) for tag, pattern in pairs if tag not in (_TIMESTAMP, _INT, _FLOAT)]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    whole = re.compile(r"[-+]?(?:0b[01][01_]*|0x[0-9a-fA-F][0-9a-fA-F_]*|0[0-7_]*|[1-9][0-9_]*)$")
    broken = re.compile(
        r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?"
        r"|\.(?:inf|Inf|INF))$|\.(?:nan|NaN|NAN)$"
    )
    for tag, pattern, letters in ((_INT, whole, "-+0123456789"), (_FLOAT, broken, "-+.0123456789")):
        for first in letters:
            resolvers.setdefault(first, []).append((tag, pattern))
    return resolvers


_SafeLoader: Any = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
"""libyaml's parser takes a fifth of the time; an installation without a wheel may lack it."""


class _Composing(Composer):
    """PyYAML's own composer, to stand before libyaml's parser, which composes nodes out of our sight."""


class _BoundedLoader(_Composing, _SafeLoader):  # type: ignore[misc]
    """The safe loader, counting while it composes, so that nothing is built that is too large."""

    yaml_implicit_resolvers = _plain_resolvers()

    def __init__(self, stream: str) -> None:
        _SafeLoader.__init__(self, stream)
        Composer.__init__(self)
        self._written_out = 0
        self._sizes: dict[int, int] = {}  # by the identity of a node that is complete
        self._path: list[str] = []

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose one node and what is in it; raises a YAML error beyond a bound."""
        event: yaml.Event = self.peek_event()
        before = self._written_out
        with self._at(parent, index):
            if isinstance(event, yaml.AliasEvent):
                node = super().compose_node(parent, index)
                if id(node) not in self._sizes:
                    what = f"alias *{event.anchor} stands inside of what it stands for"
                    raise self._refused(what, event, _WITHOUT_ALIASES)
                self._count(self._sizes[id(node)], event)
                return node
            if len(self._path) > MAX_DEPTH:
                what = f"lists and mappings are nested more than {MAX_DEPTH} deep"
                raise self._refused(what, event, "take the brackets or indents out that are too many")
            tag = getattr(event, "tag", None)
            if tag not in (None, "!"):
                what = f"has the tag {tag!r}; plain values have none"
                raise self._refused(what, event, "leave the tag out")
            node = super().compose_node(parent, index)
            length = 0
            if isinstance(node, yaml.ScalarNode):
                self._check_scalar(node, event)
                length = len(node.value)
            self._count(1 + length, event)
            self._sizes[id(node)] = self._written_out - before
        return node

    def _check_scalar(self, node: yaml.ScalarNode, event: yaml.Event) -> None:
        digits = sum(character.isalnum() for character in node.value)
        if node.tag == _INT and digits > MAX_DIGITS:
            what = f"a whole number of {digits} digits; at most {MAX_DIGITS} are read"
            raise self._refused(what, event, "give a number that can be meant")
        if (bad := _NOT_TEXT.search(node.value)) is not None:
            what = f"text with the control character {bad[0]!r}"
            raise self._refused(what, event, "write the text without it")

    def _count(self, size: int, event: yaml.Event) -> None:
        self._written_out += size
        if self._written_out > MAX_WRITTEN_OUT:
            what = f"with every alias written out more than {MAX_WRITTEN_OUT} entries and characters"
            raise self._refused(what, event, _WITHOUT_ALIASES)

    def _refused(self, what: str, event: yaml.Event, remedy: str) -> _Refused:
        key = ".".join(self._path[1:])
        key = key if len(key) <= 60 else key[:57] + "..."
        return _Refused(f"key {key!r}: {what}" if key else what, event.start_mark, remedy)

    @contextmanager
    def _at(self, parent: yaml.Node | None, index: Any) -> Iterator[None]:
        """Keep the path of keys to the node that is being composed, the root's empty."""
        if isinstance(parent, yaml.MappingNode):
            word = str(index.value) if isinstance(index, yaml.ScalarNode) else "(key)"
        else:
            word = "" if index is None else str(index)
        self._path.append(word[:60])
        yield
        self._path.pop()

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build one mapping; raises a YAML error at the second occurrence of a key."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == _MERGE:
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                continue  # the base class refuses it with its own message
            if key in seen:
                what = f"key {key!r} stands there twice"
                raise _Refused(what, key_node.start_mark, "keep one of them")
            seen.add(key)
        built: dict[Any, Any] = super().construct_mapping(node, deep)
        return built


class _AsWrittenLoader(_BoundedLoader):
    """The same, but every value is the text that stands there: `0123` is not 83 and `yes` is not True."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (PyYAML's own attribute)
        first: [(tag, pattern) for tag, pattern in pairs if tag in (_NULL, _MERGE)]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def load_yaml(path: Path, *, missing: str = "check the path", as_written: bool = False) -> dict[str, Any]:
    """The mapping that a YAML file holds; ``missing`` is the remedy where there is no file.

    With ``as_written`` no value is taken for a number, a truth value or a date; an empty one is None.

    Raises UserError naming the file and line, and the key where a bound is passed: for a file that
    `read_text` refuses, for what is not YAML, for more than one document, and for anything but a mapping.
    """
    text = read_text(path, MAX_CONFIG_BYTES, missing=missing)
    loader = _AsWrittenLoader if as_written else _BoundedLoader
    try:
        document = yaml.load(text, Loader=loader)  # noqa: S506 (a safe loader)
    except _Refused as error:
        raise UserError(_problem(error), where=path, remedy=error.remedy) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # an escape beyond Unicode is a ValueError
        raise UserError(
            f"is not YAML: {_problem(error)}", where=path, remedy="mend the syntax at that line"
        ) from None
    if document is None:
        raise UserError("is empty, not a mapping of keys to values", where=path, remedy=_START)
    if not isinstance(document, dict):
        raise UserError(
            f"is a {_kind(document)}, not a mapping of keys to values",
            where=path,
            remedy=_START,
        )
    return document


def _problem(error: Exception) -> str:
    """Line and problem, without the parser's own excerpt."""
    if isinstance(error, yaml.reader.ReaderError):
        return f"character {error.position} is a control character (0x{error.character:02x})"
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        problem = " ".join(part for part in (error.context, error.problem) if part)
        return f"line {error.problem_mark.line + 1}: {problem}"
    return str(error)


def _kind(value: object) -> str:
    return "list" if isinstance(value, list) else "single value"
