"""The examples that log by callbacks, read back from what they wrote."""

from __future__ import annotations

import numpy as np
import pytest

from example_scripts import example


def ascends(steps: list[int]) -> bool:
    """Over all trainings of a fit, each of which counts its steps from zero."""
    return len(steps) > 10 and bool((np.diff(steps) >= 0).all())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard(tmp_path):
    for package in ("tensorboard", "torch"):
        pytest.importorskip(package, reason=f"{package} is not installed here; `make integrations` runs this with it")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(example("log_to_tensorboard").main(str(tmp_path)))).Reload()
    assert {"value", "gradient over its largest", "singular value/1"} <= set(events.Tags()["scalars"])
    assert ascends([event.step for event in events.Scalars("value")])
    result = EventAccumulator(str(tmp_path / "result")).Reload()
    assert result.Scalars("rank found")[0].value == 5


@pytest.mark.filterwarnings("ignore")  # a database that is left open, and what its dependencies deprecate
def test_mlflow(tmp_path, monkeypatch):
    pytest.importorskip("mlflow", reason="mlflow is not installed here; `make integrations` runs this with it")
    import mlflow

    import dmc

    monkeypatch.chdir(tmp_path)
    run = example("log_to_mlflow").main()
    client = mlflow.MlflowClient()
    logged = client.get_run(run).data
    assert logged.params == {"rank": "16", "depth": "3", "l2": "1.3"}
    assert ascends([metric.step for metric in client.get_metric_history(run, "value")])
    model = dmc.Recommender.load(mlflow.artifacts.download_artifacts(run_id=run, artifact_path="model.dmc"))
    assert model.validation_rmse_ == pytest.approx(logged.metrics["validation_rmse"])
