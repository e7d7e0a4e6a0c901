-- grain: one parameter not sent verbatim, of one result row or one call
-- key: source, file, line_no, position
-- reads: stg_results, stg_calls
-- columns:
--   source: 'result' (a run's row) or 'call' (a telemetry line)
--   file: the file it came from
--   line_no: 1-based line in that file
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
    select 'result' as source, file, line_no, run_id, task, model, adjustments from stg_results
    union all
    select 'call' as source, file, line_no, run_id, task, model, adjustments from stg_calls
),
listed as (
    select
        *,
        json_transform(adjustments, '[{
            "param": "VARCHAR", "action": "VARCHAR", "from": "JSON", "to": "JSON", "rule": "VARCHAR"}]')
            as changes
    from lines
),
unnested as (
    select
        source,
        file,
        line_no,
        run_id,
        task,
        model,
        unnest(range(1, len(changes) + 1)) as position,
        unnest(changes) as change
    from listed
    where len(changes) > 0
),
final as (
    select
        source,
        file,
        line_no,
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
