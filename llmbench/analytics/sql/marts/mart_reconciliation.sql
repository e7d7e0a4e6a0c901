-- grain: one run: what the ledger promised, paid for and delivered, against rows and telemetry
-- key: run_id
-- reads: stg_results, stg_ledger, stg_calls
-- columns:
--   run_id: the run
--   intents: intent lines of the ledger
--   results: result lines of the ledger
--   orphans: intents without a result of the same fingerprint: calls in flight when a run was stopped
--   unannounced: results without an intent: always 0 in a sound ledger
--   telemetry_lines: telemetry lines that name the run
--   rows: scored rows of the run folder
--   pending: rows to be run again
--   reused: rows whose call an earlier run had paid for
--   telemetry_gap: telemetry_lines - intents: 0, or minus the lines lost to a kill
with per_fingerprint as (
    select
        run_id,
        fingerprint,
        count(*) filter (where type = 'intent') as intents,
        count(*) filter (where type = 'result') as results
    from stg_ledger
    where run_id is not null
    group by run_id, fingerprint
),
ledger as (
    select
        run_id,
        sum(intents)::bigint as intents,
        sum(results)::bigint as results,
        sum(greatest(intents - results, 0))::bigint as orphans,
        sum(greatest(results - intents, 0))::bigint as unannounced
    from per_fingerprint
    group by run_id
),
calls as (
    select run_id, count(*) as telemetry_lines
    from stg_calls
    where run_id is not null
    group by run_id
),
scored as (
    select
        r.run_id,
        count(*) as rows,
        count(*) filter (where r.is_pending) as pending,
        count(*) filter (where own.fingerprint is null and other.fingerprint is not null) as reused
    from stg_results as r
    left join per_fingerprint as own
        on own.run_id = r.run_id and own.fingerprint = r.fingerprint and own.results > 0
    left join (select distinct fingerprint from per_fingerprint where results > 0) as other
        on other.fingerprint = r.fingerprint
    group by r.run_id
),
runs as (
    select run_id from ledger
    union
    select run_id from calls
    union
    select run_id from scored
),
final as (
    select
        runs.run_id,
        coalesce(ledger.intents, 0) as intents,
        coalesce(ledger.results, 0) as results,
        coalesce(ledger.orphans, 0) as orphans,
        coalesce(ledger.unannounced, 0) as unannounced,
        coalesce(calls.telemetry_lines, 0) as telemetry_lines,
        coalesce(scored.rows, 0) as rows,
        coalesce(scored.pending, 0) as pending,
        coalesce(scored.reused, 0) as reused,
        coalesce(calls.telemetry_lines, 0) - coalesce(ledger.intents, 0) as telemetry_gap
    from runs
    left join ledger using (run_id)
    left join calls using (run_id)
    left join scored using (run_id)
)
select * from final
