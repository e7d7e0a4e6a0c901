-- grain: one model behind one provider on one task of one tier, over all telemetry
-- key: tier, task, model, provider
-- reads: stg_calls
-- Latency is what the caller waited: failed attempts, waits and queues included. mart_attempts has the requests
-- alone, and whose the failures were.
-- columns:
--   tier: tier as routed
--   task: the caller's kind of work
--   model: model key; '(none)' where no model answered
--   provider: provider name; '(unknown)' where unnamed
--   calls: telemetry lines
--   failures: calls without an answer
--   failure_rate: failures / calls
--   fell_back: calls that needed more than one model
--   input_tokens: sum
--   output_tokens: sum
--   cost_usd: sum of known costs, US dollars
--   priced: calls whose cost is known
--   cost_per_1000_usd: US dollars per 1,000 calls, over calls whose cost is known
--   wasted_cost_usd: US dollars of attempts that failed
--   p50_ms: exact median latency, milliseconds
--   p95_ms: exact 95th percentile latency, milliseconds
--   p99_ms: exact 99th percentile latency, milliseconds
--   first_at: first call, UTC
--   last_at: last call, UTC
with named as (
    select
        *,
        coalesce(model, '(none)') as model_name,
        coalesce(provider, '(unknown)') as provider_name
    from stg_calls
),
final as (
    select
        tier,
        task,
        model_name as model,
        provider_name as provider,
        count(*) as calls,
        count(*) filter (where is_failure) as failures,
        count(*) filter (where is_failure) / nullif(count(*), 0) as failure_rate,
        count(*) filter (where hops > 0) as fell_back,
        sum(input_tokens)::bigint as input_tokens,
        sum(output_tokens)::bigint as output_tokens,
        sum(cost_usd) as cost_usd,
        count(cost_usd) as priced,
        1000 * sum(cost_usd) / nullif(count(cost_usd), 0) as cost_per_1000_usd,
        sum(wasted_cost_usd) as wasted_cost_usd,
        quantile_cont(latency_ms, 0.5) as p50_ms,
        quantile_cont(latency_ms, 0.95) as p95_ms,
        quantile_cont(latency_ms, 0.99) as p99_ms,
        min(called_at) as first_at,
        max(called_at) as last_at
    from named
    group by tier, task, model_name, provider_name
)
select * from final
