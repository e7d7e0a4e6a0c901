-- grain: one way in which attempts at one model ended, on one task of one tier, in one run or outside of any
-- key: run_id, tier, task, model, ended
-- reads: stg_attempts
-- What a model and its provider did, whatever became of the call: refusals that a retry or another model made
-- good are here too.
-- columns:
--   run_id: the run; null for calls outside of any
--   tier: tier as routed
--   task: the caller's kind of work
--   model: model key that was tried
--   ended: answered, or one word of the shared vocabulary of errors
--   is_failure: true where these attempts failed
--   n: attempts
--   share: of the requests sent to this model; null for circuit_open, which sends none
--   p50_ms: exact median latency of these attempts, milliseconds
--   p95_ms: exact 95th percentile, milliseconds
--   p99_ms: exact 99th percentile, milliseconds
with ended as (
    select
        run_id,
        tier,
        task,
        model,
        coalesce(error_kind, 'answered') as ended,
        is_failure,
        count(*) as n,
        quantile_cont(latency_ms, [0.5, 0.95, 0.99]) as latencies
    from stg_attempts
    group by all
),
totals as (
    select *, sum(n) filter (where ended <> 'circuit_open') over (partition by run_id, tier, task, model) as sent
    from ended
),
final as (
    select
        run_id,
        tier,
        task,
        model,
        ended,
        is_failure,
        n,
        case when ended <> 'circuit_open' then n / nullif(sent, 0) end as share,
        latencies[1] as p50_ms,
        latencies[2] as p95_ms,
        latencies[3] as p99_ms
    from totals
)
select * from final
