-- grain: one way from model to model, with its reasons, on one task of one tier, over all telemetry
-- key: task, tier, chain, why
-- reads: stg_calls
-- Calls that tried more than one model.
-- columns:
--   task: the caller's kind of work
--   tier: tier as routed
--   chain: the models in the order they were tried, joined by ' > '
--   why: kinds of the failed attempts in their order, joined by ' > '; repeats of one model's kind one after the other
--     stand once; 'unknown' where no failed attempt is recorded
--   calls: calls that went this way
--   failures: those of them that nobody answered
--   mean_wasted_ms: time spent on attempts that failed, mean of the calls where it is known, milliseconds
--   wasted_ms: sum of it, milliseconds
--   wasted_cost_usd: sum of known costs of failed attempts, US dollars; null where none is known
--   wasted_known: calls whose wasted cost is known
--   mean_latency_ms: whole call, mean, milliseconds
--   extra_hops: sum of the models tried before the last one
with fallen as (
    select
        task,
        tier,
        array_to_string(chain, ' > ') as way,
        list_filter(attempts, lambda try: try.error_kind is not null) as failed,
        is_failure,
        wasted_ms,
        wasted_cost_usd,
        latency_ms,
        hops
    from stg_calls
    where hops > 0
),
reasoned as (
    select
        *,
        array_to_string(
            list_transform(
                list_filter(failed, lambda try, place: place = 1
                    or coalesce(failed[place - 1].model, '') <> coalesce(try.model, '')
                    or failed[place - 1].error_kind <> try.error_kind),
                lambda try: try.error_kind),
            ' > ') as kinds
    from fallen
),
final as (
    select
        task,
        tier,
        way as chain,
        coalesce(nullif(kinds, ''), 'unknown') as why,
        count(*) as calls,
        count(*) filter (where is_failure) as failures,
        avg(wasted_ms) as mean_wasted_ms,
        sum(wasted_ms) as wasted_ms,
        sum(wasted_cost_usd) as wasted_cost_usd,
        count(wasted_cost_usd) as wasted_known,
        avg(latency_ms) as mean_latency_ms,
        sum(hops)::bigint as extra_hops
    from reasoned
    group by all
)
select * from final
