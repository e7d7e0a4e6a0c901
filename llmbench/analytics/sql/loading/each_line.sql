-- grain: one sound line of a block that was read line by line; older spellings become today's names
-- key: call_id
-- reads: incoming, verdicts
with sound as (
    select i.*
    from incoming as i
    join verdicts as v on v.n = i.rowid
    where v.reason is null
),
spelled as (
    select
        *,
        coalesce(timestamp, ts) as stamp,
        list_filter(
            coalesce(
                json_transform(coalesce(fallback_chain, chain), '["VARCHAR"]'),
                [coalesce(model, selected_model)]),
            lambda each: each is not null) as models_tried,
        lower(coalesce(status, if(error is null, 'success', 'fail'))) in ('success', 'ok') as is_success
    from sound
),
final as (
    select
        coalesce(call_id, 'unnamed-' || uuid()) as call_id,
        time_of(stamp) as called_at,
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
        json_transform(attempts, '[{
            "model": "VARCHAR", "error_kind": "VARCHAR", "status_code": "INTEGER", "error": "VARCHAR",
            "latency_ms": "DOUBLE", "waited_ms": "DOUBLE", "queued_ms": "DOUBLE", "cost_usd": "DOUBLE"}]')
            as attempts,
        json_transform(adjustments, '[{
            "param": "VARCHAR", "action": "VARCHAR", "from": "JSON", "to": "JSON", "rule": "VARCHAR"}]')
            as adjustments,
        routing_key,
        config_hash,
        prompt_sha256,
        run_id,
        cell,
        try_cast(dropped_before as bigint) as dropped_before,
        $file_no::integer as file_no,
        $block_no::integer as block_no,
        json_transform(rollout, '{
            "name": "VARCHAR", "mode": "VARCHAR", "arm": "VARCHAR", "of": "VARCHAR", "models": ["VARCHAR"],
            "dropped_before": "BIGINT"}') as rollout,
        json_transform(media, '{
            "modality": "VARCHAR", "images": "UINTEGER", "width": "UINTEGER", "height": "UINTEGER",
            "duration_s": "DOUBLE", "characters": "UINTEGER"}') as media
    from spelled
)
select * from final
