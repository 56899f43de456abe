"""Figures for dark pages: where `NAME-dark.png` lies beside an image, light pages show this and dark ones that."""

from pathlib import Path, PurePosixPath

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform


class DarkTwins(SphinxTransform):
    default_priority = 400

    def apply(self, **_kwargs: object) -> None:
        for light in list(self.document.findall(nodes.image)):
            uri = PurePosixPath(light["uri"])
            dark = str(uri.with_stem(f"{uri.stem}-dark"))
            _, path = self.env.relfn2path(dark, self.env.docname)
            if light["classes"] or not Path(path).is_file():
                continue
            twin = light.deepcopy()
            twin["uri"] = dark
            twin["classes"], light["classes"] = ["only-dark"], ["only-light"]
            light.parent.insert(light.parent.index(light) + 1, twin)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_transform(DarkTwins)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
