"""What a Spark has: Java, and slots for tasks that have to run at the same time."""

from __future__ import annotations

import os
import shutil
import time

from pyspark import SparkContext
from pyspark.sql import SparkSession
from pyspark.sql.utils import is_remote

PATIENCE = 30.0  # seconds that executors get to come in, as Spark gives them before its first job


def require_java() -> None:
    """Raise if neither a Spark runs nor the Java for one is there.

    Raises
    ------
    RuntimeError
        There is none.
    """
    if SparkContext._active_spark_context is not None or is_remote():
        return
    home = os.environ.get("JAVA_HOME")
    if shutil.which(os.path.join(home, "bin", "java") if home else "java") is None:
        where = f"JAVA_HOME is {home!r}, where there is no bin/java" if home else "there is no java on the PATH"
        raise RuntimeError(f"Spark runs on Java, and {where}; install Java 17, or set JAVA_HOME to one")


def require_classic(session: SparkSession) -> None:
    """Raise in a session of Spark Connect, whose client does not see the cluster.

    Raises
    ------
    RuntimeError
        It is one.
    """
    if is_remote() or not hasattr(session, "_jsparkSession"):
        raise RuntimeError(
            "the session is a Spark Connect session, which cannot start a fit; run it in a classic session, on the "
            "driver"
        )


def slots(session: SparkSession) -> int:
    """Tasks that run at a time in the executors that have come in."""
    context = session.sparkContext._jsc.sc()
    return int(context.maxNumConcurrentTasks(context.resourceProfileManager().defaultResourceProfile()))


def processes(session: SparkSession, wanted: int | None) -> int:
    """How many tasks the barrier stage gets.

    Parameters
    ----------
    session : SparkSession
    wanted : int, optional
        Left out: as many as Spark's default parallelism, if there are as many slots.

    Raises
    ------
    RuntimeError
        If there are fewer slots than wanted, for which Spark would wait many minutes.
    """
    context = session.sparkContext
    needed = 1 if wanted is None else wanted
    start, found = time.monotonic(), slots(session)
    while found < needed and not context.master.startswith("local[") and time.monotonic() < start + PATIENCE:
        time.sleep(0.5)
        found = slots(session)
    if found < needed:
        raise RuntimeError(
            f"the fit needs {needed} slots at the same time, and this Spark ({context.master}) has {found}; set "
            f"numProcesses to {max(found, 1)} or fewer, or give it more cores"
        )
    return min(context.defaultParallelism, found) if wanted is None else wanted
