"""The part of Go's template language that the chart uses, so that plain manifests need no Helm.

Actions are ``if``, ``if not``, ``else``, ``end``, ``define`` and ``include``, and values that pass through functions:
``{{ .Values.api.memory | quote }}``. ``{{-`` and ``-}}`` remove the white space before and after.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

_ACTION = re.compile(r"(\s*\{\{-|\{\{)\s*(.*?)\s*(-\}\}\s*|\}\})", re.S)
_INCLUDE = re.compile(r'include "([^"]+)" (\S+)')
_DEFINE = re.compile(r'define "([^"]+)"')
_FILE = re.compile(r'\.Files\.Get "([^"]+)"')
_INDENT = "nindent "


@dataclass(frozen=True)
class _Value:
    """An action that prints a value."""

    expression: str


@dataclass(frozen=True)
class _Block:
    """A template between an action that opens it and its ``end``.

    Attributes:
        action: The action that opens it; empty for a whole file.
        body: Texts, blocks, and actions that print a value.
        otherwise: The same after ``else``.
    """

    action: str
    body: "_Parts"
    otherwise: "_Parts"


_Parts: TypeAlias = list[str | _Value | _Block]


class Templates:
    """The templates of a chart.

    Args:
        helpers: the text with what ``include`` finds.
        files: texts that ``.Files.Get`` finds, by name.
    """

    def __init__(self, helpers: str, files: Mapping[str, str]) -> None:
        self._files = files
        self._named: dict[str, _Block] = {}
        for block in _parse(helpers).body:
            if isinstance(block, _Block):
                name = _DEFINE.fullmatch(block.action)
                if name is not None:
                    self._named[name.group(1)] = block

    def render(self, text: str, context: Mapping[str, Any]) -> str:
        """A template with its values filled in.

        Args:
            text: The template.
            context: What ``.`` is: ``Values`` and ``Release``.

        Raises:
            ValueError: The template uses something that only Helm knows.
        """
        return "".join(self._render(_parse(text).body, context)).strip("\n") + "\n"

    def _render(self, parts: _Parts, context: Any) -> Iterator[str]:
        for part in parts:
            if isinstance(part, str):
                yield part
            elif isinstance(part, _Value):
                yield str(self._evaluate(part.expression, context))
            elif self._is_met(part.action, context):
                yield from self._render(part.body, context)
            else:
                yield from self._render(part.otherwise, context)

    def _is_met(self, action: str, context: Any) -> bool:
        if not action.startswith("if "):
            raise ValueError(f"{action!r} is no action of the plain manifests")
        condition = action.removeprefix("if ")
        if condition.startswith("not "):
            return not _look_up(condition.removeprefix("not "), context)
        return bool(_look_up(condition, context))

    def _evaluate(self, expression: str, context: Any) -> Any:
        first, *functions = (word.strip() for word in expression.split(" | "))
        value = self._first_value(first, context)
        for function in functions:
            value = _apply(function, value)
        return value

    def _first_value(self, expression: str, context: Any) -> Any:
        include = _INCLUDE.fullmatch(expression)
        if include is not None:
            name, argument = include.groups()
            return "".join(self._render(self._named[name].body, _look_up(argument, context)))
        file = _FILE.fullmatch(expression)
        if file is not None:
            return self._files[file.group(1)]
        return _look_up(expression, context)


def _parse(text: str) -> _Block:
    """The blocks of a template."""
    root = _Block("", [], [])
    open_blocks = [root]
    current = root.body
    position = 0
    for match in _ACTION.finditer(text):
        current.append(text[position : match.start()])
        position = match.end()
        action = match.group(2)
        if action == "end":
            open_blocks.pop()
            # A block that ended after ``else`` is a part of ``otherwise``, which is empty before.
            current = open_blocks[-1].otherwise or open_blocks[-1].body
        elif action == "else":
            current = open_blocks[-1].otherwise
        elif action.startswith(("if ", "define ")):
            block = _Block(action, [], [])
            current.append(block)
            open_blocks.append(block)
            current = block.body
        else:
            current.append(_Value(action))
    current.append(text[position:])
    return root


def _look_up(path: str, context: Any) -> Any:
    """The value of a path such as ``.Values.api.memory``."""
    if path == ".":
        return context
    if not path.startswith("."):
        raise ValueError(f"{path!r} is no value of the plain manifests")
    value = context
    for name in path[1:].split("."):
        value = cast(Mapping[str, Any], value)[name]
    return value


def _apply(function: str, value: Any) -> Any:
    if function.startswith(_INDENT):
        return _indented(str(value), int(function.removeprefix(_INDENT)))
    if function not in _FUNCTIONS:
        raise ValueError(f"{function!r} is no function of the plain manifests")
    return _FUNCTIONS[function](value)


def _indented(text: str, width: int) -> str:
    """A text on lines of its own, without trailing white space."""
    lines = [f"{' ' * width}{line}".rstrip() for line in text.splitlines()]
    return "\n" + "\n".join(lines)


def _quoted(value: Any) -> str:
    return json.dumps(str(value), ensure_ascii=False)


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _digest(value: Any) -> str:
    return hashlib.sha256(str(value).encode()).hexdigest()


_FUNCTIONS: Mapping[str, Callable[[Any], str]] = {"quote": _quoted, "toJson": _as_json, "sha256sum": _digest}
