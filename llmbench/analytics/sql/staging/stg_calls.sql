-- grain: one telemetry line: one call with all its attempts; older spellings are read as today's names
-- key: file, line_no
-- reads: raw_telemetry
-- columns:
--   file: the telemetry file
--   line_no: 1-based line in that file
--   call_id: the call, 'file:line' where an older line names none
--   called_at: UTC
--   status: success or fail
--   is_failure: true where no model answered
--   task: the caller's kind of work
--   tier: tier as routed, 'unknown' on older lines
--   channel: caller's channel
--   env: caller's environment
--   slot: model slot in force
--   model: model key that answered, null on failure
--   model_id: the provider's name of the model
--   provider: provider name
--   chain: every model tried, in order
--   hops: models tried before the last one
--   reason: why this route
--   latency_ms: whole call, milliseconds
--   ttft_ms: to the first token, milliseconds
--   queued_ms: waited before the send, milliseconds
--   input_tokens: tokens sent
--   output_tokens: tokens received
--   cached_tokens: input tokens served from a cache
--   reasoning_tokens: tokens spent thinking
--   cost_usd: US dollars of the answering attempt
--   cost_source: where the price came from
--   wasted_ms: spent on attempts that failed, milliseconds
--   wasted_cost_usd: US dollars of attempts that failed
--   cpu_s: CPU seconds of a local model's process
--   finish_reason: why the model stopped
--   request_id: the provider's id
--   error: error text
--   error_class: exception class
--   error_kind: one word of the shared vocabulary
--   status_code: HTTP status of the failure
--   attempts: JSON list
--   adjustments: JSON list
--   routing_key: key of a traffic split
--   config_hash: configuration in force
--   prompt_sha256: hash of the prompt
--   run_id: the run, when the call belonged to one
--   cell: the run's cell
with spelled as (
    select
        *,
        coalesce(timestamp, ts) as stamp,
        json_transform(coalesce(fallback_chain, chain), '["VARCHAR"]') as models_tried,
        lower(coalesce(status, if(error is null, 'success', 'fail'))) as outcome
    from raw_telemetry
),
typed as (
    select
        file,
        line_no,
        coalesce(call_id, file || ':' || line_no) as call_id,
        coalesce(
            try_cast(stamp as timestamptz) at time zone 'UTC',
            make_timestamp(try_cast(
                try_cast(stamp as double) * if(try_cast(stamp as double) > 1e11, 1e3, 1e6) as bigint))
        ) as called_at,
        if(outcome in ('success', 'ok'), 'success', 'fail') as status,
        outcome not in ('success', 'ok') as is_failure,
        task,
        coalesce(tier, 'unknown') as tier,
        channel,
        env,
        slot,
        case
            when outcome in ('success', 'ok') then coalesce(model, selected_model, models_tried[-1])
        end as model,
        model_id,
        provider,
        models_tried as chain,
        greatest(coalesce(len(models_tried), 1) - 1, 0) as hops,
        reason,
        try_cast(latency_ms as double) as latency_ms,
        try_cast(ttft_ms as double) as ttft_ms,
        try_cast(queued_ms as double) as queued_ms,
        try_cast(coalesce(usage ->> 'input_tokens', usage ->> 'prompt_tokens') as bigint) as input_tokens,
        try_cast(coalesce(usage ->> 'output_tokens', usage ->> 'completion_tokens') as bigint)
            as output_tokens,
        try_cast(usage ->> 'cached_tokens' as bigint) as cached_tokens,
        try_cast(usage ->> 'reasoning_tokens' as bigint) as reasoning_tokens,
        try_cast(cost_usd as double) as cost_usd,
        cost_source,
        try_cast(wasted_ms as double) as wasted_ms,
        try_cast(wasted_cost_usd as double) as wasted_cost_usd,
        try_cast(cpu_s as double) as cpu_s,
        finish_reason,
        request_id,
        error,
        error_class,
        error_kind,
        try_cast(status_code as integer) as status_code,
        attempts,
        adjustments,
        routing_key,
        config_hash,
        prompt_sha256,
        run_id,
        cell
    from spelled
),
final as (
    select * from typed
)
select * from final
