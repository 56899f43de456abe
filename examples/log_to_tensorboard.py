"""Log a fit to TensorBoard
========================

Value, gradient and leading singular values at each look of a fit. Look at them with::

    tensorboard --logdir runs
"""

import sys
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

import dmc


class TensorBoard:
    """A callback: anything that takes a `StepInfo`; one that returned true would end the fit."""

    name = "tensorboard"

    def __init__(self, writer: SummaryWriter, n_singular_values: int = 8) -> None:
        self.writer, self.n_singular_values = writer, n_singular_values
        self.before = 0  # steps of the phases before this one: each counts from zero

    def __call__(self, info: dmc.StepInfo) -> bool:
        step = self.before + info.n_steps
        if info.status is not None:
            self.writer.add_text("status", str(info.status), step)
            self.before = step
            return False
        self.writer.add_scalar("value", info.value, step)
        self.writer.add_scalar("gradient over its largest", info.gradient_ratio, step)
        for i, size in enumerate(info.factors.singular_values()[: self.n_singular_values]):
            self.writer.add_scalar(f"singular value/{i + 1}", float(size), step)
        return False


def main(folder: str = "runs") -> Path:
    observed = dmc.datasets.planted((300, 200), rank=5, observed=0.3, noise=0.1).observations
    with SummaryWriter(folder) as writer:
        model = dmc.MatrixCompletion(callbacks=[TensorBoard(writer)]).fit(observed)
        writer.add_hparams(
            {"depth": model.depth}, {"rank found": model.rank_, "residual": model.residual_rms_}, run_name="result"
        )
    return Path(folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
