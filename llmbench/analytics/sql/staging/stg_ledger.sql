-- grain: one ledger line: an intent to call, or how that call ended
-- key: file, line_no
-- reads: raw_ledger
-- columns:
--   file: the ledger file
--   line_no: 1-based line in that file
--   type: intent, result (paid for, never made again) or pending (to be made again)
--   intent_id: the send that the line is about; the fingerprint where unnamed
--   fingerprint: hash of what was sent
--   cell: task/sample/model/repeat
--   run_id: the run that wrote the line
--   status: ok, error, timeout or harness; null on an intent
--   error_kind: one word of the shared vocabulary
--   latency_ms: milliseconds
--   input_tokens: tokens sent
--   output_tokens: tokens received
--   cost_usd: US dollars
--   call_id: the call in the telemetry
--   written_at: UTC
with typed as (
    select
        file,
        line_no,
        type,
        coalesce(intent_id, fingerprint) as intent_id,
        fingerprint,
        cell,
        run_id,
        status,
        error_kind,
        try_cast(latency_ms as double) as latency_ms,
        try_cast(input_tokens as bigint) as input_tokens,
        try_cast(output_tokens as bigint) as output_tokens,
        try_cast(cost_usd as double) as cost_usd,
        call_id,
        try_cast(timestamp as timestamptz) at time zone 'UTC' as written_at
    from raw_ledger
),
final as (
    select * from typed
)
select * from final
