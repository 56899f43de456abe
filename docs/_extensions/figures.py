"""What the galleries' scripts draw, in their pages: PNG files, each beside a twin for dark pages where it has one."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

DRAWN = Path(__file__).parents[2] / "build" / "figures"


class DrawnFirst:
    """The order in a gallery: scripts that draw, then those that are only shown, each by name."""

    def __init__(self, _folder: str) -> None:
        pass

    def __call__(self, script: str) -> tuple[bool, str]:
        return not script.startswith("plot_"), script


def arguments(_gallery: Mapping[str, Any], script: Mapping[str, Any]) -> list[str]:
    """The folder to draw into, which is the one argument of an example."""
    folder = DRAWN / Path(script["src_file"]).stem
    folder.mkdir(parents=True, exist_ok=True)
    return [str(folder)]


def drawn_by(script: Path) -> list[Path]:
    """Light figures: in an example's folder, or named by a tutorial, beside it, as several run at a time."""
    source = script.read_text()
    beside = [path for path in script.parent.glob("*.png") if path.name in source]
    return sorted(path for path in [*(DRAWN / script.stem).glob("*.png"), *beside] if not path.stem.endswith("-dark"))


def scraper(_block: tuple, variables: Mapping[str, Any], gallery: Mapping[str, Any]) -> str:
    """The directives that show what a block has drawn, for sphinx-gallery."""
    paths: Iterator[str] = variables["image_path_iterator"]
    shown = []
    for light in drawn_by(Path(variables["src_file"])):
        dark = light.with_stem(f"{light.stem}-dark")
        themes = {"only-light": light, "only-dark": dark} if dark.exists() else {"": light}
        for theme, drawn in themes.items():
            path = Path(next(paths))
            shutil.move(drawn, path)
            source = path.relative_to(gallery["src_dir"]).as_posix()
            alt = light.stem.replace("_", " ").replace("-", " ")
            shown.append(f".. image:: /{source}\n   :alt: {alt}\n   :class: sphx-glr-single-img {theme}\n")
    return "\n".join(shown)
