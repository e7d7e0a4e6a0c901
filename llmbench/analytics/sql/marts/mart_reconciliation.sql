-- grain: one run: what the ledger promised, paid for and delivered, against rows and telemetry
-- key: run_id
-- reads: stg_results, stg_ledger, stg_calls
-- columns:
--   run_id: the run
--   intents: intent lines of the ledger
--   results: result lines of the ledger
--   given_back: pending lines of the ledger: calls that ended for our own reasons
--   orphans: intents of which no end is known: calls in flight when a run was stopped
--   unannounced: ends without an intent: always 0 in a sound ledger
--   telemetry_lines: telemetry lines that name the run
--   rows: scored rows of the run folder
--   pending: rows to be run again
--   reused: rows whose call an earlier run had paid for
--   telemetry_gap: telemetry_lines - intents: 0, or minus the lines lost to a kill
with per_intent as (
    select
        run_id,
        intent_id,
        count(*) filter (where type = 'intent') as intents,
        count(*) filter (where type = 'result') as results,
        count(*) filter (where type = 'pending') as given_back
    from stg_ledger
    where run_id is not null
    group by run_id, intent_id
),
ledger as (
    select
        run_id,
        sum(intents)::bigint as intents,
        sum(results)::bigint as results,
        sum(given_back)::bigint as given_back,
        sum(greatest(intents - results - given_back, 0))::bigint as orphans,
        sum(greatest(results + given_back - intents, 0))::bigint as unannounced
    from per_intent
    group by run_id
),
paid as (
    select distinct fingerprint, run_id
    from stg_ledger
    where type = 'result'
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
    left join paid as own on own.run_id = r.run_id and own.fingerprint = r.fingerprint
    left join (select distinct fingerprint from paid) as other on other.fingerprint = r.fingerprint
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
        coalesce(ledger.given_back, 0) as given_back,
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
