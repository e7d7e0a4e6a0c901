-- grain: one attempt of one call
-- key: file, line_no, attempt
-- reads: stg_calls
-- columns:
--   file: the telemetry file
--   line_no: 1-based line in that file
--   call_id: the call
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
with listed as (
    select
        file,
        line_no,
        call_id,
        run_id,
        task,
        tier,
        json_transform(attempts, '[{
            "model": "VARCHAR", "error_kind": "VARCHAR", "status_code": "INTEGER",
            "latency_ms": "DOUBLE", "waited_ms": "DOUBLE",
            "queued_ms": "DOUBLE"}]') as tries
    from stg_calls
),
unnested as (
    select
        file,
        line_no,
        call_id,
        run_id,
        task,
        tier,
        unnest(range(1, len(tries) + 1)) as attempt,
        unnest(tries) as try
    from listed
    where len(tries) > 0
),
final as (
    select
        file,
        line_no,
        call_id,
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
        try.queued_ms as queued_ms
    from unnested
)
select * from final
