"""Java, and slots for the barrier stage."""

from __future__ import annotations

import pytest

pytest.importorskip("pyspark", reason="pyspark is not installed here; `make spark` runs these tests with it")

from pyspark import SparkContext

from dmc.integrations.spark import Recommender, cluster


def test_as_many_processes_as_slots(spark) -> None:
    assert cluster.slots(spark) == 2
    assert cluster.processes(spark, None) == 2
    assert cluster.processes(spark, 1) == 1


def test_too_few_slots_are_told_before_anything_runs(spark, frame) -> None:
    spark.sparkContext.setJobGroup("too few", "")
    with pytest.raises(
        RuntimeError, match=r"needs 3 slots at the same time, and this Spark \(local\[2,4\]\) has 2; set"
    ):
        Recommender(numProcesses=3).fit(frame)
    assert not spark.sparkContext.statusTracker().getJobIdsForGroup("too few")


def test_without_java(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(SparkContext, "_active_spark_context", None)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"JAVA_HOME is '.*', where there is no bin/java; install Java 17, or set"):
        Recommender()
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="Spark runs on Java, and there is no java on the PATH"):
        Recommender()


def test_a_session_of_spark_connect_is_refused() -> None:
    with pytest.raises(RuntimeError, match="a Spark Connect session"):
        cluster.require_classic(object())
