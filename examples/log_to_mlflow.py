"""Log a fit to MLflow
===================

The parameters of a fit, its metrics at each look, and the model file as an artifact. Look at them with::

    mlflow ui --backend-store-uri sqlite:///mlflow.db
"""

import sys
import tempfile
from pathlib import Path

import mlflow
import numpy as np

import dmc


class MLflow:
    """A callback: anything that takes a `StepInfo`; one that returned true would end the fit."""

    name = "mlflow"

    def __init__(self) -> None:
        self.before = 0  # steps of the trainings before this one: each counts from zero

    def __call__(self, info: dmc.StepInfo) -> bool:
        step = self.before + info.n_steps
        if info.status is None:
            mlflow.log_metrics({"value": info.value, "gradient_ratio": info.gradient_ratio}, step=step)
        else:
            self.before = step
        return False


def ratings(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    taste, style = rng.standard_normal((300, 2)), rng.standard_normal((80, 2))
    user, item = np.argwhere(rng.random((300, 80)) < 0.2).T
    return {"user": user, "item": item, "rating": np.clip(3 + np.sum(taste[user] * style[item], axis=1), 1, 5)}


def main(tracking_uri: str = "sqlite:///mlflow.db") -> str:
    mlflow.set_tracking_uri(tracking_uri)
    with mlflow.start_run() as run, tempfile.TemporaryDirectory() as folder:
        rec = dmc.Recommender(16, model="network", callbacks=[MLflow()])
        mlflow.log_params({"rank": rec.rank, "depth": rec.depth, "l2": rec.l2})
        rec.fit(ratings())
        mlflow.log_metrics({"validation_rmse": rec.validation_rmse_, "rank_found": rec.rank_})
        rec.save(Path(folder) / "model.dmc")
        mlflow.log_artifact(str(Path(folder) / "model.dmc"))
    return run.info.run_id


if __name__ == "__main__":
    main(*sys.argv[1:])
