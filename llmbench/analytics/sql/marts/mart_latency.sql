-- grain: one model on one task of one run
-- key: run_id, task, model
-- reads: stg_results
-- Percentiles are of the calls that were answered or ran into their time limit, as in a decision: a call that
-- fails at once must not make its model look fast. One that falls on a timed-out call is a lower bound.
-- columns:
--   run_id: the run
--   task: the caller's kind of work
--   model: model key
--   n: answered and timed-out rows with a measured latency
--   timeouts: those of them that ran into their time limit
--   errors: rows that failed before it and have a latency; not among n
--   min_ms: fastest of n, milliseconds
--   p50_ms: exact median, milliseconds
--   p90_ms: exact 90th percentile, milliseconds
--   p95_ms: exact 95th percentile, milliseconds
--   p99_ms: exact 99th percentile, milliseconds
--   max_ms: slowest of n, milliseconds
--   mean_queued_ms: waited before the send, milliseconds
--   p50_ttft_ms: exact median time to the first token, milliseconds
--   p50_load: median load average over one minute while measured
--   max_load: highest load average over one minute
--   p50_cpu_wait: median share of time in which some process waited for a CPU, percent
--   max_cpu_wait: highest such share, percent
with measured as (
    select *, if(status <> 'error', latency_ms, null) as lasted_ms
    from stg_results
    where not is_pending and latency_ms is not null
),
final as (
    select
        run_id,
        task,
        model,
        count(lasted_ms) as n,
        count(*) filter (where status = 'timeout') as timeouts,
        count(*) filter (where status = 'error') as errors,
        min(lasted_ms) as min_ms,
        quantile_cont(lasted_ms, 0.5) as p50_ms,
        quantile_cont(lasted_ms, 0.9) as p90_ms,
        quantile_cont(lasted_ms, 0.95) as p95_ms,
        quantile_cont(lasted_ms, 0.99) as p99_ms,
        max(lasted_ms) as max_ms,
        avg(queued_ms) as mean_queued_ms,
        quantile_cont(ttft_ms, 0.5) as p50_ttft_ms,
        quantile_cont(loadavg1, 0.5) as p50_load,
        max(loadavg1) as max_load,
        quantile_cont(cpu_some_avg10, 0.5) as p50_cpu_wait,
        max(cpu_some_avg10) as max_cpu_wait
    from measured
    group by run_id, task, model
)
select * from final
