-- grain: one row a line of `spelled_calls`; reason is null where the line is a sound and new call
-- key: n
-- reads: spelled_calls, unsound_calls, loaded_calls
-- Of lines with one call_id and one time the first that was loaded counts; only calls of the block's time are compared.
with judged as (
    select
        n,
        call_id,
        called_at,
        case
            when fault is not null then fault
            when not is_time_of_call(called_at) then 'type_mismatch'
            when n in (select u.n from unsound_calls('spelled_calls') as u) then 'non_finite_or_negative'
        end as reason
    from spelled_calls
),
known as (
    select call_id, called_at
    from loaded_calls
    where called_at >= (select min(called_at) from judged where reason is null)
        and called_at <= (select max(called_at) from judged where reason is null)
),
final as (
    select
        n,
        case
            when reason is not null then reason
            when row_number() over (partition by call_id, called_at, reason is null order by n) > 1 then 'duplicate'
            when exists (
                select 1 from known where known.call_id = judged.call_id and known.called_at = judged.called_at)
                then 'duplicate'
        end as reason
    from judged
)
select * from final
