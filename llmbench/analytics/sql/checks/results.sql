-- grain: one row a line of `incoming`; reason is null where the line is a sound result row
-- key: n
-- reads: incoming, raw_results
with judged as (
    select
        i.rowid as n,
        case
            when coalesce(i.run_id, i.task, i.sample_id, i.model, i.status) is null then 'not_a_row'
            when i.schema is not null and i.schema <> '1' then 'unknown_schema'
            when i.run_id is null or i.task is null or i.sample_id is null
                or i.model is null or i.status is null then 'missing_required'
            when i.status not in ('ok', 'error', 'timeout', 'harness') then 'unknown_status'
            when len(list_filter(
                [i.repeat, i.score, i.latency_ms, i.queued_ms, i.ttft_ms, i.input_tokens, i.output_tokens,
                 i.cached_tokens, i.reasoning_tokens, i.cost_usd, i.cpu_s],
                lambda v: v is not null and try_cast(v as double) is null)) > 0 then 'type_mismatch'
            when len(list_filter(
                [i.repeat, i.score, i.latency_ms, i.queued_ms, i.ttft_ms, i.input_tokens, i.output_tokens,
                 i.cached_tokens, i.reasoning_tokens, i.cost_usd, i.cpu_s],
                lambda v: not isfinite(try_cast(v as double)) or try_cast(v as double) < 0)) > 0
                then 'non_finite_or_negative'
            when try_cast(i.score as double) > 1 then 'score_out_of_range'
            when i.status = 'ok' and i.score is null then 'score_missing'
            when lead(1) over (
                partition by i.run_id, i.task, i.sample_id, i.model, coalesce(i.repeat, '0')
                order by i.rowid) = 1 then 'duplicate_of_later_line'
            when r.run_id is not null then 'duplicate_of_other_file'
        end as reason
    from incoming as i
    left join raw_results as r
        on r.run_id = i.run_id and r.task = i.task and r.sample_id = i.sample_id
        and r.model = i.model and coalesce(r.repeat, '0') = coalesce(i.repeat, '0')
),
final as (
    select n, reason from judged
)
select * from final
