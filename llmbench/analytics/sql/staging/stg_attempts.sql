-- grain: one attempt of one call
-- key: call_id, attempt
-- reads: stg_calls
-- columns:
--   call_id: the call
--   called_at: when the call ended, UTC
--   run_id: the run, when the call belonged to one
--   task: the caller's kind of work
--   tier: tier as routed
--   attempt: 1-based number in the call
--   model: model key that was tried
--   is_failure: true where this attempt failed
--   error_kind: one word of the shared vocabulary, null when it answered
--   status_code: HTTP status of the failure
--   latency_ms: of this attempt, milliseconds
--   waited_ms: waited before it, milliseconds
--   queued_ms: waited for a place after that, milliseconds
--   cost_usd: US dollars of an attempt that failed, where known
with unnested as (
    select
        call_id,
        called_at,
        run_id,
        task,
        tier,
        unnest(range(1, len(attempts) + 1)) as attempt,
        unnest(attempts) as try
    from stg_calls
    where len(attempts) > 0
),
final as (
    select
        call_id,
        called_at,
        run_id,
        task,
        tier,
        attempt,
        try.model as model,
        try.error_kind is not null as is_failure,
        try.error_kind as error_kind,
        try.status_code as status_code,
        try.latency_ms as latency_ms,
        try.waited_ms as waited_ms,
        try.queued_ms as queued_ms,
        try.cost_usd as cost_usd
    from unnested
)
select * from final
