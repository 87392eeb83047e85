"""The YAML that recipes are written in: plain values only, nothing that grows or runs on being read."""

from __future__ import annotations

import re
from typing import Any

import yaml

_DIGITS = 310


class YamlLoader(yaml.SafeLoader):
    """Reads 5e-4 as a number, as YAML 1.2 does; PyYAML alone takes it for a word.

    Aliases are refused: a few of them, nested, stand for more than any memory holds. So are whole numbers that are
    longer than any key takes.

    Example:
        >>> yaml.load("lr: 5e-4", YamlLoader)
        {'lr': 0.0005}
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """The next node; an alias is an error."""
        if self.check_event(yaml.AliasEvent):
            mark = self.get_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "aliases (*) are not accepted", mark)
        return super().compose_node(parent, index)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """A whole number of at most 310 digits."""
        if len(node.value) > _DIGITS:
            what = f"a whole number of more than {_DIGITS} digits"
            raise yaml.constructor.ConstructorError(None, None, what, node.start_mark)
        return super().construct_yaml_int(node)


class YamlDumper(yaml.SafeDumper):
    """Puts words that :class:`YamlLoader` would take for numbers into quotes, and writes no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        """Always: what occurs twice is written twice."""
        return True


YamlLoader.add_constructor("tag:yaml.org,2002:int", YamlLoader.construct_yaml_int)
for _side in (YamlLoader, YamlDumper):
    _side.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
    )
