"""Links that pages need not spell out: public names in code quotes, and scripts that a gallery has a page of."""

import re

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.nodes import make_refnode

NAME = re.compile(r"(dmc(?:\.\w+)+)(?:\(.*\))?")
SCRIPT = re.compile(r"\]\((?:\.\./)*(?:docs/)?(tutorials|examples)/(?:(\w+)\.py)?\)")


class PublicNames(SphinxPostTransform):
    """`dmc.solve` or `dmc.solve(…)` in code quotes leads to its page in the API reference, where it has one."""

    default_priority = 20

    def run(self, **_kwargs: object) -> None:
        objects = self.env.domains.python_domain.objects
        for literal in list(self.document.findall(nodes.literal)):
            found = NAME.fullmatch(literal.astext())
            if found is None or found[1] not in objects or is_in_a_link(literal):
                continue
            entry = objects[found[1]]
            link = make_refnode(self.app.builder, self.env.docname, entry.docname, entry.node_id, literal.deepcopy())
            literal.replace_self(link)


def is_in_a_link(node: nodes.Node | None) -> bool:
    return node is not None and (isinstance(node, nodes.reference) or is_in_a_link(node.parent))


def scripts(_app: Sphinx, _page: str, source: list[str]) -> None:
    """Relative links to a script or to the folder, as a code host follows them, lead to the gallery's pages."""
    source[0] = SCRIPT.sub(lambda found: f"](/auto_{found[1]}/{found[2] or 'index'}.rst)", source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_post_transform(PublicNames)
    app.connect("source-read", scripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
