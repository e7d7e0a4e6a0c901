-- grain: one measure of one model on one task: the newest seven days of calls against the seven days before
-- key: task, model, measure
-- reads: every_call
-- One event is a day: the calls of 24 hours, counted back from the newest call, are one cluster, since an outage of
-- twenty minutes is one event and not five hundred, and a slow morning one and not six. The variance of a mean comes
-- from the means with one day left out: (G - 1) / G * sum(e^2) / n^2 for G days, with
-- e = (sum of the day - its n * mean) / (1 - its n / n) (jackknife of a ratio; CR3 in Cameron and Miller 2015), so that
-- a day with most of the calls cannot hide that it alone makes the mean. Effective days are n^2 / sum of (its n)^2. An
-- interval has needed_z standard errors on either side: z = sqrt(2 ln(m / 0.05)) for m comparisons in this view, since
-- the normal tail is at most exp(-z^2 / 2) / 2 (Chernoff); times 1 + (z^2 + 1) / (4 df), since few days know their
-- variance badly, df = effective days of both windows - 2 (the first term of a quantile of t in one of the normal;
-- Abramowitz and Stegun 26.7.5). Means that differ by a billionth are the same: sums of the same amounts in another
-- order do.
-- Not covered: a change of level that comes and goes over several days is a change here, whatever made it. All calls
-- that are loaded count, also those before the first moment that the other views see.
-- columns:
--   task: the caller's kind of work
--   model: the model that answered, else the last one tried, else '(none)'
--   measure: failure_rate, fallback_rate and truncated_rate (cut at its limit, as an answer or as a failure) of all
--     calls; latency_ms of calls that answered or timed out; cost_usd where known; output_tokens of
--     answers, where known
--   this_n: calls of the newest seven days with this measure; the newest call of all telemetry ends them, but one a
--     day or more after the present moment only where all calls are (a clock that runs ahead), and is left out else
--   last_n: calls of the seven days before
--   this_days: effective days with such calls, newest seven days; 7 where each has as many calls
--   last_days: effective days with such calls, seven days before
--   this_mean: mean of the newest seven days; geometric for latency_ms
--   last_mean: mean of the seven days before
--   change: this_mean - last_mean; for latency_ms this_mean / last_mean - 1, so that 0.2 is 20 % slower
--   low: lower bound of the change; null where either window has fewer than 4 effective days
--   high: upper bound of the change
--   is_change: true where the interval leaves out 0
--   needed_z: standard errors that a change needs here, from the number of comparisons and of days; null as low is
with newest as (
    select
        coalesce(
            max(called_at) filter (where called_at < (now() at time zone 'UTC') + interval 1 day),
            max(called_at)) as newest_at
    from every_call
),
daily as (
    select
        task,
        last_model as model,
        called_at > (select newest_at - interval 7 day from newest) as is_this,
        date_diff('microsecond', called_at, (select newest_at from newest)) // 86400000000 as day,
        count(*) as calls,
        count(*) filter (where status = 'fail') as failures,
        count(*) filter (where hops > 0) as fallbacks,
        count(*) filter (where finish_reason = 'length' or error_kind = 'truncated') as truncated,
        count(*) filter (where latency_ms > 0 and (status = 'success' or error_kind = 'timeout')) as lasted,
        sum(ln(latency_ms)) filter (where latency_ms > 0 and (status = 'success' or error_kind = 'timeout')) as log_ms,
        count(cost_usd) as priced,
        sum(cost_usd) as cost_usd,
        count(output_tokens) filter (where status = 'success') as counted,
        sum(output_tokens) filter (where status = 'success') as output_tokens
    from every_call
    where called_at > (select newest_at - interval 14 day from newest)
        and called_at <= (select newest_at from newest)
    group by all
),
listed as (
    select
        task,
        model,
        is_this,
        unnest([
            {'measure': 'failure_rate', 'n': calls, 'total': failures::double},
            {'measure': 'fallback_rate', 'n': calls, 'total': fallbacks::double},
            {'measure': 'truncated_rate', 'n': calls, 'total': truncated::double},
            {'measure': 'latency_ms', 'n': lasted, 'total': log_ms},
            {'measure': 'cost_usd', 'n': priced, 'total': cost_usd},
            {'measure': 'output_tokens', 'n': counted, 'total': output_tokens::double}
        ]) as day
    from daily
),
clusters as (
    select
        task,
        model,
        day.measure as measure,
        is_this,
        day.n as n,
        day.total as total,
        sum(total) over (partition by task, model, measure, is_this)
            / nullif(sum(n) over (partition by task, model, measure, is_this), 0) as mean,
        1 - n / nullif(sum(n) over (partition by task, model, measure, is_this), 0) as share_without
    from listed
    where day.n > 0
),
weeks as (
    select
        task,
        model,
        measure,
        is_this,
        sum(n)::bigint as n,
        pow(sum(n), 2) / nullif(sum(pow(n, 2)), 0) as days,
        any_value(mean) as mean,
        sum(pow((total - n * mean) / nullif(share_without, 0), 2)) / nullif(pow(sum(n), 2), 0)
            * (count(*) - 1) / nullif(count(*), 0) as variance
    from clusters
    group by all
),
beside as (
    select
        task,
        model,
        measure,
        coalesce(any_value(n) filter (where is_this), 0) as this_n,
        coalesce(any_value(n) filter (where not is_this), 0) as last_n,
        coalesce(any_value(days) filter (where is_this), 0) as this_days,
        coalesce(any_value(days) filter (where not is_this), 0) as last_days,
        any_value(mean) filter (where is_this) as this_mean,
        any_value(mean) filter (where not is_this) as last_mean,
        sum(variance) as variance
    from weeks
    group by all
),
compared as (
    select
        *,
        this_days >= 4 and last_days >= 4 as is_compared,
        sqrt(2 * ln(20 * nullif(count(*) filter (where this_days >= 4 and last_days >= 4) over (), 0))) as z
    from beside
),
judged as (
    select
        *,
        this_mean - last_mean as difference,
        if(is_compared, z * (1 + (z * z + 1) / nullif(4 * (this_days + last_days - 2), 0)), null) as needed_z,
        needed_z * sqrt(variance) as half,
        1e-9 * greatest(abs(this_mean), abs(last_mean)) as rounding
    from compared
),
final as (
    select
        task,
        model,
        measure,
        this_n,
        last_n,
        this_days,
        last_days,
        if(measure = 'latency_ms', exp(this_mean), this_mean) as this_mean,
        if(measure = 'latency_ms', exp(last_mean), last_mean) as last_mean,
        if(measure = 'latency_ms', exp(difference) - 1, difference) as change,
        if(measure = 'latency_ms', exp(difference - half) - 1, difference - half) as low,
        if(measure = 'latency_ms', exp(difference + half) - 1, difference + half) as high,
        coalesce(abs(difference) > half and abs(difference) > rounding, false) as is_change,
        needed_z
    from judged
)
select * from final
