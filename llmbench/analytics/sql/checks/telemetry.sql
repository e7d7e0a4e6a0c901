-- grain: one row a line of `incoming`; reason is null where the line is a sound telemetry line
-- key: n
-- reads: incoming, loaded_calls, sound_calls
-- Of lines with one call_id the first that was loaded counts. Both have the same time, so only calls of the
-- block's time are compared.
with typed as (
    select
        rowid as n,
        *,
        coalesce(timestamp, ts) as stamp,
        time_of(coalesce(timestamp, ts)) as called_at,
        try_cast(latency_ms as double) as latency,
        try_cast(ttft_ms as double) as ttft,
        try_cast(queued_ms as double) as queued,
        try_cast(cost_usd as double) as cost,
        try_cast(wasted_ms as double) as wasted,
        try_cast(wasted_cost_usd as double) as wasted_cost,
        try_cast(cpu_s as double) as cpu
    from incoming
),
judged as (
    select
        n,
        call_id,
        called_at,
        case
            when coalesce(status, task, model, selected_model, timestamp, call_id) is null then 'not_a_row'
            when schema is not null and schema <> '1' then 'unknown_schema'
            when task is null or stamp is null then 'missing_required'
            when called_at is null then 'type_mismatch'
            when (latency_ms is not null and latency is null)
                or (ttft_ms is not null and ttft is null)
                or (queued_ms is not null and queued is null)
                or (cost_usd is not null and cost is null)
                or (wasted_ms is not null and wasted is null)
                or (wasted_cost_usd is not null and wasted_cost is null)
                or (cpu_s is not null and cpu is null)
                or (status_code is not null and try_cast(status_code as integer) is null)
                or (dropped_before is not null and try_cast(dropped_before as bigint) is null)
                then 'type_mismatch'
            when coalesce(json_type(attempts), 'NULL') not in ('ARRAY', 'NULL')
                or coalesce(json_type(adjustments), 'NULL') not in ('ARRAY', 'NULL')
                or coalesce(json_type(fallback_chain), 'NULL') not in ('ARRAY', 'NULL')
                or coalesce(json_type(chain), 'NULL') not in ('ARRAY', 'NULL')
                or coalesce(json_type(usage), 'NULL') not in ('OBJECT', 'NULL')
                or coalesce(json_type(rollout), 'NULL') not in ('OBJECT', 'NULL')
                then 'type_mismatch'
            when len(list_filter(
                json_extract_string(usage, [
                    '$.input_tokens', '$.output_tokens', '$.cached_tokens', '$.reasoning_tokens',
                    '$.prompt_tokens', '$.completion_tokens']),
                lambda v: v is not null and try_cast(v as bigint) is null)) > 0 then 'type_mismatch'
            when len(list_filter(
                json_extract_string(usage, [
                    '$.input_tokens', '$.output_tokens', '$.cached_tokens', '$.reasoning_tokens',
                    '$.prompt_tokens', '$.completion_tokens']),
                lambda v: try_cast(v as bigint) < 0)) > 0
                or try_cast(dropped_before as bigint) < 0 then 'non_finite_or_negative'
            when not coalesce(isfinite(latency) and latency >= 0, true)
                or not coalesce(isfinite(ttft) and ttft >= 0, true)
                or not coalesce(isfinite(queued) and queued >= 0, true)
                or not coalesce(isfinite(cost) and cost >= 0, true)
                or not coalesce(isfinite(wasted) and wasted >= 0, true)
                or not coalesce(isfinite(wasted_cost) and wasted_cost >= 0, true)
                or not coalesce(isfinite(cpu) and cpu >= 0, true)
                then 'non_finite_or_negative'
        end as reason
    from typed
),
known as (
    select call_id
    from loaded_calls
    where called_at >= (select min(called_at) from judged)
        and called_at <= (select max(called_at) from judged)
    union all
    select call_id from sound_calls
),
final as (
    select
        n,
        case
            when reason is not null then reason
            when call_id is null then null
            when row_number() over (partition by call_id, reason is null order by n) > 1 then 'duplicate'
            when call_id in (select known.call_id from known) then 'duplicate'
        end as reason
    from judged
)
select * from final
