"""The report of a recommender: what stands in it is so, and a browser shows it without asking anybody for anything."""

import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from dmc import Recommender, evaluation
from dmc.report import model_sections, over_users, recommender
from dmc.report.digits import rounded, written
from html_page import Page

EVIL = "<script>document.title='taken'</script>"


def table(users=120, items=40, seed=0, share=0.5):
    rng = np.random.default_rng(seed)
    u, i = np.nonzero(rng.random((users, items)) < share * np.linspace(1, 0.1, items))
    taste, style = np.random.default_rng(7).standard_normal((2, 120, 2))
    ratings = 3 + np.sum(taste[u] * style[i], axis=1) / 2 + rng.standard_normal(len(u)) / 2
    return {"user": np.char.add("u", u.astype(str)), "item": i + 1, "rating": np.clip(np.rint(ratings), 1, 5)}


@pytest.fixture(scope="module")
def model():
    return Recommender(rank=4, intervals=True).fit(table())


@pytest.fixture(scope="module")
def titles(tmp_path_factory):
    path = tmp_path_factory.mktemp("titles") / "u.item"
    path.write_text("".join(f"{i}|{EVIL if i == 1 else f'Film {i}'}|x\n" for i in range(1, 41)), "latin-1")
    return path


@pytest.fixture(scope="module")
def newer():
    """Of pairs that are not in the fit."""
    found, fitted = table(seed=1, share=0.3), table()
    known = set(zip(fitted["user"].tolist(), fitted["item"].tolist(), strict=True))
    new = [pair not in known for pair in zip(found["user"].tolist(), found["item"].tolist(), strict=True)]
    return {name: values[new] for name, values in found.items()}


@pytest.fixture(scope="module")
def judged(model, titles, newer, tmp_path_factory):
    """A page with all there is, and what `write` told."""
    path = tmp_path_factory.mktemp("report") / "page.html"
    told = recommender.write(model, path, newer, titles, "the <best> model")
    return path, told


def rows(page, title):
    """The lines of the table of a section, as text."""
    inside = page.split(f'<table aria-label="{title}">')[1].split("</table>")[0]
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line) for line in inside.split("<tbody>")[1].split("<tr>")[1:]]
    return {first: rest for first, *rest in cells}


def numbers(line):
    return [float(cell.split(" ± ")[0].replace(",", "").replace("−", "-")) for cell in line]


def test_the_page_is_complete_and_well_formed(judged):
    path, told = judged
    page = Page(path.read_text())
    page.check()
    assert page.title == "Report on the <best> model"
    assert len(page.figures) == told["figures"] == 9
    assert len(set(page.figures)) == 9
    assert page.tables == 12


def test_titles_are_text(judged, model):
    page = judged[0].read_text()
    assert "<script" not in page
    most = np.bincount(model.observations_.cols)
    assert most[0] > np.sort(most)[-model_sections.MOST_RATED]  # the item with the evil title is among those told of
    assert EVIL in Page(page).text


def test_the_errors_are_those_of_the_predictions(judged, model, newer):
    path, told = judged
    predicted = model.predict(newer)["prediction"]
    error = predicted - newer["rating"]
    assert told["rmse"] == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-6)
    assert told["mae"] == pytest.approx(np.mean(np.abs(error)), rel=1e-6)
    assert told["n_ratings"] == len(error)
    assert not told["own"]
    page = path.read_text()
    rivals = rows(page, "Comparison with simple baselines")
    ours, mean, *_ = numbers(rivals["RMSE"])
    assert ours == pytest.approx(told["rmse"], abs=6e-3)
    assert ours < mean
    n_ratings = {i: int((table()["item"] == i).sum()) for i in range(1, 41)}
    popularity = np.array([n_ratings[i] for i in newer["item"].tolist()])
    few = (popularity >= 3) & (popularity < 10)
    assert few.any()
    n, ours, mean = numbers(rows(page, "Error by popularity")["3–9"])
    assert n == few.sum()
    users = np.unique(newer["user"], return_inverse=True)[1]
    assert rows(page, "Error by popularity")["3–9"][1] == written(over_users.rmse(error[few], users[few]))
    assert ours == pytest.approx(np.sqrt(np.mean(error[few] ** 2)), abs=6e-3)
    assert mean == pytest.approx(np.sqrt(np.mean((newer["rating"][few] - model.mean_) ** 2)), abs=6e-2)


def test_calibration_and_coverage_are_those_of_the_predictions(judged, model, newer):
    page, actual = judged[0].read_text(), newer["rating"]
    found = model.predict(newer, interval=0.9)
    inside = (found["lower"] <= actual) & (actual <= found["upper"])
    lowest = found["prediction"] < np.quantile(found["prediction"], 0.1)
    calibration, coverage = rows(page, "Calibration"), rows(page, "Coverage of the 90 % intervals")
    assert len(calibration) == 10
    n, predicted, mean = numbers(calibration["1"])
    assert n == lowest.sum()
    assert predicted == pytest.approx(found["prediction"][lowest].mean(), abs=6e-2)
    assert mean == pytest.approx(actual[lowest].mean(), abs=6e-2)
    assert sum(numbers(line)[0] for line in calibration.values()) == len(actual)
    users = np.unique(newer["user"], return_inverse=True)[1]
    for name, here in (("all", slice(None)), ("1", lowest)):
        share = over_users.share(inside[here], users[here])
        error = share.measured().error
        assert coverage[name][2:5] == [rounded(value, error) for value in share]


def test_shares_of_ratings_training_and_spectrum(judged, model, newer):
    page = judged[0].read_text()
    shares = rows(page, "Ratings and predictions")
    assert list(shares) == ["1", "2", "3", "4", "5"]
    nearest = np.rint(model.predict(newer)["prediction"])
    for star, line in shares.items():
        assert numbers(line) == pytest.approx(
            [np.mean(newer["rating"] == int(star)), np.mean(nearest == int(star))], abs=6e-3
        )
    training = rows(page, "Training")
    assert next(iter(training)) == "1"
    assert list(training)[-1] == str(model.n_iter_)
    assert training["1"] == [f"{model.history_[0]['noise']:.3g}"]
    f = model.factors_
    sizes = np.linalg.svd(f.U.astype(float) @ f.V.T)[1] / np.sqrt(len(f.U) * len(f.V))
    spectrum = rows(page, "Spectrum of the low-rank part")
    assert numbers(spectrum["1"])[0] == pytest.approx(sizes[0], rel=1e-2)
    assert numbers(spectrum["2"])[1] == pytest.approx(np.sum(sizes[:2] ** 2) / np.sum(sizes**2), abs=2e-3)
    assert f"noise: {model.rank_}; that is the rank" in page


def test_nearest_items_by_title(judged, model):
    nearest = rows(judged[0].read_text(), "Nearest items")
    assert len(nearest) == model_sections.MOST_RATED
    name, line = next((name, line) for name, line in nearest.items() if name.startswith("Film"))
    found = model.similar_items(int(name.split()[1]), model_sections.NEIGHBOURS)
    expected = [f"Film {i} {c:.2f}" for i, c in zip(found["similar"], found["similarity"], strict=True) if i != 1]
    assert all(text in line[1] for text in expected)


def test_without_test_ratings_the_page_says_so(model, tmp_path):
    told = recommender.write(model, tmp_path / "page.html")
    assert told["own"]
    assert told["n_ratings"] == model.n_observed_
    text = (tmp_path / "page.html").read_text()
    Page(text).check()
    assert "No test ratings were given, so the model is judged by the 1," in text
    assert "Comparison with simple baselines" not in text
    assert "but these ratings were fitted, which makes" in text
    error = model.predict(table())["prediction"] - table()["rating"]
    assert told["rmse"] == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-5)


def test_the_page_of_a_loaded_model_is_the_same(model, judged, titles, newer, tmp_path):
    model.save(tmp_path / "model")
    again = Recommender.load(tmp_path / "model", mmap=True)
    recommender.write(again, tmp_path / "page.html", newer, titles, "the <best> model")
    one, other = (re.sub("<time.*?</time>", "", path.read_text()) for path in (tmp_path / "page.html", judged[0]))
    assert one == other


@pytest.mark.parametrize(
    "ratings",
    [
        {"user": [1], "item": [1], "rating": [3]},
        {"user": [1, 1, 2], "item": [1, 2, 1], "rating": [3, 3, 3]},
        {"user": [1, 1, 2, 2], "item": ["$a$", "_", "&", "\udce9"], "rating": [-1e9, 0.5, 1e9, 7]},
        {"user": np.arange(60) % 7, "item": np.arange(60) // 7, "rating": np.linspace(0, 1e-6, 60)},
    ],
    ids=["one rating", "all alike", "odd ids and huge ratings", "tiny ratings of many values"],
)
@pytest.mark.parametrize("own", [True, False])
@pytest.mark.filterwarnings("ignore:the recommender knows none", "ignore:.* (nothing|no preferences) to learn")
@pytest.mark.parametrize("feedback", ["explicit", "implicit"])
def test_any_ratings(ratings, feedback, own, tmp_path):
    values = np.abs(ratings["rating"]) + 1e-9 if feedback == "implicit" else ratings["rating"]
    model = Recommender(feedback=feedback).fit({**ratings, "rating": values})
    others = {**ratings, "item": [f"other {id}" if k % 2 else id for k, id in enumerate(ratings["item"])]}
    others["user"] = [f"new {id}" for id in ratings["user"]]
    recommender.write(model, tmp_path / "page.html", None if own else others)
    text = (tmp_path / "page.html").read_text()
    Page(text).check()
    assert "nan" not in text


@pytest.fixture(scope="module")
def clicks():
    """Clicks, enough to search for settings, and others."""
    parts = table(share=1), table(seed=1, share=0.4)
    return [{name: part[name] for name in ("user", "item")} for part in parts]


def test_clicks_are_judged_by_their_lists(clicks, titles, tmp_path):
    train, test = clicks
    model = Recommender(4, feedback="implicit").fit(train)
    with pytest.warns(UserWarning, match="test rows are pairs from the fit and are left out"):
        told = recommender.write(model, tmp_path / "page.html", test, titles)
    with pytest.warns(UserWarning, match="are left out"):
        verdict = evaluation.evaluate(model, test)
    assert told["ndcg"] == pytest.approx(verdict.ndcg)
    assert told["recall"] == pytest.approx(verdict.recall)
    assert told["n_ratings"] == verdict.n_ratings
    assert (told["own"], told["figures"]) == (False, 6)
    assert "rmse" not in told
    text = (tmp_path / "page.html").read_text()
    Page(text).check()
    assert EVIL in Page(text).text
    assert "RMSE" not in text
    for title in (
        "Lists by popularity of the wanted items",
        "Lists by activity of the users",
        "The long tail",
        "Search for the rank and the ridge",
        "Descent",
    ):
        assert f'aria-label="{title}"' in text
    assert f"Left out: {verdict.n_seen} test clicks are of pairs that the model was fitted to." in text


def test_clicks_without_a_test_are_not_judged(clicks, tmp_path):
    model = Recommender(4, feedback="implicit").fit(clicks[0])
    told = recommender.write(model, tmp_path / "page.html")
    assert told == {"n_ratings": model.n_observed_, "own": True, "figures": 4}
    text = (tmp_path / "page.html").read_text()
    Page(text).check()
    assert "In the search for its settings, fits without a tenth of the clicks" in text
    assert "recall" not in text
    model.save(tmp_path / "model")
    recommender.write(Recommender.load(tmp_path / "model"), tmp_path / "again.html")
    one, other = (re.sub("<time.*?</time>", "", (tmp_path / name).read_text()) for name in ("page.html", "again.html"))
    assert one == other


def test_the_same_page_where_the_environment_says_when(model, newer, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    pages = []
    for _ in range(2):
        recommender.write(model, tmp_path / "page.html", newer)
        pages.append((tmp_path / "page.html").read_bytes())
    assert pages[0] == pages[1]
    assert b'datetime="1970-01-02T00:00Z"' in pages[0]


def test_the_date_is_today(judged):
    found = re.search('<time datetime="(.*?)">', judged[0].read_text())[1]
    written_at = datetime.fromisoformat(found)
    assert timedelta(0) <= datetime.now(UTC) - written_at < timedelta(hours=1)


@pytest.mark.parametrize("settings", [{"model": "network"}, {"ensemble": 2}])
def test_other_models(settings, newer, tmp_path):
    model = Recommender(rank=3, **settings).fit(table())
    told = recommender.write(model, tmp_path / "page.html", newer)
    text = (tmp_path / "page.html").read_text()
    Page(text).check()
    assert told["figures"] == 8  # no intervals
    assert ("mean of 2 models" in text) == ("ensemble" in settings)
    assert ("error on held-out ratings" in text) == ("model" in settings)


@pytest.mark.filterwarnings("ignore:the recommender knows none of the 1 user")
def test_items_and_users_that_the_model_does_not_know(model, tmp_path):
    strangers = {"user": ["u1", "nobody"], "item": [999, 1], "rating": [3, 4]}
    assert recommender.write(model, tmp_path / "page.html", strangers)["n_ratings"] == 2
    text = (tmp_path / "page.html").read_text()
    assert "1 test rating is of items it does not know" in text
    assert numbers(rows(text, "Error by popularity")["0"])[0] == 1


def test_what_cannot_be_used_is_told_and_leaves_no_page(model, tmp_path):
    empty = {"user": [], "item": [], "rating": []}
    for given, message in ((empty, "there are no test ratings"), ({"user": [1]}, "has no column 'item'")):
        with pytest.raises(ValueError, match=message):
            recommender.write(model, tmp_path / "page.html", given)
    model.save(tmp_path / "model", ratings=False)
    with pytest.raises(ValueError, match="saved without its ratings, which this needs"):
        recommender.write(Recommender.load(tmp_path / "model"), tmp_path / "page.html", table())
    (tmp_path / "model").unlink()
    assert not list(tmp_path.iterdir())


# --- in a browser


@pytest.fixture(scope="module")
def browse(tmp_path_factory):
    """Opens a page: the document as the browser has it then, and what it said on its console."""
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next((path for name in names if (path := shutil.which(name))), None)
    if browser is None:
        pytest.skip(f"there is no browser to open the page in: none of {', '.join(names)} is on PATH")
    profile = tmp_path_factory.mktemp("profile")
    quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr"]

    def run(path):
        done = subprocess.run(
            [browser, *quiet, f"--user-data-dir={profile}", "--dump-dom", path.as_uri()],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]

    return run


def test_a_browser_shows_it_and_has_nothing_to_complain_of(judged, browse):
    document, console = browse(judged[0])
    page = Page(document)
    assert page.title == "Report on the <best> model"
    assert len(page.figures) == judged[1]["figures"]
    assert console == []


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ('<img alt="" src="https://example.org/x.png">', "https://example.org/x.png"),
        ('<link rel="stylesheet" href="https://example.org/x.css">', "https://example.org/x.css"),
        ("<script>document.title = 'taken'</script>", "script"),
    ],
)
def test_the_page_forbids_requests_and_scripts(more, complaint, judged, browse, tmp_path):
    """And the browser says so: were there a request in the page, the test above would see it."""
    page = tmp_path / "page.html"
    page.write_text(judged[0].read_text().replace("</body>", f"{more}</body>"))
    document, console = browse(page)
    assert Page(document).title == "Report on the <best> model"
    assert any(complaint in line and "Content Security Policy" in line for line in console)
