-- grain: one candidate of one tier, with the answered calls of one task of that tier
-- key: tier, task, candidate
-- reads: stg_calls, candidate_prices
-- What the same tokens would have cost at the candidate's prices: an estimate and no measurement. Another model's
-- tokenizer counts the same text differently, and its answer would have another length. Cached tokens are part of the
-- input and reasoning tokens part of the output, as everywhere here. Left out are calls whose tokens are not known or
-- cannot be: none at all, more cached than sent, more reasoning than received.
-- columns:
--   tier: tier as routed
--   task: the caller's kind of work
--   candidate: model key of the candidate
--   calls: answered calls with known tokens
--   input_tokens: sum
--   cached_tokens: sum of those of them served from a cache
--   output_tokens: sum
--   reasoning_tokens: sum of those of them spent thinking
--   estimated_usd: US dollars at the candidate's prices
--   estimated_per_1000_usd: US dollars per 1,000 calls
--   actual_usd: known cost of the same calls, US dollars; null where none is known
--   actual_priced: calls whose cost is known
--   ratio: estimated / actual, over calls whose cost is known
--   is_estimate: always true
--   source: where the candidate's prices come from
--   as_of: date of the prices
with counted as (
    select
        *,
        coalesce(cached_tokens, 0) as cached,
        coalesce(reasoning_tokens, 0) as reasoning
    from stg_calls
    where not is_failure and input_tokens >= 0 and output_tokens >= 0 and input_tokens + output_tokens > 0
),
summed as (
    select
        tier,
        task,
        cost_usd is not null as is_priced,
        count(*) as calls,
        sum(input_tokens)::bigint as input_tokens,
        sum(cached)::bigint as cached_tokens,
        sum(output_tokens)::bigint as output_tokens,
        sum(reasoning)::bigint as reasoning_tokens,
        sum(cost_usd) as actual_usd
    from counted
    where cached <= input_tokens and reasoning <= output_tokens
    group by all
),
estimated as (
    select
        s.*,
        p.model as candidate,
        p.source,
        p.as_of,
        (
            (s.input_tokens - s.cached_tokens) * p.input_usd
            + s.cached_tokens * coalesce(p.cached_input_usd, p.input_usd)
            + (s.output_tokens - s.reasoning_tokens) * p.output_usd
            + s.reasoning_tokens * coalesce(p.reasoning_usd, p.output_usd)
        ) / 1e6 as estimated_usd
    from summed as s
    inner join candidate_prices as p on p.tier = s.tier
),
final as (
    select
        tier,
        task,
        candidate,
        sum(calls)::bigint as calls,
        sum(input_tokens)::bigint as input_tokens,
        sum(cached_tokens)::bigint as cached_tokens,
        sum(output_tokens)::bigint as output_tokens,
        sum(reasoning_tokens)::bigint as reasoning_tokens,
        sum(estimated_usd) as estimated_usd,
        1000 * sum(estimated_usd) / nullif(sum(calls), 0) as estimated_per_1000_usd,
        sum(actual_usd) as actual_usd,
        coalesce(sum(calls) filter (where is_priced), 0)::bigint as actual_priced,
        sum(estimated_usd) filter (where is_priced) / nullif(sum(actual_usd), 0) as ratio,
        true as is_estimate,
        source,
        as_of
    from estimated
    group by tier, task, candidate, source, as_of
)
select * from final
