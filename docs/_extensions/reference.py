"""Which members the API reference shows: those that dmc defines, and none that a class has from its framework.

The fields of a NamedTuple are in its Parameters section; as members they would say "Alias for field number 0" alone.
"""

from typing import Any

from sphinx.application import Sphinx


def of_another_package(_app: Sphinx, _what: str, _name: str, member: Any, _skip: bool, _options: object) -> bool | None:
    if type(member).__name__ == "_tuplegetter" or getattr(member, "__objclass__", None) is tuple:
        return True
    function = getattr(member, "fget", None) or getattr(member, "func", None) or member
    module = getattr(function, "__module__", None) or "dmc"
    return None if module.split(".")[0] == "dmc" else True


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-skip-member", of_another_package)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
