-- grain: one telemetry line: one call with all its attempts
-- key: call_id
-- reads: all_calls
-- The calls of callers alone: shadows of a rollout stand in stg_rollout_calls.
-- columns:
--   call_id: the call; one made up ('unnamed-…') where an older line names none
--   called_at: when it ended, UTC
--   status: success or fail
--   is_failure: true where no model answered
--   task: the caller's kind of work
--   tier: tier as routed, 'unknown' on older lines
--   channel: caller's channel
--   env: caller's environment
--   slot: model slot in force
--   model: model key that answered, null on failure
--   model_id: the provider's name of the model
--   model_version: version as resolved
--   provider: provider name
--   chain: every model tried, in order
--   hops: models tried before the last one
--   last_model: the model that answered, else the last one tried, else '(none)'
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
--   attempts: list of {model, error_kind, status_code, error, latency_ms, waited_ms, queued_ms, cost_usd}
--   adjustments: list of {param, action, from, to, rule}
--   routing_key: key of a traffic split
--   config_hash: configuration in force
--   prompt_sha256: hash of the prompt
--   run_id: the run, when the call belonged to one
--   cell: the run's cell
--   dropped_before: lines that the writer lost before this one
--   rollout: rollout that the call takes part in, null for none
--   rollout_mode: split or shadow
--   rollout_arm: control or challenger
--   media_kind: image or speech; null of a call for text, and of one that gave nothing
--   images: pictures that came
--   image_width_px: width of the first one, pixels
--   image_height_px: its height, pixels
--   audio_s: length of the audio, seconds
--   spoken_characters: length of the text that was spoken, characters
with final as (
    select
        call_id,
        called_at,
        status,
        status = 'fail' as is_failure,
        task,
        tier,
        channel,
        env,
        slot,
        model,
        model_id,
        model_version,
        provider,
        chain,
        hops,
        last_model,
        reason,
        latency_ms,
        ttft_ms,
        queued_ms,
        input_tokens,
        output_tokens,
        cached_tokens,
        reasoning_tokens,
        cost_usd,
        cost_source,
        wasted_ms,
        wasted_cost_usd,
        cpu_s,
        finish_reason,
        request_id,
        error,
        error_class,
        error_kind,
        status_code,
        attempts,
        adjustments,
        routing_key,
        config_hash,
        prompt_sha256,
        run_id,
        cell,
        dropped_before,
        rollout."name" as rollout,
        rollout."mode" as rollout_mode,
        rollout.arm as rollout_arm,
        case when media.modality in ('image', 'speech') then media.modality end as media_kind,
        media.images as images,
        media.width as image_width_px,
        media.height as image_height_px,
        case when isfinite(media.duration_s) and media.duration_s >= 0 then media.duration_s end as audio_s,
        media.characters as spoken_characters
    from all_calls
)
select * from final
