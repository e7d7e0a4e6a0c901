-- grain: one row a line of `incoming`; reason is null where the line is a sound telemetry line
-- key: n
-- reads: incoming, raw_telemetry
with judged as (
    select
        i.rowid as n,
        coalesce(i.timestamp, i.ts) as stamp,
        case
            when coalesce(i.status, i.task, i.model, i.selected_model, i.timestamp, i.call_id) is null
                then 'not_a_row'
            when i.schema is not null and i.schema <> '1' then 'unknown_schema'
            when i.task is null or stamp is null then 'missing_required'
            when try_cast(stamp as timestamptz) is null
                and not coalesce(isfinite(try_cast(stamp as double)), false) then 'type_mismatch'
            when len(list_filter(
                [i.latency_ms, i.ttft_ms, i.queued_ms, i.cost_usd, i.wasted_ms, i.wasted_cost_usd, i.cpu_s],
                lambda v: v is not null and try_cast(v as double) is null)) > 0 then 'type_mismatch'
            when len(list_filter(
                [i.latency_ms, i.ttft_ms, i.queued_ms, i.cost_usd, i.wasted_ms, i.wasted_cost_usd, i.cpu_s],
                lambda v: not isfinite(try_cast(v as double)) or try_cast(v as double) < 0)) > 0
                then 'non_finite_or_negative'
            when i.call_id is not null and lead(1) over (
                partition by i.call_id order by i.rowid) = 1 then 'duplicate_of_later_line'
            when r.call_id is not null then 'duplicate_of_other_file'
        end as reason
    from incoming as i
    left join raw_telemetry as r on r.call_id = i.call_id
),
final as (
    select n, reason from judged
)
select * from final
