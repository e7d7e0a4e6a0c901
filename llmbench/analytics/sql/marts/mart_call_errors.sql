-- grain: one kind of failure with one HTTP status, of one model on one task of one tier, over all telemetry
-- key: task, tier, model, error_kind, status_code
-- reads: stg_calls
-- Calls that nobody answered. What other models made good is in mart_attempts and mart_fallbacks.
-- columns:
--   task: the caller's kind of work
--   tier: tier as routed
--   model: the last model tried; '(none)' where none was
--   error_kind: one word of the shared vocabulary; 'unknown' where unnamed
--   status_code: HTTP status of the failure; null where there was none
--   calls: calls that failed so
--   share: of all calls of that task, tier and model
--   first_at: first of them, UTC
--   last_at: last of them, UTC
--   example: one error text, the shortest; the first in order of those
with counted as (
    select
        task,
        tier,
        last_model as model,
        is_failure,
        if(is_failure, coalesce(error_kind, 'unknown'), null) as error_kind,
        if(is_failure, status_code, null) as status_code,
        count(*) as calls,
        min(called_at) as first_at,
        max(called_at) as last_at,
        min({'size': length(error), 'text': error}) filter (where is_failure and error is not null) as shortest
    from stg_calls
    group by all
),
shared as (
    select *, calls / nullif(sum(calls) over (partition by task, tier, model), 0) as share
    from counted
),
final as (
    select
        task,
        tier,
        model,
        error_kind,
        status_code,
        calls,
        share,
        first_at,
        last_at,
        shortest.text as example
    from shared
    where is_failure
)
select * from final
