-- grain: one row: how many rows of the newest block are no sound and new calls
-- key: missed
-- reads: loaded_calls, unsound_calls
-- A block with any is read line by line: what is counted here is looked at there, and need not be wrong.
-- A call that was loaded before has the same id and the same time: only rows of that time are compared.
with fresh as (
    select * from loaded_calls where file_no = $file_no and block_no = $block_no
),
span as (
    select min(called_at) as first_at, max(called_at) as last_at from fresh
),
unsound as (
    select count(*) as n from unsound_calls('loaded_calls') where file_no = $file_no and block_no = $block_no
),
twice as (
    select count(call_id) - count(distinct call_id) as n from fresh
),
earlier as (
    select count(*) as n
    from loaded_calls as old
    semi join fresh on fresh.call_id = old.call_id
    where (old.file_no <> $file_no or old.block_no <> $block_no)
        and old.called_at >= (select first_at from span)
        and old.called_at <= (select last_at from span)
),
final as (
    select (select n from unsound) + (select n from twice) + (select n from earlier) as missed
)
select * from final
