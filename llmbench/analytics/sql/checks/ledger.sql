-- grain: one row a line of `incoming`; reason is null where the line is a sound ledger line
-- key: n
-- reads: incoming
with judged as (
    select
        rowid as n,
        case
            when coalesce(type, fingerprint, cell, run_id) is null then 'not_a_row'
            when schema is not null and schema <> '1' then 'unknown_schema'
            when type is null or fingerprint is null then 'missing_required'
            when type not in ('intent', 'result', 'pending') then 'unknown_type'
            when len(list_filter(
                [latency_ms, input_tokens, output_tokens, cost_usd],
                lambda v: v is not null and try_cast(v as double) is null)) > 0 then 'type_mismatch'
            when len(list_filter(
                [latency_ms, input_tokens, output_tokens, cost_usd],
                lambda v: not isfinite(try_cast(v as double)) or try_cast(v as double) < 0)) > 0
                then 'non_finite_or_negative'
        end as reason
    from incoming
),
final as (
    select n, reason from judged
)
select * from final
