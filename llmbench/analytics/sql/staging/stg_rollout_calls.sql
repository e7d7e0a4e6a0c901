-- grain: one telemetry line that takes part in a rollout, of any day: a caller's call or a shadow
-- key: call_id
-- reads: every_line
-- columns:
--   call_id: the call
--   called_at: when it ended, UTC
--   started_at: when it began, UTC: called_at less latency_ms
--   rollout: name of the rollout
--   mode: split or shadow
--   arm: control or challenger
--   shadow_of: the caller's call that this is a shadow of, null for a caller's own
--   task: the caller's kind of work
--   routing_key: key of a traffic split
--   challengers: the model keys that are tried out
--   model: model key that answered, null on failure
--   is_failure: true where nobody answered; in the challenger's arm, where no challenger did
--   is_counted: false for a call that says nothing of its arm: cancelled, or the challenger got no request
--   is_cut: true for a cancelled call that the arm may have had: it would have taken longer than latency_ms
--   latency_ms: whole call, what a caller waited, milliseconds
--   cost_usd: US dollars of the answering attempt
--   wasted_cost_usd: US dollars of attempts that failed
--   dropped_before: shadows of the rollout that were not sent, since the last line of this process that told of any
with lines as (
    select
        *,
        rollout.arm = 'challenger' as is_challenger,
        list_contains(coalesce(rollout.models, []), coalesce(model, '')) as is_answer,
        list_filter(
            coalesce(attempts, []),
            lambda each: list_contains(coalesce(rollout.models, []), each.model)
                and not (each.error_kind is not null and each.status_code is null
                    and each.error_kind in ('circuit_open', 'quota'))) as sent
    from every_line
    where rollout."name" is not null and rollout.arm is not null
),
judged as (
    select
        *,
        coalesce(error_kind, '') = 'cancelled' as is_cancelled,
        not is_challenger or is_answer or len(sent) > 0 or len(coalesce(attempts, [])) = 0 as is_asked
    from lines
),
final as (
    select
        call_id,
        called_at,
        called_at - to_microseconds(cast(coalesce(latency_ms, 0) * 1000 as bigint)) as started_at,
        rollout."name" as rollout,
        rollout."mode" as mode,
        rollout.arm as arm,
        rollout."of" as shadow_of,
        task,
        routing_key,
        rollout.models as challengers,
        model,
        if(is_challenger, not is_answer, status = 'fail') as is_failure,
        is_asked and not is_cancelled as is_counted,
        is_asked and is_cancelled as is_cut,
        latency_ms,
        cost_usd,
        wasted_cost_usd,
        rollout.dropped_before as dropped_before
    from judged
)
select * from final
