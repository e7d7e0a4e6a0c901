-- grain: one model on one task of one run
-- key: run_id, task, model
-- reads: stg_results
-- Percentiles are of the calls that were answered or ran into their time limit, as in a decision: a call that
-- fails at once must not make its model look fast. Each is the smallest latency that so many of the calls do not
-- exceed, where a timed-out call counts as longer than all others; one that falls on it is a lower bound.
-- columns:
--   run_id: the run
--   task: the caller's kind of work
--   model: model key
--   n: answered and timed-out rows with a measured latency
--   timeouts: those of them that ran into their time limit
--   errors: rows that failed before it and have a latency; not among n
--   min_ms: fastest of n, milliseconds
--   p50_ms: median, milliseconds
--   p90_ms: 90th percentile, milliseconds
--   p95_ms: 95th percentile, milliseconds
--   p99_ms: 99th percentile, milliseconds
--   max_ms: slowest of n, milliseconds
--   mean_queued_ms: waited before the send, milliseconds
--   p50_ttft_ms: median time to the first token, milliseconds
--   p50_load: median load average over one minute while measured
--   max_load: highest load average over one minute
--   p50_cpu_wait: median share of time in which some process waited for a CPU, percent
--   max_cpu_wait: highest such share, percent
with measured as (
    select
        *,
        if(status <> 'error', latency_ms, null) as seen_ms,
        case status when 'ok' then latency_ms when 'timeout' then latency_ms + 'infinity'::double end as lasted_ms
    from stg_results
    where not is_pending and latency_ms is not null
),
per_model as (
    select
        run_id,
        task,
        model,
        count(seen_ms) as n,
        count(*) filter (where status = 'timeout') as timeouts,
        count(*) filter (where status = 'error') as errors,
        min(seen_ms) as min_ms,
        quantile_disc(lasted_ms, [0.5, 0.9, 0.95, 0.99]) as lasted,
        max(seen_ms) as max_ms,
        avg(queued_ms) as mean_queued_ms,
        quantile_disc(ttft_ms, 0.5) as p50_ttft_ms,
        quantile_cont(loadavg1, 0.5) as p50_load,
        max(loadavg1) as max_load,
        quantile_cont(cpu_some_avg10, 0.5) as p50_cpu_wait,
        max(cpu_some_avg10) as max_cpu_wait
    from measured
    group by run_id, task, model
),
final as (
    select
        run_id,
        task,
        model,
        n,
        timeouts,
        errors,
        min_ms,
        least(lasted[1], max_ms) as p50_ms,
        least(lasted[2], max_ms) as p90_ms,
        least(lasted[3], max_ms) as p95_ms,
        least(lasted[4], max_ms) as p99_ms,
        max_ms,
        mean_queued_ms,
        p50_ttft_ms,
        p50_load,
        max_load,
        p50_cpu_wait,
        max_cpu_wait
    from per_model
)
select * from final
