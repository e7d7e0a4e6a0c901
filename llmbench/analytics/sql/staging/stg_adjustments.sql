-- grain: one parameter not sent verbatim, of one result row or one call
-- key: source, origin, position
-- reads: stg_results, stg_calls
-- columns:
--   source: 'result' (a run's row) or 'call' (a telemetry line)
--   origin: 'file:line' of the row, or the call's id
--   position: 1-based place in the line's list
--   run_id: the run, null outside one
--   task: the caller's kind of work
--   model: model key
--   param: canonical parameter
--   action: renamed, clamped, dropped, rejected or moved
--   from_value: as asked for, JSON text
--   to_value: as sent, JSON text
--   rule: why
with lines as (
    select
        'result' as source,
        file || ':' || line_no as origin,
        run_id,
        task,
        model,
        json_transform(adjustments, '[{
            "param": "VARCHAR", "action": "VARCHAR", "from": "JSON", "to": "JSON", "rule": "VARCHAR"}]')
            as changes
    from stg_results
    union all
    select 'call' as source, call_id as origin, run_id, task, model, adjustments as changes from stg_calls
),
unnested as (
    select
        source,
        origin,
        run_id,
        task,
        model,
        unnest(range(1, len(changes) + 1)) as position,
        unnest(changes) as change
    from lines
    where len(changes) > 0
),
final as (
    select
        source,
        origin,
        position,
        run_id,
        task,
        model,
        change.param as param,
        change.action as action,
        change."from"::varchar as from_value,
        change."to"::varchar as to_value,
        change.rule as rule
    from unnested
)
select * from final
