-- grain: one day of one model on one task of one tier, by where its costs come from
-- key: day, task, tier, model, cost_source
-- reads: stg_calls
-- The cost of a call is that of the attempt that answered; what failed attempts cost is wasted and stands apart.
-- The attempts are those that the line records; circuit_open is none, since nothing is sent. An attempt may have been
-- charged where the host may have worked for it: timeout, cancelled, malformed, truncated, empty, invalid_output,
-- refusal.
-- columns:
--   day: date of the call, UTC
--   task: the caller's kind of work
--   tier: tier as routed
--   model: the model that answered, else the last one tried, else '(none)'
--   cost_source: where the price came from, or why there is none; null where the line does not say
--   calls: telemetry lines
--   priced: calls whose cost is known
--   unpriced: answered calls whose cost is not known
--   cost_usd: sum of known costs, US dollars; null where none is known
--   wasted_calls: calls with a failed attempt
--   wasted_cost_usd: sum of known costs of failed attempts, US dollars; null where none is known
--   wasted_unknown: failed attempts that may have been charged and whose cost is not known
--   cost_per_1000_usd: US dollars per 1,000 calls, over calls whose cost is known
with tried as (
    select
        *,
        case when len(attempts) > 1 or attempts[1].error_kind is not null then
            list_filter(attempts, lambda try: try.error_kind is not null and try.error_kind <> 'circuit_open')
        end as failed
    from stg_calls
),
final as (
    select
        called_at::date as day,
        task,
        tier,
        last_model as model,
        cost_source,
        count(*) as calls,
        count(cost_usd) as priced,
        count(*) filter (where cost_usd is null and not is_failure) as unpriced,
        sum(cost_usd) as cost_usd,
        count(*) filter (where len(failed) > 0) as wasted_calls,
        sum(wasted_cost_usd) as wasted_cost_usd,
        coalesce(sum(len(list_filter(failed, lambda try: try.cost_usd is null and try.error_kind in (
            'timeout', 'cancelled', 'malformed', 'truncated', 'empty', 'invalid_output', 'refusal')))), 0)::bigint
            as wasted_unknown,
        1000 * sum(cost_usd) / nullif(count(cost_usd), 0) as cost_per_1000_usd
    from tried
    group by all
)
select * from final
