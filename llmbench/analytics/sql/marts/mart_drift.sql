-- grain: one measure of one model on one task: the newest seven days of calls against the seven days before
-- key: task, model, measure
-- reads: stg_calls
-- The calls of one hour are one cluster, since an outage of twenty minutes is one event and not five hundred: the
-- variance of a mean is the sum over the hours of (sum of (x - mean))^2 / n^2, times hours / (hours - 1) (the
-- cluster-robust variance of a mean; Cameron and Miller 2015). An interval has needed_z standard errors on either
-- side: sqrt(2 ln(m / 0.05)) for m comparisons in this view. The normal tail is at most exp(-z^2 / 2) / 2
-- (Chernoff), so with no real change the whole view shows any change in about 5 % of its readings at most: in 1 %
-- of simulated ones with a call or more in each hour, in 7 % of ones with 240 comparisons of just 12 hours each.
-- Means that differ by a billionth are the same: sums of the same amounts in another order do.
-- columns:
--   task: the caller's kind of work
--   model: the model that answered, else the last one tried, else '(none)'
--   measure: failure_rate, fallback_rate and truncated_rate (cut at its limit, as an answer or as a failure) of all
--     calls; latency_ms of calls that answered or timed out; cost_usd where known; output_tokens of
--     answers, where known
--   this_n: calls of the newest seven days with this measure; the newest call of all telemetry ends them
--   last_n: calls of the seven days before
--   this_hours: hours with such calls, newest seven days
--   last_hours: hours with such calls, seven days before
--   this_mean: mean of the newest seven days; geometric for latency_ms
--   last_mean: mean of the seven days before
--   change: this_mean - last_mean; for latency_ms this_mean / last_mean - 1, so that 0.2 is 20 % slower
--   low: lower bound of the change; null where either week has fewer than 12 hours with calls
--   high: upper bound of the change
--   is_change: true where the interval leaves out 0
--   needed_z: standard errors that a change needs here, from the number of comparisons
with newest as (
    select max(called_at) as newest_at from stg_calls
),
hourly as (
    select
        task,
        last_model as model,
        called_at > (select newest_at - interval 7 day from newest) as is_this,
        date_trunc('hour', called_at) as hour,
        count(*) as calls,
        count(*) filter (where is_failure) as failures,
        count(*) filter (where hops > 0) as fallbacks,
        count(*) filter (where finish_reason = 'length' or error_kind = 'truncated') as truncated,
        count(*) filter (where latency_ms > 0 and (not is_failure or error_kind = 'timeout')) as lasted,
        sum(ln(latency_ms)) filter (where latency_ms > 0 and (not is_failure or error_kind = 'timeout')) as log_ms,
        count(cost_usd) as priced,
        sum(cost_usd) as cost_usd,
        count(output_tokens) filter (where not is_failure) as counted,
        sum(output_tokens) filter (where not is_failure) as output_tokens
    from stg_calls
    where called_at > (select newest_at - interval 14 day from newest)
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
        ]) as hour
    from hourly
),
clusters as (
    select
        task,
        model,
        hour.measure as measure,
        is_this,
        hour.n as n,
        hour.total as total,
        sum(total) over (partition by task, model, measure, is_this)
            / nullif(sum(n) over (partition by task, model, measure, is_this), 0) as mean
    from listed
    where hour.n > 0
),
weeks as (
    select
        task,
        model,
        measure,
        is_this,
        sum(n)::bigint as n,
        count(*) as hours,
        any_value(mean) as mean,
        sum(pow(total - n * mean, 2)) / nullif(pow(sum(n), 2), 0) * count(*) / nullif(count(*) - 1, 0) as variance
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
        coalesce(any_value(hours) filter (where is_this), 0) as this_hours,
        coalesce(any_value(hours) filter (where not is_this), 0) as last_hours,
        any_value(mean) filter (where is_this) as this_mean,
        any_value(mean) filter (where not is_this) as last_mean,
        sum(variance) as variance
    from weeks
    group by all
),
judged as (
    select
        *,
        this_hours >= 12 and last_hours >= 12 as is_compared,
        sqrt(2 * ln(20 * nullif(count(*) filter (where this_hours >= 12 and last_hours >= 12) over (), 0)))
            as needed_z,
        this_mean - last_mean as difference,
        if(is_compared, needed_z * sqrt(variance), null) as half,
        1e-9 * greatest(abs(this_mean), abs(last_mean)) as rounding
    from beside
),
final as (
    select
        task,
        model,
        measure,
        this_n,
        last_n,
        this_hours,
        last_hours,
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
