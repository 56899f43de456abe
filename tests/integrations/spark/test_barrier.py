"""The barrier stage: settings restored, results kept, workers killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("pyspark", reason="pyspark is not installed here; `make spark` runs these tests with it")

import pyarrow as pa
import pyspark

from dmc.integrations.spark import Recommender, barrier
from dmc.integrations.spark.shards import Settings

FAR = 5_000_000_000


def predicted(model, frame) -> np.ndarray:
    return np.array([row["prediction"] for row in model.transform(frame).orderBy("user", "item").collect()])


@pytest.mark.parametrize("fails", [False, True], ids=["fitted", "refused"])
def test_settings_of_the_session_are_as_before(spark, frame, fails: bool) -> None:
    names = [*barrier.SESSION]
    spark.conf.set(names[1], "123")
    before = [spark.conf.get(name) for name in names]
    if fails:
        with pytest.raises(ValueError, match="repeat"):
            Recommender(numProcesses=1).fit(frame.union(frame))
    else:
        Recommender(numProcesses=1).fit(frame)
    assert [spark.conf.get(name) for name in names] == before
    spark.conf.unset(names[1])


def test_later_questions_do_not_fit_again(spark, model, frame) -> None:
    context = spark.sparkContext
    context.setJobGroup("later", "")
    assert model.userFactors.count() == frame.select("user").distinct().count()
    assert model.itemFactors.count() == 150
    tracker = context.statusTracker()
    stages = [s for job in tracker.getJobIdsForGroup("later") for s in tracker.getJobInfo(job).stageIds]
    assert stages
    ran = [tracker.getStageInfo(s) for s in stages]
    assert not any("mapInArrow" in of.name for of in ran if of is not None and of.numCompletedTasks)


def test_where_spark_has_a_checkpoint_directory_the_factors_are_kept_there(spark, frame, tmp_path) -> None:
    context = spark.sparkContext
    context.setCheckpointDir(str(tmp_path))
    try:
        model = Recommender(numProcesses=1, rank=1).fit(frame)
        plan = model.userFactors._jdf.queryExecution().toString()
        assert "mapInArrow" not in plan.replace("MapInArrow", "mapInArrow")  # nothing of the fit is left to run
        assert any(path.is_file() for path in tmp_path.rglob("part-*"))
        assert model.itemFactors.count() == 150
    finally:
        getattr(context._jsc.sc(), "checkpointDir_$eq")(context._jvm.scala.Option.empty())


def workers() -> list[int]:
    """Python workers of this Spark that have PyTorch loaded: those of a fit."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            of_daemon = b"pyspark.daemon" in Path(f"/proc/{parent}/cmdline").read_bytes()
            if of_daemon and "libtorch" in (folder / "maps").read_text():
                found.append(int(folder.name))
        except (OSError, ValueError):
            continue
    return found


class Alone:
    """A barrier of one task."""

    def partitionId(self) -> int:
        return 0

    def getTaskInfos(self) -> list:
        return [SimpleNamespace(address="here:1")]

    def allGather(self, said: str) -> list[str]:
        return [said]


@pytest.fixture
def task(monkeypatch):
    """What a task runs, by how many are to be in its stage."""
    monkeypatch.setattr(pyspark.BarrierTaskContext, "get", classmethod(lambda _: Alone()))
    settings = Settings("user", "item", "rating", None, None, "explicit", "error", 0, None, 60.0)
    schema = pa.schema([("user", pa.int64()), ("told", pa.string())])
    return lambda size: barrier._task(settings, size, schema)


def test_a_task_alone_of_a_fit_of_two_fails_so_that_spark_runs_both(task) -> None:
    with pytest.raises(RuntimeError, match="cannot be repeated alone"):
        list(task(2)([]))


def test_a_worker_without_dmc_is_told_of(task, tmp_path) -> None:
    (tmp_path / "task").write_bytes(pyspark.cloudpickle.dumps(task(1)))
    worker = f"""
import json, sys
sys.modules["dmc"] = None  # as if it were not installed
import pyspark
class Alone:
    def partitionId(self): return 0
    def getTaskInfos(self): return [1]
    def allGather(self, said): return [said]
pyspark.BarrierTaskContext.get = classmethod(lambda _: Alone())
[batch] = pyspark.cloudpickle.loads(open({str(tmp_path / "task")!r}, "rb").read())([])
print(batch.to_pylist()[0]["told"])
"""
    ran = subprocess.run([sys.executable, "-c", worker], capture_output=True, text=True, check=True)
    told = json.loads(ran.stdout)
    assert told["error"] == "ImportError"
    assert re.fullmatch(r"the worker on .+ has no dmc(\.[a-z.]+)?; install 'dmc\[spark\]' there", told["text"])


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="processes are found by /proc, which is not here")
def test_an_executor_that_is_killed_during_a_fit_and_one_after_it() -> None:
    script = Path(__file__).parent / "lost_executor.py"
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=500)
    assert ran.returncode == 0, ran.stderr[-2000:]
    found = json.loads(ran.stdout.splitlines()[-1])
    assert found["during"] <= 1e-4
    assert found["after"] <= 1e-4
    assert found["lists"] == 300


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="processes are found by /proc, which is not here")
def test_a_worker_that_is_killed(spark, frame, model) -> None:
    for pid in workers():  # idle ones
        os.kill(pid, signal.SIGKILL)
    killed: list[int] = []

    def kill() -> None:
        until = time.monotonic() + 100
        while not killed and time.monotonic() < until:
            time.sleep(0.05)
            for pid in workers()[:1]:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    spark.sparkContext.setJobGroup("killed", "")
    killer = threading.Thread(target=kill)
    killer.start()
    found = Recommender(numProcesses=2).fit(frame)
    killer.join()
    tracker = spark.sparkContext.statusTracker()
    stages = [s for job in tracker.getJobIdsForGroup("killed") for s in tracker.getJobInfo(job).stageIds]
    attempts = [of.currentAttemptId for of in map(tracker.getStageInfo, stages) if of is not None]
    assert killed
    assert max(attempts) > 0
    np.testing.assert_allclose(predicted(found, frame), predicted(model, frame), atol=1e-4)
