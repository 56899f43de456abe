"""A fit from the shell: python -m dmc.distributed fit, or torchrun -m dmc.distributed fit in several processes."""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

from dmc.distributed.agreement import ElsewhereError
from dmc.distributed.group import connected
from dmc.distributed.recommender import Recommender
from dmc.distributed.shards import prepare

OF_MODEL = ("rank", "feedback", "model", "depth", "random_state", "n_threads", "device")


def _parser() -> argparse.ArgumentParser:
    program = argparse.ArgumentParser(prog="dmc.distributed", description=__doc__)
    commands = program.add_subparsers(dest="command", required=True)
    fit = commands.add_parser(
        "fit",
        help="fit a recommender to Parquet files",
        description="Fit a recommender to Parquet files that are larger than the memory of one process. Start it with "
        "torchrun, which restarts the processes if one is lost: with --checkpoint the fit then resumes where it was.",
    )
    fit.add_argument("files", nargs="+", help="Parquet files, or folders of them, that all processes see")
    fit.add_argument("-o", "--output", required=True, help="folder for the model, which all processes see")
    fit.add_argument("--checkpoint", help="folder for checkpoints, which all processes see")
    fit.add_argument("--scratch", help="folder on this machine for rows on their way to their process")
    for name, default in (("user", "user"), ("item", "item"), ("rating", "rating"), ("weight", None), ("time", None)):
        fit.add_argument(f"--{name}", default=default, help=f"column of {name}s")
    fit.add_argument(
        "--duplicates", default="error", choices=("error", "mean", "last", "latest"), help="repeated ratings"
    )
    fit.add_argument(
        "--feedback",
        default="explicit",
        choices=("explicit", "implicit"),
        help="ratings (explicit) or clicks (implicit)",
    )
    fit.add_argument("--model", choices=("bayes", "network"), help="model of ratings (default: bayes)")
    fit.add_argument("--rank", type=int, help="upper bound of the rank (default: found from the data)")
    fit.add_argument("--depth", type=int, help="number of inner factors of the network")
    fit.add_argument("--seed", dest="random_state", type=int, default=0)
    fit.add_argument(
        "--threads", dest="n_threads", type=int, help="threads of each process (torchrun sets 1 by default)"
    )
    fit.add_argument("--device", help="for networks and clicks: cuda for the GPU of each process")
    fit.add_argument(
        "--timeout", type=float, default=300.0, help="seconds without a word from another process (default: 300)"
    )
    fit.add_argument("--backend", default="gloo", choices=("gloo", "nccl"), help="nccl: one process for each GPU")
    return program


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status. What is wrong is told by one process, in a sentence; the others end without a word."""
    asked = _parser().parse_args(arguments)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # what it logs of lost processes is said below
    first = int(os.environ.get("RANK", 0)) == 0
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: _tell(message) if first else None
        try:
            _fit(asked)
        except ElsewhereError:
            return 1
        except KeyboardInterrupt:
            _tell("interrupted before there was anything to save")
            return 130
        except MemoryError as error:
            _tell(f"a process has no memory left ({error}); use more processes, on more machines, or a smaller rank")
            return 1
        except (ValueError, TypeError, OSError, ImportError, FloatingPointError) as error:
            _tell(error)
            return 1
    return 0


def _fit(asked: argparse.Namespace) -> None:
    began = time.perf_counter()
    with connected(timeout=asked.timeout, backend=asked.backend) as group:
        model = Recommender(**{name: getattr(asked, name) for name in OF_MODEL}, verbose=sys.stderr.isatty())
        prepare(Path(asked.output), group)
        columns = asked.user, asked.item, asked.rating
        model.fit(
            asked.files, *columns, asked.duplicates, weight=asked.weight, time=asked.time, group=group,
            checkpoint=asked.checkpoint, scratch=asked.scratch
        )  # fmt: skip
        model.save(asked.output)
        n_users, n_ratings = (int(group.sum(n)) for n in (len(model.own_.users_), model.own_.n_observed_))
        if group.rank == 0:
            own = model.own_
            found = f"{n_ratings:,} ratings of {n_users:,} users and {len(own.items_):,} items: rank {own.rank_}"
            noise = f", noise {own.noise_:.6g}" if own.feedback == "explicit" else ""
            noise += f", gone on with from {asked.checkpoint}" if model.resumed_ else ""
            seconds = time.perf_counter() - began
            print(f"{found}{noise}, {own.status_}, {own.n_iter_} sweeps, {seconds:.1f} s: {asked.output}")  # noqa: T201


def _tell(sentence: object) -> None:
    print(f"dmc: {sentence}", file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
