-- grain: one rule applied to one parameter for one model on one task, in a run or in telemetry
-- key: source, run_id, task, model, param, action, rule
-- reads: stg_adjustments
-- columns:
--   source: 'result' (a run's rows) or 'call' (telemetry lines)
--   run_id: the run, null outside one
--   task: the caller's kind of work
--   model: model key
--   param: canonical parameter
--   action: renamed, clamped, dropped, rejected or moved
--   rule: why
--   n: times applied
--   from_example: smallest value asked for, JSON text
--   to_example: smallest value sent, JSON text
with final as (
    select
        source,
        run_id,
        task,
        model,
        param,
        action,
        rule,
        count(*) as n,
        min(from_value) as from_example,
        min(to_value) as to_example
    from stg_adjustments
    group by source, run_id, task, model, param, action, rule
)
select * from final
