"""A model file as a web service
=============================

Serve a model file over HTTP. When the file is replaced, the service loads the new one while it answers requests.

It needs fastapi and uvicorn beside dmc. Four workers, which share the model's memory::

    OMP_NUM_THREADS=1 DMC_MODEL=model.dmc uvicorn service:app --app-dir examples --workers 4

At night, add the day's ratings or clicks: ``dmc update model.dmc today.csv``.
"""

import logging
import os
import threading
import time
from typing import Annotated, Any, NamedTuple

import numpy as np
from fastapi import FastAPI, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from safetensors import safe_open

import dmc

LOOK_SECONDS = float(os.environ.get("DMC_LOOK_SECONDS", "1"))  # how often each worker looks for a new file
log = logging.getLogger("uvicorn.error")

Id = int | str
Length = Annotated[int, Query(ge=1, le=1000)]


class Served(NamedTuple):
    """A model and its name: a request takes both at once, so that its answer is of one model, and says of which."""

    rec: dmc.Recommender
    version: str  # the checksum in the file: the same contents have the same name on every machine
    stamp: tuple[int, ...]


def stamp(path: str) -> tuple[int, ...]:
    """What tells one file from another in its place; nothing, if there is none."""
    try:
        of = os.stat(path)
    except FileNotFoundError:
        return ()
    return of.st_mtime_ns, of.st_ino, of.st_size


def read(path: str) -> Served:
    # Mapped: the workers share the memory. A file that is renamed over this one leaves it as it is, for as long as
    # somebody has it mapped; one that is written over it in place, as cp does, would change the model that is served.
    before = stamp(path)
    rec = dmc.Recommender.load(path, mmap=True)
    with safe_open(path, "numpy") as opened:
        version = opened.metadata()["checksum"]
    if stamp(path) != before:  # replaced meanwhile: the name might be of the other one
        return read(path)
    rec.recommend(rec.users_.ids[:1], 1)  # what is made when it is first asked for, before anybody waits for it
    rec.similar_items(rec.items_.ids[:1], 1)
    return Served(rec, version, before)


class ModelFile:
    """What is served, and whether another file has come in its place."""

    def __init__(self, path: str) -> None:
        self.path, self.problem = path, ""
        self.served = read(path)  # without a model there is no service: an error ends the worker
        self._tried = self.served.stamp

    def watch(self) -> None:
        while True:
            time.sleep(LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        """Load the file if it is not the one that was tried last; if it is broken, the old model goes on."""
        try:
            found = stamp(self.path)
            if found == self._tried:
                return
            self._tried = found
            self.served = read(self.path)  # requests under way keep the old one until they are done
            self.problem = ""
            log.info("now serving version %s", self.served.version)
        except Exception as error:  # whatever is wrong with a new file must not end the service
            self.problem = str(error)
            log.error("still serving version %s: %s", self.served.version, error)


app, file = FastAPI(), ModelFile(os.environ["DMC_MODEL"])  # each worker has its own
threading.Thread(target=file.watch, daemon=True).start()


@app.exception_handler(ValueError)
def refused(request: Request, error: ValueError) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, 422)  # the library's sentence says what to do


class Pairs(BaseModel):
    users: list[Id]
    items: list[Id]


@app.post("/predict")
def predict(pairs: Pairs) -> dict[str, Any]:
    rec, version, _ = file.served
    user, item, _ = rec.columns_
    found = rec.predict({user: pairs.users, item: pairs.items}, output="records")
    return {"version": version, "predictions": found}  # "known" says of each pair whether it is more than an average


@app.get("/recommend")
def recommend(user: str, n: Length = 10) -> dict[str, Any]:
    rec, version, _ = file.served
    known = bool(rec.users_.positions([user])[0] >= 0)  # others get what is liked by most
    return {"version": version, "known": known, "items": rec.recommend([user], n, output="records")}


@app.get("/similar")
def similar(item: str, n: Length = 10) -> dict[str, Any]:
    rec, version, _ = file.served
    return {"version": version, "items": rec.similar_items([item], n, output="records")}


class Visitor(BaseModel):
    items: list[Id]
    ratings: list[float] | None = None  # of clicks: none
    n: Length = 10


@app.post("/visitor")
def visitor(of: Visitor) -> dict[str, Any]:
    """A list for somebody who is not in the model, by what he has rated or clicked: nothing is fitted for that."""
    rec, version, _ = file.served
    ranked_by = dmc.Factors(rec.user_vector(of.items, of.ratings, vectors="ranking")[None], (), rec.ranking_.V)
    best = ranked_by.top_n([0], of.n + len(of.items))[0][0]
    best = best[(best >= 0) & ~np.isin(best, rec.items_.positions(of.items))][: of.n]
    predicted = rec.mean_ + rec.item_factors[best] @ rec.user_vector(of.items, of.ratings)
    pairs = zip(rec.items_.ids[best].tolist(), np.clip(predicted, *rec.range_).tolist(), strict=True)
    return {"version": version, "items": [{"item": item, "prediction": value} for item, value in pairs]}


@app.get("/health")
def health() -> dict[str, Any]:
    rec, version, (written, *_) = file.served
    sizes = {"users": len(rec.users_), "items": len(rec.items_), "ratings": rec.n_observed_}  # to be watched, too
    age = round((time.time() - written / 1e9) / 3600, 3)
    return {"version": version, "age_hours": age, **sizes, "worker": os.getpid(), "problem": file.problem or None}
