-- grain: one model behind one provider on one task of one tier, over all telemetry
-- key: task, tier, model, provider
-- reads: stg_calls
-- Of calls that answered or ran into their time limit: a call that fails at once must not make its model look
-- fast. A percentile that falls on a timed-out call is a lower bound. The latency is what the caller waited. An
-- interval covers the percentile in 95 % of samples of independent calls: the values of rank n*p -+
-- 1.96*sqrt(n*p*(1-p)) (order statistics; Conover, Practical Nonparametric Statistics), read from bins 1 % wide and
-- rounded outwards to a bin's edge; null where such a rank is below 1 or above n.
-- columns:
--   task: the caller's kind of work
--   tier: tier as routed
--   model: the model that answered, else the last one tried, else '(none)'
--   provider: provider name; where the line names none, as a failed call's does, the one that its model has elsewhere,
--     else '(unknown)'
--   n: answered and timed-out calls with a measured latency
--   p50_ms: exact median latency, milliseconds
--   p90_ms: exact 90th percentile, milliseconds
--   p95_ms: exact 95th percentile, milliseconds
--   p99_ms: exact 99th percentile, milliseconds
--   p50_low_ms: lower bound of the median's interval, milliseconds
--   p50_high_ms: its upper bound
--   p95_low_ms: lower bound of the 95th percentile's interval, milliseconds
--   p95_high_ms: its upper bound
--   streamed: calls whose time to the first token is known
--   p50_ttft_ms: exact median time to the first token, milliseconds
--   p95_ttft_ms: exact 95th percentile of it, milliseconds
--   ttft_p95_low_ms: lower bound of that percentile's interval, milliseconds
--   ttft_p95_high_ms: its upper bound
--   mean_queued_ms: waited before the send, milliseconds
with served as (
    select last_model, max(provider) as provider
    from stg_calls
    where provider is not null
    group by all
),
places as (
    select map_from_entries(list({'model': last_model, 'provider': provider})) as by_model from served
),
exact as (
    select
        task,
        tier,
        last_model as model,
        coalesce(provider, (select by_model from places)[last_model], '(unknown)') as provider,
        count(latency_ms) as n,
        quantile_cont(latency_ms, [0.5, 0.9, 0.95, 0.99]) as latencies,
        count(ttft_ms) as streamed,
        quantile_cont(ttft_ms, [0.5, 0.95]) as ttfts,
        avg(queued_ms) as mean_queued_ms
    from stg_calls
    where not is_failure or error_kind = 'timeout'
    group by all
),
binned as (
    select
        task,
        tier,
        last_model as model,
        coalesce(provider, (select by_model from places)[last_model], '(unknown)') as provider,
        false as is_ttft,
        floor(ln(greatest(latency_ms, 0.001)) * 100.499170807)::integer as bin,
        count(*) as in_bin
    from stg_calls
    where latency_ms is not null and (not is_failure or error_kind = 'timeout')
    group by all
    union all
    select
        task,
        tier,
        last_model as model,
        coalesce(provider, (select by_model from places)[last_model], '(unknown)') as provider,
        true as is_ttft,
        floor(ln(greatest(ttft_ms, 0.001)) * 100.499170807)::integer as bin,
        count(*) as in_bin
    from stg_calls
    where ttft_ms is not null and (not is_failure or error_kind = 'timeout')
    group by all
),
ranked as (
    select
        *,
        if(bin > -695, pow(1.01, bin), 0) as low_edge,
        pow(1.01, bin + 1) as high_edge,
        sum(in_bin) over (partition by task, tier, model, provider, is_ttft order by bin) as up_to,
        sum(in_bin) over (partition by task, tier, model, provider, is_ttft) as total,
        1.96 * sqrt(total * 0.5 * 0.5) as spread_50,
        1.96 * sqrt(total * 0.95 * 0.05) as spread_95
    from binned
),
bounded as (
    select
        task,
        tier,
        model,
        provider,
        is_ttft,
        min(low_edge) filter (where up_to >= floor(total * 0.5 - spread_50) and floor(total * 0.5 - spread_50) >= 1)
            as p50_low,
        min(high_edge) filter (where up_to >= ceil(total * 0.5 + spread_50)) as p50_high,
        min(low_edge) filter (
            where up_to >= floor(total * 0.95 - spread_95) and floor(total * 0.95 - spread_95) >= 1) as p95_low,
        min(high_edge) filter (where up_to >= ceil(total * 0.95 + spread_95)) as p95_high
    from ranked
    group by all
),
final as (
    select
        e.task,
        e.tier,
        e.model,
        e.provider,
        e.n,
        e.latencies[1] as p50_ms,
        e.latencies[2] as p90_ms,
        e.latencies[3] as p95_ms,
        e.latencies[4] as p99_ms,
        l.p50_low as p50_low_ms,
        l.p50_high as p50_high_ms,
        l.p95_low as p95_low_ms,
        l.p95_high as p95_high_ms,
        e.streamed,
        e.ttfts[1] as p50_ttft_ms,
        e.ttfts[2] as p95_ttft_ms,
        t.p95_low as ttft_p95_low_ms,
        t.p95_high as ttft_p95_high_ms,
        e.mean_queued_ms
    from exact as e
    left join bounded as l
        on l.task = e.task and l.tier = e.tier and l.model = e.model and l.provider = e.provider
        and not l.is_ttft
    left join bounded as t
        on t.task = e.task and t.tier = e.tier and t.model = e.model and t.provider = e.provider
        and t.is_ttft
)
select * from final
