"""YAML as kubectl reads it: neither 1.1 nor 1.2 of the standard. `y` is true, `1e3` a number, `12:30` a text. Pure.

What is read as text must be written as text: `value: "1e3"` without its quotes is a number, and refused by API servers.
https://pkg.go.dev/sigs.k8s.io/yaml is what kubectl reads it with; a day or a time without quotes is text to it.
"""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

_TAG = "tag:yaml.org,2002:"
_BOOLEANS: Mapping[str, bool] = {
    **dict.fromkeys(("y", "yes", "true", "on"), True),
    **dict.fromkeys(("n", "no", "false", "off"), False),
}
_BOOLEAN = re.compile("[yYnN]|yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF")
_NULL = re.compile("~|null|Null|NULL|")
_INTEGER = re.compile(r"[-+]?(0[bB][01_]+|0[xX][0-9a-fA-F_]+|0[oO]?[0-7_]+|0|[1-9][0-9_]*)")
_FLOAT = re.compile(
    r"[-+]?(\.[0-9][0-9_]*|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9][0-9_]*)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
_OCTAL = re.compile("([-+]?)0([0-7]+)")
_RESOLVED: tuple[tuple[str, re.Pattern[str]], ...] = (
    # The first that matches wins.
    ("bool", _BOOLEAN),
    ("null", _NULL),
    ("int", _INTEGER),
    ("float", _FLOAT),
    ("merge", re.compile("<<")),
)


def parse_documents(text: str) -> list[object]:
    """What a file of any number of documents says. Raises yaml.YAMLError, or RecursionError."""
    return list(yaml.load_all(text, Loader=_Loader))


def parse_document(text: str) -> object:
    """What a file of one document says. Raises as `parse_documents`."""
    document: object = yaml.load(text, Loader=_Loader)  # noqa: S506 - it is a SafeLoader
    return document


def write_documents(documents: Iterable[object]) -> str:
    """Documents as block YAML, in the order of their members."""
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML's own way to begin without any


class _Dumper(yaml.SafeDumper):
    """Also quotes what others than kubectl would not read as text: PyYAML's own rules stay."""

    def ignore_aliases(self, data: object) -> bool:
        """Parts that documents share would else be written as anchors, which few expect in a manifest."""
        return True


def _boolean(_loader: _Loader, node: yaml.ScalarNode) -> bool:
    value = _BOOLEANS.get(str(node.value).lower())
    if value is None:  # tagged as one
        raise yaml.constructor.ConstructorError(None, None, "not a boolean", node.start_mark)
    return value


def _integer(_loader: _Loader, node: yaml.ScalarNode) -> object:
    text = str(node.value).replace("_", "")
    octal = _OCTAL.fullmatch(text)
    try:
        return int(octal[2], 8) * (-1 if octal[1] == "-" else 1) if octal else int(text, 0)
    except ValueError:  # such as 0x_, or with more digits than anybody reads
        return str(node.value)


def _float(_loader: _Loader, node: yaml.ScalarNode) -> object:
    text = str(node.value).replace("_", "").lower()
    try:
        number = float(text.replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:  # tagged as one
        return str(node.value)
    return str(node.value) if math.isinf(number) and "inf" not in text else number


def _text(_loader: _Loader, node: yaml.ScalarNode) -> str:
    return str(node.value)


_KINDS: tuple[Any, ...] = (_Loader, _Dumper)  # the stubs do not say what add_implicit_resolver takes
for _name, _pattern in _RESOLVED:
    for _kind in _KINDS:
        _kind.add_implicit_resolver(_TAG + _name, re.compile(f"(?:{_pattern.pattern})\\Z"), None)
for _name, _construct in (("bool", _boolean), ("int", _integer), ("float", _float), ("timestamp", _text)):
    _Loader.add_constructor(_TAG + _name, _construct)
