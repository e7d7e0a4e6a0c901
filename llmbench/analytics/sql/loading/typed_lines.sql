-- grain: one line of a block that is read line by line, with what keeps it from being a call; null for nothing
-- key: n
-- reads: cast_lines
-- A line that is no object of JSON has none of the keys of a line. It may be one that only DuckDB cannot read.
with final as (
    select
        * exclude (is_mismatch),
        case
            when coalesce(status, task, model, selected_model, timestamp, call_id) is null then 'not_a_row'
            when schema is not null and schema <> '1' then 'unknown_schema'
            when task is null or coalesce(timestamp, ts) is null then 'missing_required'
            when is_mismatch then 'type_mismatch'
        end as fault
    from cast_lines
)
select * from final
