"""A program of its own: in a cluster of two executors one is killed during a fit, and one after it.

What it prints is JSON: the largest difference of the factors from those of a fit that nothing happened to.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd

os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
os.environ["PYSPARK_PYTHON"] = sys.executable

from pyspark.sql import DataFrame, SparkSession

from dmc.integrations.spark import Recommender


def processes() -> list[tuple[int, int, bytes]]:
    """Each process of the machine: its number, its parent's, and its command."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            found.append((int(folder.name), parent, (folder / "cmdline").read_bytes()))
        except OSError:
            continue
    return found


def own_executors() -> list[int]:
    """Those that descend from this program, and no other's on this machine."""
    known = processes()
    family = {os.getpid()}
    for _ in known:
        family |= {pid for pid, parent, _ in known if parent in family}
    return [pid for pid, _, command in known if pid in family and b"CoarseGrainedExecutorBackend" in command]


def fitting() -> bool:
    """Whether a worker has PyTorch loaded, as it has from the start of a fit."""
    for pid, _, command in processes():
        try:
            if b"pyspark.daemon" in command and "libtorch" in Path(f"/proc/{pid}/maps").read_text():
                return True
        except OSError:
            continue
    return False


def kill_one() -> None:
    until = time.monotonic() + 200
    while not fitting() and time.monotonic() < until:
        time.sleep(0.05)
    os.kill(own_executors()[0], signal.SIGKILL)


def factors(frame: DataFrame) -> np.ndarray:
    rows = frame.orderBy("id").collect()
    return np.array([row["features"] for row in rows])


def main() -> None:
    spark = (
        SparkSession.builder.master("local-cluster[2,1,1200]")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.executorEnv.PYTHONPATH", os.pathsep.join(sys.path))
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("OFF")
    rng = np.random.default_rng(0)
    user, item = np.divmod(rng.choice(300 * 100, 5000, replace=False), 100)
    rating = 3 + rng.standard_normal(300)[user] + rng.standard_normal(100)[item] + 0.3 * rng.standard_normal(5000)
    ratings = spark.createDataFrame(pd.DataFrame({"user": user, "item": item, "rating": rating}))
    killer = threading.Thread(target=kill_one)
    killer.start()
    disturbed = Recommender(numProcesses=2).fit(ratings)
    killer.join()
    quiet = Recommender(numProcesses=2).fit(ratings)
    during = np.abs(factors(disturbed.userFactors) - factors(quiet.userFactors)).max()
    before = factors(quiet.userFactors)
    os.kill(own_executors()[0], signal.SIGKILL)
    after = np.abs(factors(quiet.userFactors) - before).max()
    lists = quiet.recommendForAllUsers(3).count()
    spark.stop()
    sys.stdout.write(json.dumps({"during": float(during), "after": float(after), "lists": lists}) + "\n")


if __name__ == "__main__":
    main()
