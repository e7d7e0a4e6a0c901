-- grain: one judgement: a judge asked once about two answers, in one order
-- key: run_id, task, sample_id, model, other, judge, strategy, shown
-- reads: raw_judgements
-- columns:
--   file: the judgements.jsonl it came from
--   line_no: 1-based line in that file
--   run_id: the run
--   task: the caller's kind of work
--   sample_id: sample in the dataset
--   cluster: unit of independence; the sample itself when unnamed
--   lang: language of the sample, 'und' when unnamed
--   model: the candidate
--   other: the model it is compared with
--   judge: model key of the judge
--   strategy: how the judge was asked
--   shown: AB where the candidate's answer stood first, BA where it stood second
--   status: ok, unparsable (no verdict could be read) or error (the call failed)
--   verdict: -1..1, 1 where the candidate is better, 0 for a tie; null unless ok
--   cost_usd: US dollars of the judge's call
--   latency_ms: from send to last byte, milliseconds
--   judged_at: UTC
with typed as (
    select
        file,
        line_no,
        run_id,
        task,
        sample_id,
        coalesce(cluster, sample_id) as cluster,
        coalesce(nullif(lang, ''), 'und') as lang,
        model,
        other,
        judge,
        strategy,
        "order" as shown,
        status,
        case when status = 'ok' then try_cast(verdict as double) end as verdict,
        try_cast(cost_usd as double) as cost_usd,
        try_cast(latency_ms as double) as latency_ms,
        try_cast(timestamp as timestamptz) at time zone 'UTC' as judged_at
    from raw_judgements
),
final as (
    select * from typed
)
select * from final
