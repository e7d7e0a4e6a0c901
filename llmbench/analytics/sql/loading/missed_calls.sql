-- grain: one row: how many rows of the newest block are no sound and new calls
-- key: missed
-- reads: loaded_calls
-- A call that was loaded before has the same id and the same time: only rows of that time are compared.
with fresh as (
    select * from loaded_calls where file_no = $file_no and block_no = $block_no
),
span as (
    select min(called_at) as first_at, max(called_at) as last_at from fresh
),
unsound as (
    select count(*) as n
    from fresh
    where task is null or status is null
        or not coalesce(called_at >= timestamp '2000-01-01' and called_at < timestamp '2100-01-01', false)
        or least(input_tokens, output_tokens, cached_tokens, reasoning_tokens, dropped_before) < 0
        or not coalesce(isfinite(latency_ms) and latency_ms >= 0, true)
        or not coalesce(isfinite(ttft_ms) and ttft_ms >= 0, true)
        or not coalesce(isfinite(queued_ms) and queued_ms >= 0, true)
        or not coalesce(isfinite(cost_usd) and cost_usd >= 0, true)
        or not coalesce(isfinite(wasted_ms) and wasted_ms >= 0, true)
        or not coalesce(isfinite(wasted_cost_usd) and wasted_cost_usd >= 0, true)
        or not coalesce(isfinite(cpu_s) and cpu_s >= 0, true)
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
