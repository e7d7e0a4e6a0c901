-- grain: one row a line of `incoming`; reason is null where the line is a sound judgement
-- key: n
-- reads: incoming, raw_judgements
with judged as (
    select
        i.rowid as n,
        case
            when coalesce(i.run_id, i.task, i.sample_id, i.model, i.judge, i.verdict) is null then 'not_a_row'
            when i.schema is not null and i.schema <> '1' then 'unknown_schema'
            when i.run_id is null or i.task is null or i.sample_id is null or i.model is null
                or (i.other is null and i."order" is distinct from 'alone') or i.judge is null or i.strategy is null or i."order" is null
                or i.status is null then 'missing_required'
            when i."order" not in ('AB', 'BA', 'alone') then 'unknown_order'
            when i.status not in ('ok', 'unparsable', 'error') then 'unknown_status'
            when len(list_filter(
                [i.verdict, i.score, i.repeat, i.asked, i.unparsable, i.cost_usd, i.latency_ms],
                lambda v: v is not null and try_cast(v as double) is null)) > 0 then 'type_mismatch'
            when len(list_filter(
                [i.cost_usd, i.latency_ms],
                lambda v: not isfinite(try_cast(v as double)) or try_cast(v as double) < 0)) > 0
                then 'non_finite_or_negative'
            when not (try_cast(i.verdict as double) between -1 and 1) then 'verdict_out_of_range'
            when not (try_cast(i.score as double) between 0 and 1) then 'score_out_of_range'
            when i.status = 'ok' and case when i."order" = 'alone' then i.score else i.verdict end is null
                then 'verdict_missing'
            when lead(1) over (
                partition by i.run_id, i.task, i.sample_id, i.model, i.other, coalesce(i.repeat, '0'),
                    i.judge, i.strategy, i."order"
                order by i.rowid) = 1 then 'duplicate_of_later_line'
            when r.run_id is not null then 'duplicate_of_other_file'
        end as reason
    from incoming as i
    left join raw_judgements as r
        on r.run_id = i.run_id and r.task = i.task and r.sample_id = i.sample_id and r.model = i.model
        and r.other is not distinct from i.other and coalesce(r.repeat, '0') = coalesce(i.repeat, '0')
        and r.judge = i.judge and r.strategy = i.strategy and r."order" = i."order"
),
final as (
    select n, reason from judged
)
select * from final
