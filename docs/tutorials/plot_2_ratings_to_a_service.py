"""
From ratings to a service
=========================

You have a file of ratings, or of clicks, and want lists of recommendations:
first to see whether they are any good, then every night for everybody, then on
request for whoever is on your page right now.

This tutorial goes from a CSV to a web service. It needs ``pip install
'.[plot]' pandas``. The ratings are generated, so that the tutorial runs
anywhere and you can see whether an answer makes sense.
"""

import json
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlparse
from urllib.request import urlopen

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import dmc
from dmc import evaluation

# %%
# A file of ratings
# -----------------
#
# 500 people have rated films from one to five stars, in half stars. There are
# 160 films in eight genres. Everybody likes some genres better than others,
# mostly watches those, and is more or less strict; some films are better and
# better known than others. A film's name says its genre, so that you can judge
# the lists yourself.

rng = np.random.default_rng(7)
genres = ["comedy", "crime", "drama", "horror"]
genres += ["musical", "romance", "war", "western"]
films = np.array([f"{genre} {n:02d}" for genre in genres for n in range(1, 21)])
genre_of = np.repeat(np.arange(8), 20)
people = np.array([f"user {n:03d}" for n in range(500)])

taste = rng.standard_normal((500, 8))[:, genre_of]
taste += 0.3 * rng.standard_normal((500, 3)) @ rng.standard_normal((3, 160))
quality, fame = 0.35 * rng.standard_normal(160), rng.gumbel(size=160)
strictness = 0.3 * rng.standard_normal((500, 1))
noise = 0.5 * rng.standard_normal(taste.shape)
stars = 3.4 + strictness + quality + 0.7 * taste + noise

appeal = 1.5 * taste + 0.7 * fame + rng.gumbel(size=taste.shape)
least = np.quantile(appeal, 0.8, axis=1) + rng.exponential(0.4, 500)
person, film = np.nonzero(appeal > least[:, None])  # who has watched what
seconds = rng.integers(0, 180 * 86_400, len(person))

table = pd.DataFrame(
    {
        "user": people[person],
        "item": films[film],
        "rating": np.clip(np.round(2 * stars[person, film]) / 2, 1, 5),
        "timestamp": pd.Timestamp("2026-01-01") + pd.to_timedelta(seconds, "s"),
    }
).sort_values("timestamp", ignore_index=True)

folder = Path(tempfile.mkdtemp())
table.to_csv(folder / "ratings.csv", index=False)
print(f"{len(table):,} ratings: {len(table) / stars.size:.0%} of all pairs")
table.head()

# %%
# Is it any good?
# ---------------
#
# Hold the latest tenth of the ratings back, fit to the others, and judge by
# what was held back. ``split`` and ``fit`` take data frames, dicts of arrays,
# and paths of CSV, TSV, JSON-lines or Parquet files alike. There is nothing to
# tune.

train, test = evaluation.split(table, by="time", test_fraction=0.1)
rec = dmc.Recommender().fit(train)
judged = evaluation.evaluate(rec, test, n=10)
print(rec)
print(f"rank {rec.rank_}, noise of a rating {rec.noise_:.2f} stars")

# %%
# A figure on its own means little. ``baselines`` says what simple rivals reach
# on the same ratings: the mean for everybody, the biases of users and items
# alone, and the most popular films.

rivals = evaluation.baselines(train, test, n=10)


def row(found):
    """The measures that apply, each with its interval."""
    cells = {}
    for name in ("rmse", "ndcg", "recall"):
        if name in found.intervals:
            low, high = found.intervals[name]
            value = getattr(found, name)
            cells[name] = f"{value:.3f} ({low:.3f} to {high:.3f})"
    return cells


figures = {name: row(found) for name, found in rivals.items()}
pd.DataFrame(figures | {"dmc": row(judged)}).T.fillna("")

# %%
# The intervals are 95 % bootstrap intervals over users: they say how much a
# figure would change with another draw of people like these. They do not say
# which of two models is better, because both were judged on the same users:
# where one has an easy user, so has the other. ``compare`` takes the
# difference user by user. Here the first model may use one direction of taste
# and the second as many as it likes; of an error the lower one is better, of
# the other measures the higher one.

contest = evaluation.compare(dmc.Recommender(rank=1).fit(train), rec, test)
print(contest)

# %%
# The second model is better, in its ratings and in its lists. ``p`` is the
# probability of so large a difference if there were none; of many measures
# some show a small one by chance, so settle on the measure that matters to you
# before you compare.
#
# What was predicted, and what was rated:

BLUE, GREY = "#2b6cb0", "#767676"
plt.rc("axes", edgecolor=GREY, labelcolor=GREY)
plt.rc("axes.spines", top=False, right=False)
plt.rc(("xtick", "ytick", "text"), color=GREY)
plt.rc("font", size=12)
plt.rc("savefig", transparent=True)

predicted = rec.predict(test)
bins = np.round(2 * predicted["prediction"]) / 2
groups = predicted.groupby(bins)["rating"]
middle, low, high = groups.mean(), groups.quantile(0.1), groups.quantile(0.9)
figure, axes = plt.subplots(figsize=(6.0, 4.2), layout="constrained")
(diagonal,) = axes.plot([1, 5], [1, 5], color=GREY, linestyle=":")
ends = middle - low, high - middle
bars = axes.errorbar(middle.index, middle, ends, fmt="o", color=BLUE)
axes.set(xlabel="predicted rating (stars)", xlim=(0.8, 5.2))
axes.set(ylabel="rating given later (stars)", ylim=(0.8, 5.2))
figure.legend(
    [bars, diagonal],
    ["mean, and 10 % to 90 %", "rating = prediction"],
    loc="outside upper left",
    frameon=False,
    ncols=2,
    fontsize=11,
)
plt.show()

# %%
# Lists
# -----
#
# Satisfied, we fit to all ratings and ask. ``recommend`` leaves out what a
# user has rated already. It orders by what the user would choose as well as by
# how it would be rated, which is why predictions are not quite in order.

rec = dmc.Recommender().fit(folder / "ratings.csv")
rec.recommend("user 259", n=5, output="frame")

# %%
# Does that fit the person? Mean ratings of the genres this user has rated:

own = table[table["user"] == "user 259"]
by_genre = own.groupby(own["item"].str.split().str[0].rename("genre"))["rating"]
by_genre.agg(["mean", "count"]).sort_values("mean", ascending=False).round(2)

# %%
# Which of the user's ratings raise the prediction for a film of the list, and
# which lower it, in stars:

rec.explain("user 259", "crime 05", n=5, output="frame").round(3)

# %%
# "More like this" needs no user:

rec.similar_items("western 05", n=5, output="frame").round(3)

# %%
# Somebody new
# ------------
#
# ``fold_in`` returns a model that knows the new user as well; nothing is
# fitted again, and the old model stays as it is.

visitor = pd.DataFrame(
    {
        "user": "visitor",
        "item": ["horror 01", "horror 02", "romance 03", "war 04"],
        "rating": [5, 4.5, 1.5, 3],
    }
)
with_visitor = rec.fold_in(visitor)
with_visitor.recommend("visitor", n=5, output="frame")

# %%
# For one request in a service even that is more than you need: ``user_vector``
# gives the vector alone.

vector = rec.user_vector(visitor["item"], visitor["rating"], vectors="ranking")
scores = rec.ranking_.V @ vector
scores[rec.items_.positions(visitor["item"])] = -np.inf
print(rec.items_.ids[np.argsort(-scores)[:5]])

# %%
# Every night
# -----------
#
# Take the day's ratings in. Judge yesterday's model by them first: a figure
# that falls from night to night is worth an alarm. ``partial_fit`` goes on
# from where the model stands, with new users and films too.

of_new_film = pd.DataFrame(
    {"user": ["user 259", "user 004"], "item": "western 21", "rating": [4, 4.5]}
)
today = pd.concat([visitor, of_new_film])
before = evaluation.evaluate(rec, today, confidence=None)
print(f"yesterday's model, {before.n_ratings} ratings: {before.rmse:.2f} stars")

rec.partial_fit(today)
print(f"{len(rec.users_)} users, {len(rec.items_)} films")
pair = {"user": ["visitor"], "item": ["western 21"]}
print(rec.predict(pair, output="records"))

# %%
# Whoever asks to be forgotten is taken out: id, vector and ratings.

rec.forget(users=["user 004"])
pair = {"user": ["user 004"], "item": ["western 21"]}
print(rec.predict(pair, output="records"))

# %%
# ``known`` is now false, and the prediction is what is expected of anybody.
# :doc:`/guide/privacy` says what else a model file keeps.
#
# Behind a service
# ----------------
#
# The model file is safetensors, without pickle. ``mmap=True`` maps it, so that
# all workers of a service share its memory, and ``output="records"`` gives
# what ``json.dumps`` takes. A whole service in the standard library:

rec.save(folder / "model.dmc")
served = dmc.Recommender.load(folder / "model.dmc", mmap=True)


class Lists(BaseHTTPRequestHandler):
    def do_GET(self):
        user = parse_qs(urlparse(self.path).query)["user"][0]
        found = served.recommend(user, n=3, output="records")
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(found).encode())

    def log_message(self, *args):
        pass


server = HTTPServer(("127.0.0.1", 0), Lists)
threading.Thread(target=server.serve_forever, daemon=True).start()

address = f"http://127.0.0.1:{server.server_port}/recommend?user=visitor"
with urlopen(address) as answer:
    for entry in json.load(answer):
        print(entry)
server.shutdown()
server.server_close()

# %%
# ``examples/service.py`` in the repository is the one to copy: FastAPI,
# several workers, visitors who are not in the model, and a new model file
# taken up while requests are answered. :doc:`/guide/serving` explains it.
#
# Clicks in place of ratings
# --------------------------
#
# Often nobody rates anything, and all you know is who watched what.
# ``feedback="implicit"`` takes a table of users and items (and counts, if
# something happened several times). What it predicts is a preference: only its
# order means something.

clicks = table[["user", "item", "timestamp"]]
train, test = evaluation.split(clicks, by="time", test_fraction=0.1)
rec_of_clicks = dmc.Recommender(feedback="implicit").fit(train)
judged = evaluation.evaluate(rec_of_clicks, test, n=10)
rivals = evaluation.baselines(train, test, n=10, feedback="implicit")
figures = {name: row(found) for name, found in rivals.items()}
pd.DataFrame(figures | {"dmc": row(judged)}).T

# %%
rec_of_clicks.recommend("user 259", n=5, output="frame").round(3)

# %%
# From the shell
# --------------
#
# The nightly job needs no Python of yours: a model is fitted once, updated
# every night, and lists for everybody are written anew. A file appears whole
# or not at all.
#
# .. code-block:: sh
#
#    dmc fit ratings.csv -o model.dmc
#    dmc update model.dmc today.csv
#    dmc recommend model.dmc -n 10 -o lists.csv
#
# The next block runs these lines with ``python -m dmc``, which is the same
# program.

today.to_csv(folder / "today.csv", index=False)
for line in (
    "fit ratings.csv -o model.dmc",
    "update model.dmc today.csv",
    "recommend model.dmc -n 10 -o lists.csv",
):
    done = subprocess.run(
        [sys.executable, "-m", "dmc", *line.split()],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    print(f"$ dmc {line}\n{done.stdout}{done.stderr}")

pd.read_csv(folder / "lists.csv").head()

# %%
# What to remember
# ----------------
#
# - ``evaluate`` with ``split`` and ``baselines`` first: a list is good if it
#   is better than the popular one.
# - ``fit`` once, ``partial_fit`` every night, ``fold_in`` or ``user_vector``
#   for whoever is new.
# - The file is the interface between the night and the service.
#
# Next: :doc:`/guide/ratings` and :doc:`/guide/clicks` for weights, features of
# users and items, and dislikes; :doc:`/guide/judging` for the measures;
# :doc:`/theory/recommender` for the model.
