"""From bench/results: the tables of README and docs/, between `<!-- bench:NAME -->` and `<!-- end -->`, and
bench/figures."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from _adapter_tables import differences, few_samples, ranks
from _completion_tables import (
    checkpoints,
    completion,
    large_matrix,
    large_table,
    memory,
    photograph,
    scaling,
    table_seeds,
    tables,
    tables_spread,
)
from _distributed_tables import beside_spark, dealing, faults, processes, several_machines, sizes
from _figures import figures
from _harness import main
from _kernel_tables import kernel_speed, kernel_use
from _network_tables import (
    against_full,
    depth_and_width,
    depths,
    follows_bound,
    follows_full,
    follows_why,
    narrow_networks,
    outer_rates,
    parsimony,
    plateau,
    sensing,
)
from _readme_table import results
from _recommender_tables import (
    bounds_on_ratings,
    clicks,
    cold_items,
    deep_ratings,
    fits,
    large_clicks,
    large_ratings,
    lists,
    lists_of_ratings,
    network_fits,
    network_leaps,
    nights,
    rank_bounds,
    ratings,
    serving,
    sparse_clicks,
    sparse_ratings,
)
from _recovery_tables import (
    noise,
    phase,
    random_problems,
    recovery_bounds,
    recovery_condition,
    recovery_harder,
    recovery_rivals,
    recovery_uniform,
    seconds,
    units,
)
from _tensor_tables import metro, planted_tensors, tensor_photograph
from _tuning_tables import skip_less_layer, ways_to_tune

ROOT = Path(__file__).parent.parent


PAGES: dict[str, Sequence[Callable[[], list[str]]]] = {
    "README.md": (results,),
    "docs/benchmarks/completion.md": (
        recovery_uniform,
        recovery_bounds,
        recovery_condition,
        recovery_harder,
        recovery_rivals,
        phase,
        seconds,
        completion,
        noise,
        units,
        random_problems,
        photograph,
    ),
    "docs/benchmarks/tables.md": (tables, tables_spread, table_seeds, large_table),
    "docs/benchmarks/ratings.md": (
        ratings,
        fits,
        rank_bounds,
        bounds_on_ratings,
        sparse_ratings,
        cold_items,
        lists_of_ratings,
        network_fits,
        network_leaps,
        deep_ratings,
    ),
    "docs/benchmarks/clicks.md": (clicks, sparse_clicks, large_clicks),
    "docs/benchmarks/serving-and-shell.md": (serving, lists, nights),
    "docs/benchmarks/kernels.md": (kernel_speed, kernel_use),
    "docs/benchmarks/large.md": (scaling, large_matrix, memory, large_ratings, checkpoints),
    "docs/benchmarks/compressed-against-full.md": (
        against_full,
        follows_full,
        follows_why,
        follows_bound,
        narrow_networks,
        outer_rates,
        depths,
        depth_and_width,
        plateau,
        parsimony,
        sensing,
    ),
    "docs/benchmarks/several-machines.md": (several_machines, beside_spark),
    "docs/guide/several-machines.md": (processes, dealing, sizes, faults),
    "docs/guide/tensors.md": (planted_tensors, metro, tensor_photograph),
    "docs/guide/adapters.md": (few_samples, differences, ranks),
    "docs/guide/collapse-and-transfer.md": (ways_to_tune, skip_less_layer),
}


def written(page: str) -> str:
    """A page with every table as the results have it."""
    text = (ROOT / page).read_text()
    for section in PAGES[page]:
        block = f"<!-- bench:{section.__name__} -->\n" + "\n".join(section()) + "\n<!-- end -->"
        places = re.findall(rf"<!-- bench:{section.__name__} -->.*?<!-- end -->", text, flags=re.DOTALL)
        if len(places) != 1:
            raise SystemExit(f"{page} has {len(places)} places for {section.__name__!r}; it needs one")
        text = text.replace(places[0], block)
    return text


def report() -> None:
    """The tables of README and docs/, and bench/figures, from the recorded results."""
    for page in PAGES:
        (ROOT / page).write_text(written(page))
    figures()


RUNS = {"figures": figures, "report": report}

if __name__ == "__main__":
    main(RUNS)
