-- grain: one day of one model behind one provider on one task of one tier, for one channel
-- key: day, task, tier, model, provider, channel
-- reads: stg_calls
-- Sums alone, so that they can be summed up further; a rate or a mean is a quotient of sums. The latency is what
-- the caller waited: failed attempts, waits and queues included. mart_call_latency has quantiles, mart_attempts
-- the requests alone.
-- columns:
--   day: date of the call, UTC
--   task: the caller's kind of work
--   tier: tier as routed
--   model: the model that answered, else the last one tried, else '(none)'
--   provider: provider name; where the line names none, as a failed call's does, the one that its model has elsewhere,
--     else '(unknown)'
--   channel: caller's channel; '(none)' where unnamed
--   calls: telemetry lines
--   failures: calls without an answer
--   failure_rate: failures / calls
--   fell_back: calls that needed more than one model
--   input_tokens: sum; null where no call's are known
--   output_tokens: sum
--   cached_tokens: sum of input tokens served from a cache
--   reasoning_tokens: sum of output tokens spent thinking
--   cost_usd: sum of known costs, US dollars; null where none is known
--   priced: calls whose cost is known
--   wasted_cost_usd: sum of known costs of attempts that failed, US dollars
--   wasted_ms: sum of the time spent on attempts that failed, milliseconds
--   latency_ms: sum over the calls, milliseconds
--   first_at: first call, UTC
--   last_at: last call, UTC
--   timed: calls whose latency is known
with served as (
    select last_model, max(provider) as provider
    from stg_calls
    where provider is not null
    group by all
),
places as (
    select map_from_entries(list({'model': last_model, 'provider': provider})) as by_model from served
),
final as (
    select
        called_at::date as day,
        task,
        tier,
        last_model as model,
        coalesce(provider, (select by_model from places)[last_model], '(unknown)') as provider,
        coalesce(channel, '(none)') as channel,
        count(*) as calls,
        count(*) filter (where is_failure) as failures,
        count(*) filter (where is_failure) / nullif(count(*), 0) as failure_rate,
        count(*) filter (where hops > 0) as fell_back,
        sum(input_tokens)::bigint as input_tokens,
        sum(output_tokens)::bigint as output_tokens,
        sum(cached_tokens)::bigint as cached_tokens,
        sum(reasoning_tokens)::bigint as reasoning_tokens,
        sum(cost_usd) as cost_usd,
        count(cost_usd) as priced,
        sum(wasted_cost_usd) as wasted_cost_usd,
        sum(wasted_ms) as wasted_ms,
        sum(latency_ms) as latency_ms,
        min(called_at) as first_at,
        max(called_at) as last_at,
        count(latency_ms) as timed
    from stg_calls
    group by all
)
select * from final
