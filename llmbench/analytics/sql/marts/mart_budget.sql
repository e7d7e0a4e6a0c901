-- grain: one thing that money is spent on: a run, a key of a traffic split, a calendar month
-- key: scope, name
-- reads: every_call, budget_limits
-- What is known to be spent, of answers and of failed attempts. A call counts for its run, for its key and for its
-- month, so scopes must not be added up. All calls count, also those before the days that are looked at.
-- columns:
--   scope: 'run', 'routing_key' or 'month'
--   name: the run, the key, or the month as '2026-11', UTC
--   calls: telemetry lines
--   spent_usd: known costs and known wasted costs, US dollars; 0 where none is known
--   unpriced: answered calls whose cost is not known
--   limit_usd: US dollars that may be spent on each of this scope; null where there is no limit
--   used_share: spent_usd / limit_usd
--   first_at: first call, UTC
--   last_at: last call, UTC
--   usd_per_day: spent_usd over the days from the first call to the last, at least one
--   left_usd: limit_usd - spent_usd; below 0 where more was spent
--   days_left: left_usd / usd_per_day, 0 where nothing is left; null for other scopes than a month
with by_name as (
    select
        'run' as scope,
        run_id as name,
        count(*) as calls,
        coalesce(sum(cost_usd), 0) + coalesce(sum(wasted_cost_usd), 0) as spent_usd,
        count(*) filter (where cost_usd is null and status = 'success') as unpriced,
        min(called_at) as first_at,
        max(called_at) as last_at
    from every_call
    where run_id is not null
    group by all
    union all
    select
        'routing_key' as scope,
        routing_key as name,
        count(*) as calls,
        coalesce(sum(cost_usd), 0) + coalesce(sum(wasted_cost_usd), 0) as spent_usd,
        count(*) filter (where cost_usd is null and status = 'success') as unpriced,
        min(called_at) as first_at,
        max(called_at) as last_at
    from every_call
    where routing_key is not null
    group by all
),
by_month as (
    select
        date_trunc('month', called_at) as month,
        count(*) as calls,
        coalesce(sum(cost_usd), 0) + coalesce(sum(wasted_cost_usd), 0) as spent_usd,
        count(*) filter (where cost_usd is null and status = 'success') as unpriced,
        min(called_at) as first_at,
        max(called_at) as last_at
    from every_call
    group by all
),
spent as (
    select * from by_name
    union all
    select 'month' as scope, strftime(month, '%Y-%m') as name, * exclude (month) from by_month
),
paced as (
    select *, spent_usd / nullif(greatest(epoch(last_at - first_at) / 86400, 1), 0) as usd_per_day
    from spent
),
final as (
    select
        p.scope,
        p.name,
        p.calls,
        p.spent_usd,
        p.unpriced,
        l.limit_usd,
        p.spent_usd / nullif(l.limit_usd, 0) as used_share,
        p.first_at,
        p.last_at,
        p.usd_per_day,
        l.limit_usd - p.spent_usd as left_usd,
        case
            when p.scope = 'month' and l.limit_usd is not null
                then greatest(l.limit_usd - p.spent_usd, 0) / nullif(p.usd_per_day, 0)
        end as days_left
    from paced as p
    left join budget_limits as l on l.scope = p.scope
)
select * from final
