"""One table of contenders: colours that every theme has, and no two that look alike."""

import pytest

from dmc import plots
from dmc.plots.theme import LIGHT


def test_every_colour_is_a_role() -> None:
    assert {style["color"] for style in plots.STYLES.values()} <= set(LIGHT.roles)


def test_the_library_has_one_colour() -> None:
    ours = ("MatrixCompletion", "TensorCompletion", "Recommender", "deep")
    assert {plots.STYLES[name]["color"] for name in ours} == {plots.FIRST}


@pytest.mark.parametrize(
    "together",
    [
        ("full width", "compressed", "narrow", "two-factor", "MatrixCompletion", "mean"),
        ("full width", "compressed", *(f"compressed, γ = {g}" for g in ("0", ".001", ".01")), "narrow"),
        ("compressed", *(f"compressed, γ = {g}" for g in ("0", ".001", ".01", "1"))),
        ("0 cores", "2 layers", "3 layers", "4 layers"),
        ("3 layers", "5 layers", "7 layers"),
        ("MatrixCompletion", "Gauss–Newton as in GNMR", "R2RILS", "ScaledGD", "MatrixIRLS"),
        ("MatrixCompletion", "KNNImputer", "IterativeImputer", "soft-impute, tuned", "IterativeImputer, trees", "mean"),
        ("Recommender", "Cornac MF", "cmfrec CMF", "LensKit ALS", "Surprise SVD"),
        ("deep", "deep, β2 = .99", "LoRA, A normal", "LoRA, as peft"),
    ],
    ids=lambda names: names[0],
)
def test_contenders_of_one_figure_differ_in_colour_and_in_more(together: tuple[str, ...]) -> None:
    styles = [plots.STYLES[name] for name in together]
    assert len({style["color"] for style in styles}) == len(together)
    forms = [(style["marker"], str(style["linestyle"]), style["linewidth"]) for style in styles]
    assert len(set(forms)) == len(together)


def test_a_figure_may_change_what_it_has_to() -> None:
    changed = plots.style("narrow", marker="", linewidth=3)
    assert changed == plots.STYLES["narrow"] | {"marker": "", "linewidth": 3}
    assert plots.STYLES["narrow"]["marker"]
    with pytest.raises(KeyError):
        plots.style("nobody")
