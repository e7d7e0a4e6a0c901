-- grain: one line, as a call; older spellings become today's names
-- key: n
-- reads: typed_lines
-- What a line means is said here alone. The lines are those of a block that is read whole, or of one that is read line
-- by line: who runs this says which `typed_lines` are. What no call can be is told from its row, by others.
-- A time of today's form is told by its shape and cast at once; the others cost a cast more.
with lines as (
    select
        *,
        coalesce(timestamp, ts) as stamp,
        lower(coalesce(status, if(error is null, 'success', 'fail'))) in ('success', 'ok') as is_success,
        list_filter(
            coalesce(fallback_chain, chain, [coalesce(model, selected_model)]),
            lambda each: each is not null) as models_tried
    from typed_lines
),
final as (
    select
        n,
        fault,
        coalesce(call_id, 'unnamed-' || uuid()) as call_id,
        case
            when timestamp like '____-__-__T%' then make_timestamp(epoch_us(try_cast(timestamp as timestamptz)))
            else time_of(stamp)
        end as called_at,
        if(is_success, 'success', 'fail') as status,
        task,
        coalesce(tier, 'unknown') as tier,
        channel,
        env,
        slot,
        if(is_success, coalesce(model, selected_model, models_tried[-1]), null) as model,
        model_id,
        model_version,
        provider,
        models_tried as chain,
        greatest(len(models_tried) - 1, 0) as hops,
        coalesce(if(is_success, coalesce(model, selected_model), null), models_tried[-1], '(none)') as last_model,
        reason,
        latency_ms,
        ttft_ms,
        queued_ms,
        coalesce(usage.input_tokens, usage.prompt_tokens) as input_tokens,
        coalesce(usage.output_tokens, usage.completion_tokens) as output_tokens,
        usage.cached_tokens as cached_tokens,
        usage.reasoning_tokens as reasoning_tokens,
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
        $file_no::integer as file_no,
        $block_no::integer as block_no,
        rollout,
        media
    from lines
)
select * from final
