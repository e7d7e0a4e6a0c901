-- grain: one model on one task of one run
-- key: run_id, task, model
-- reads: stg_results
-- Percentiles are those of a decision: the smallest latency that so many of the calls do not exceed, where a
-- call that ran into its time limit counts as longer than all others. One that falls on it is a lower bound.
-- columns:
--   run_id: the run
--   task: the caller's kind of work
--   tier: tier of the task when measured
--   model: model key
--   model_version: version as resolved when measured
--   n: rows that count (pending ones excluded)
--   samples: distinct samples among them
--   clusters: distinct clusters among them
--   mean_score: repeats averaged within a sample first; failures count 0
--   failures: rows where the model failed
--   failure_rate: failures / n
--   pending: rows to be run again
--   throttled: rows that a rate limit held back, and that were answered or failed in the end
--   input_tokens: sum
--   output_tokens: sum
--   tokens_per_s: output tokens per second of call time, calls that answered
--   cost_usd: sum of known costs, US dollars
--   priced: rows whose cost is known
--   cost_per_1000_usd: US dollars per 1,000 calls, over rows whose cost is known
--   mean_cpu_s: CPU seconds per call
--   p50_ms: median latency of answered and timed-out calls, milliseconds
--   p95_ms: 95th percentile of it, milliseconds
--   p99_ms: 99th percentile of it, milliseconds
with counted as (
    select
        *,
        case status when 'ok' then latency_ms when 'timeout' then latency_ms + 'infinity'::double end as lasted_ms
    from stg_results
    where not is_pending
),
per_sample as (
    select run_id, task, model, sample_id, avg(score) as score
    from counted
    group by all
),
quality as (
    select run_id, task, model, count(*) as samples, avg(score) as mean_score
    from per_sample
    group by all
),
pending as (
    select run_id, task, model, count(*) filter (where is_pending) as pending
    from stg_results
    group by all
),
totals as (
    select
        run_id,
        task,
        model,
        any_value(tier) as tier,
        max(model_version) as model_version,
        count(*) as n,
        count(distinct cluster) as clusters,
        count(*) filter (where is_failure) as failures,
        count(*) filter (where is_throttled) as throttled,
        sum(input_tokens)::bigint as input_tokens,
        sum(output_tokens)::bigint as output_tokens,
        sum(output_tokens) filter (where status = 'ok' and latency_ms > 0)
            / nullif(sum(latency_ms) filter (where status = 'ok' and output_tokens is not null) / 1000, 0)
            as tokens_per_s,
        sum(cost_usd) as cost_usd,
        count(cost_usd) as priced,
        1000 * sum(cost_usd) / nullif(count(cost_usd), 0) as cost_per_1000_usd,
        avg(cpu_s) as mean_cpu_s,
        quantile_disc(lasted_ms, [0.5, 0.95, 0.99]) as lasted,
        max(latency_ms) filter (where status <> 'error') as max_ms
    from counted
    group by all
),
final as (
    select
        p.run_id,
        p.task,
        t.tier,
        p.model,
        t.model_version,
        coalesce(t.n, 0) as n,
        coalesce(q.samples, 0) as samples,
        coalesce(t.clusters, 0) as clusters,
        q.mean_score,
        coalesce(t.failures, 0) as failures,
        t.failures / nullif(t.n, 0) as failure_rate,
        p.pending,
        coalesce(t.throttled, 0) as throttled,
        t.input_tokens,
        t.output_tokens,
        t.tokens_per_s,
        t.cost_usd,
        coalesce(t.priced, 0) as priced,
        t.cost_per_1000_usd,
        t.mean_cpu_s,
        least(t.lasted[1], t.max_ms) as p50_ms,
        least(t.lasted[2], t.max_ms) as p95_ms,
        least(t.lasted[3], t.max_ms) as p99_ms
    from pending as p
    left join totals as t using (run_id, task, model)
    left join quality as q using (run_id, task, model)
)
select * from final
