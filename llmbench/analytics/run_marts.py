"""The marts' rows of one run, each in a fixed order: the same files give the same report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from llmbench.analytics.warehouse import Warehouse

SAMPLES_SHOWN: Final = 4
Rows = Sequence[Mapping[str, Any]]


class RunMarts:
    """What the warehouse holds of one run.

    Attributes:
        candidates: (task, model) -> row of mart_candidates.
        language: rows of mart_language.
        disagreements: the samples on which the models of a task differ most.
        failures: rows of mart_failures.
        truncations: calls cut off at their output limit, a row for each task and model that has some.
        adjustments: parameters not sent as asked for, by rule.
        load: the machine's load while each task was measured.
        judges: how consistent, and how near to people, each judge was on a task.
        win_rates: what the judges preferred.
    """

    def __init__(self, warehouse: Warehouse, run_id: str) -> None:
        """Read every mart once."""

        def read(sql: str) -> list[dict[str, Any]]:
            return warehouse.rows(sql, {"run": run_id})

        self.candidates = {
            (row["task"], row["model"]): row
            for row in read("select * from mart_candidates where run_id = $run order by task, model")
        }
        self.language: Rows = read(
            "select * from mart_language where run_id = $run order by task, model, lang"
        )
        self.disagreements: Rows = warehouse.rows(
            "select * from mart_disagreements where run_id = $run and rank <= $shown order by task, rank",
            {"run": run_id, "shown": SAMPLES_SHOWN},
        )
        self.failures: Rows = read(
            "select * from mart_failures where run_id = $run order by task, model, status, error_kind"
        )
        self.truncations: Rows = read("""
            select task, model, count(*) filter (where finish_reason = 'length') as cut, count(*) as n,
                count(*) filter (where finish_reason = 'length' and status = 'ok') as scored
            from stg_results where run_id = $run and not is_pending
            group by task, model having cut > 0 order by task, model""")
        self.adjustments: Rows = read("""
            select param, action, rule, sum(n)::bigint as n, list(distinct model order by model) as models,
                min(from_example) as from_example, min(to_example) as to_example
            from mart_adjustments where source = 'result' and run_id = $run
            group by param, action, rule order by param, action, rule""")
        self.load: Rows = read("""
            select task, sum(n + errors)::bigint as n,
                median(p50_load) as p50_load, max(max_load) as max_load,
                median(p50_cpu_wait) as p50_cpu_wait, max(max_cpu_wait) as max_cpu_wait
            from mart_latency where run_id = $run group by task order by task""")
        self.judges: Rows = read(
            "select * from mart_judges where run_id = $run order by task, judge, strategy"
        )
        self.win_rates: Rows = read(
            "select * from mart_win_rates where run_id = $run order by task, model, other, judge, strategy"
        )
