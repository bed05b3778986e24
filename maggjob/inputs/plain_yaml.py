"""YAML as people read it: scalars of YAML 1.2, and no key twice.

PyYAML follows YAML 1.1, in which ``012`` is 10, ``yes`` is True, ``1:30`` is 90 and ``2024-01-31`` is a date. Here
``012`` is 12, and the others stay text; whoever uses a value checks its type.
"""

import re
from typing import Any

import yaml

INT = re.compile(r"[-+]?[0-9]+$")
OTHER_INT = re.compile(r"0o[0-7]+$|0x[0-9a-fA-F]+$")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$")


class _Loader(yaml.SafeLoader):
    """A safe loader with the scalars of YAML 1.2 that rejects duplicate keys; YAML would keep the last value."""

    # Not those of the parent class.
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    return int(text, 0) if OTHER_INT.match(text) else int(text, 10)


def _float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    text = str(loader.construct_scalar(node)).lower()
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


# The second argument says with which characters such a scalar begins.
for _tag, _pattern, _first in (
    ("bool", re.compile(r"(true|True|TRUE|false|False|FALSE)$"), "tTfF"),
    ("int", re.compile(f"{INT.pattern}|{OTHER_INT.pattern}"), "-+0123456789"),
    ("float", FLOAT, "-+0123456789."),
    ("null", re.compile(r"(~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    ("merge", re.compile(r"<<$"), ["<"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, list(_first))
_Loader.add_constructor("tag:yaml.org,2002:int", _int)
_Loader.add_constructor("tag:yaml.org,2002:float", _float)


def load_yaml(text: str) -> Any:
    """Return the content of a YAML document.

    Parameters
    ----------
    text : str

    Raises
    ------
    yaml.YAMLError
        If it is not YAML, or a key is given twice.
    ValueError
        If a number is too long.

    Examples
    --------
    >>> load_yaml("{cycle: 012, day: 2024-01-31, at: 1:30, sure: yes, so: true}")
    {'cycle': 12, 'day': '2024-01-31', 'at': '1:30', 'sure': 'yes', 'so': True}
    """
    # A SafeLoader.
    return yaml.load(text, _Loader)  # noqa: S506
