-- grain: one telemetry line that takes part in a rollout, of any day: a caller's call or a shadow
-- key: call_id
-- reads: every_line
-- columns:
--   call_id: the call
--   called_at: when it ended, UTC
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
--   latency_ms: whole call, what a caller waited, milliseconds
--   cost_usd: US dollars of the answering attempt
--   wasted_cost_usd: US dollars of attempts that failed
--   dropped_before: shadows of the rollout that were not sent, since the last one of this process
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
final as (
    select
        call_id,
        called_at,
        rollout."name" as rollout,
        rollout."mode" as mode,
        rollout.arm as arm,
        rollout."of" as shadow_of,
        task,
        routing_key,
        rollout.models as challengers,
        model,
        if(is_challenger, not is_answer, status = 'fail') as is_failure,
        coalesce(error_kind, '') <> 'cancelled'
            and (not is_challenger or is_answer or len(sent) > 0 or len(coalesce(attempts, [])) = 0) as is_counted,
        latency_ms,
        cost_usd,
        wasted_cost_usd,
        rollout.dropped_before as dropped_before
    from lines
)
select * from final
