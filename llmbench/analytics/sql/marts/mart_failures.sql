-- grain: one status and error kind of one model on one task of one run, 'ok' left out
-- key: run_id, task, model, status, error_kind
-- reads: stg_results
-- columns:
--   run_id: the run
--   task: the caller's kind of work
--   model: model key
--   status: error, timeout or harness
--   error_kind: one word of the shared vocabulary, 'unknown' when unnamed
--   n: rows
--   share: of all rows of this model on this task
--   example: one error text
with labelled as (
    select
        run_id,
        task,
        model,
        status,
        coalesce(error_kind, 'unknown') as error_kind,
        error,
        count(*) over (partition by run_id, task, model) as total
    from stg_results
),
final as (
    select
        run_id,
        task,
        model,
        status,
        error_kind,
        count(*) as n,
        count(*) / nullif(any_value(total), 0) as share,
        min(error) as example
    from labelled
    where status <> 'ok'
    group by run_id, task, model, status, error_kind
)
select * from final
