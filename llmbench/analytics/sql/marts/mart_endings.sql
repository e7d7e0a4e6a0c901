-- grain: one model on one task of one tier, over all telemetry: how its answers and attempts ended
-- key: task, tier, model
-- reads: stg_attempts, stg_calls
-- Replies that came and could not be used, beside those that were cut at their limit. An attempt counts for the model
-- that was tried, an answer for the model that gave it. A call that records no attempts counts as one attempt of
-- its last model, and so does the answer of a call that records failed attempts alone; circuit_open is no attempt,
-- since nothing is sent.
-- columns:
--   task: the caller's kind of work
--   tier: tier as routed
--   model: model key that was tried; '(none)' where unnamed
--   answers: calls that it answered
--   attempts: requests sent to it
--   truncated: answers with finish_reason 'length', and attempts that ended truncated
--   empty: attempts whose reply was empty
--   invalid_output: attempts whose reply did not have the form that was asked for
--   refusal: attempts that the model refused
--   content_filter: attempts that a filter stopped
--   malformed: attempts whose reply could not be read
--   truncated_rate: truncated / attempts
--   empty_rate: empty / attempts
--   unusable_rate: the share of attempts that ended in one of these six
with tried as (
    select task, tier, coalesce(model, '(none)') as model, error_kind, count(*) as n
    from stg_attempts
    group by all
    union all
    select
        task,
        tier,
        last_model as model,
        if(is_failure, coalesce(error_kind, 'unknown'), null) as error_kind,
        count(*) as n
    from stg_calls
    where coalesce(len(attempts), 0) = 0
        or (not is_failure and len(list_filter(attempts, lambda each: each.error_kind is null)) = 0)
    group by all
),
answered as (
    select task, tier, last_model as model, count(*) as answers, count(*) filter (where finish_reason = 'length') as cut
    from stg_calls
    where not is_failure
    group by all
),
ended as (
    select
        task,
        tier,
        model,
        sum(n) as attempts,
        sum(n) filter (where error_kind = 'truncated') as truncated,
        sum(n) filter (where error_kind = 'empty') as empty,
        sum(n) filter (where error_kind = 'invalid_output') as invalid_output,
        sum(n) filter (where error_kind = 'refusal') as refusal,
        sum(n) filter (where error_kind = 'content_filter') as content_filter,
        sum(n) filter (where error_kind = 'malformed') as malformed
    from tried
    where error_kind is distinct from 'circuit_open'
    group by all
),
counted as (
    select
        task,
        tier,
        model,
        coalesce(a.answers, 0)::bigint as answers,
        coalesce(e.attempts, 0)::bigint as attempts,
        (coalesce(e.truncated, 0) + coalesce(a.cut, 0))::bigint as truncated,
        coalesce(e.empty, 0)::bigint as empty,
        coalesce(e.invalid_output, 0)::bigint as invalid_output,
        coalesce(e.refusal, 0)::bigint as refusal,
        coalesce(e.content_filter, 0)::bigint as content_filter,
        coalesce(e.malformed, 0)::bigint as malformed
    from ended as e
    full join answered as a using (task, tier, model)
),
final as (
    select
        *,
        truncated / nullif(attempts, 0) as truncated_rate,
        empty / nullif(attempts, 0) as empty_rate,
        (truncated + empty + invalid_output + refusal + content_filter + malformed) / nullif(attempts, 0)
            as unusable_rate
    from counted
)
select * from final
