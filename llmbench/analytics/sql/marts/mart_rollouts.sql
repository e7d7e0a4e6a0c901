-- grain: one arm of one rollout
-- key: rollout, mode, arm
-- reads: stg_rollout_calls
-- Shadows are no callers' calls: their cost stands here and in no other mart.
-- columns:
--   rollout: name of the rollout
--   mode: split or shadow
--   arm: control or challenger
--   calls: lines of the arm
--   counted: of these, calls that say something of the arm
--   failures: counted calls without an answer of the arm
--   failure_rate: failures / counted
--   p95_ms: latency of 95 % of the counted calls, milliseconds
--   shadows: lines that are shadows
--   cost_usd: sum of known costs, failed attempts included, US dollars; null where none is known
--   dropped: shadows that were not sent, as far as lines tell it; the lines of the control arm do
--   first_at: first call, UTC
--   last_at: last call, UTC
with final as (
    select
        rollout,
        mode,
        arm,
        count(*) as calls,
        count(*) filter (where is_counted) as counted,
        count(*) filter (where is_counted and is_failure) as failures,
        count(*) filter (where is_counted and is_failure) / nullif(count(*) filter (where is_counted), 0)
            as failure_rate,
        quantile_cont(latency_ms, 0.95) filter (where is_counted) as p95_ms,
        count(shadow_of) as shadows,
        case
            when count(cost_usd) + count(wasted_cost_usd) > 0
                then coalesce(sum(cost_usd), 0) + coalesce(sum(wasted_cost_usd), 0)
        end as cost_usd,
        coalesce(sum(dropped_before), 0)::bigint as dropped,
        min(called_at) as first_at,
        max(called_at) as last_at
    from stg_rollout_calls
    group by all
)
select * from final
