-- grain: one row a line of `incoming`; reason is null where the line is a sound label
-- key: n
-- reads: incoming, raw_labels
-- A label given again is no duplicate: it is a changed mind, and stg_labels shows the last one.
with known as (
    select distinct run_id, task, sample_id, model, other from raw_labels
),
judged as (
    select
        i.rowid as n,
        case
            when coalesce(i.run_id, i.task, i.sample_id, i.model, i.other, i.label) is null then 'not_a_row'
            when i.schema is not null and i.schema <> '1' then 'unknown_schema'
            when i.run_id is null or i.task is null or i.sample_id is null or i.model is null
                or i.other is null or i.label is null then 'missing_required'
            when try_cast(i.label as double) is null then 'type_mismatch'
            when try_cast(i.label as double) not in (-1, 0, 1) then 'unknown_label'
            when k.run_id is not null then 'duplicate_of_other_file'
        end as reason
    from incoming as i
    left join known as k
        on k.run_id = i.run_id and k.task = i.task and k.sample_id = i.sample_id
        and k.model = i.model and k.other = i.other
),
final as (
    select n, reason from judged
)
select * from final
