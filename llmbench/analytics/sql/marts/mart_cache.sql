-- grain: one day of one model behind one provider on one task: how much of the input a prompt cache served
-- key: day, task, model, provider
-- reads: stg_calls
-- A call without an answer counts no tokens, which says nothing of a cache: such calls are in `calls` alone.
-- columns:
--   day: date of the call, UTC
--   task: the caller's kind of work
--   model: the model that answered, else the last one tried, else '(none)'
--   provider: provider name; '(unknown)' where unnamed
--   calls: telemetry lines
--   input_tokens: sum; null where no call's are known
--   cached_tokens: sum of those served from a cache; null where no call's are known
--   cached_share: cached_tokens / input_tokens, over answered calls where both are known
--   calls_with_hit: answered calls with cached tokens
--   hit_rate: calls_with_hit / answered calls whose cached tokens are known
--   known_input_tokens: sum over answered calls whose cached tokens are known
--   known_cached_tokens: sum over answered calls whose input tokens are known; cached_share is of these two
with final as (
    select
        called_at::date as day,
        task,
        last_model as model,
        coalesce(provider, '(unknown)') as provider,
        count(*) as calls,
        sum(input_tokens)::bigint as input_tokens,
        sum(cached_tokens)::bigint as cached_tokens,
        sum(cached_tokens) filter (where not is_failure and input_tokens is not null)
            / nullif(sum(input_tokens) filter (where not is_failure and cached_tokens is not null), 0)
            as cached_share,
        count(*) filter (where not is_failure and cached_tokens > 0) as calls_with_hit,
        count(*) filter (where not is_failure and cached_tokens > 0)
            / nullif(count(cached_tokens) filter (where not is_failure), 0) as hit_rate,
        sum(input_tokens) filter (where not is_failure and cached_tokens is not null)::bigint as known_input_tokens,
        sum(cached_tokens) filter (where not is_failure and input_tokens is not null)::bigint as known_cached_tokens
    from stg_calls
    group by all
)
select * from final
