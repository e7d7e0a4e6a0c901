-- grain: one judgement: a judge asked about two answers in one order, or about one answer by a rubric
-- key: run_id, task, sample_id, model, other, repeat, judge, strategy, shown
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
--   other: the model it is compared with; null for a rubric
--   repeat: 0-based repetition of the sample
--   judge: model key of the judge
--   strategy: how the judge was asked
--   shown: AB where the candidate's answer stood first, BA where it stood second, alone for a rubric
--   status: ok, unparsable (no verdict could be read) or error (the call failed)
--   verdict: -1..1, 1 where the candidate is better, 0 for a tie; null unless ok
--   score: 0..1, the mean of a rubric's points; null unless ok
--   asked: times the judge was asked, 2 where its first reply gave no verdict
--   unparsable_replies: replies that no verdict could be read from
--   addresses_judge: whether an answer held a sentence that speaks to its judge; null when unknown
--   cost_usd: US dollars of the judge's calls; a call shared by equal questions stands in the first
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
        coalesce(try_cast(repeat as integer), 0) as repeat,
        judge,
        strategy,
        "order" as shown,
        status,
        case when status = 'ok' then try_cast(verdict as double) end as verdict,
        case when status = 'ok' then try_cast(score as double) end as score,
        coalesce(try_cast(asked as integer), 1) as asked,
        coalesce(try_cast(unparsable as integer), (status = 'unparsable')::integer) as unparsable_replies,
        try_cast(addresses_judge as boolean) as addresses_judge,
        try_cast(cost_usd as double) as cost_usd,
        try_cast(latency_ms as double) as latency_ms,
        try_cast(timestamp as timestamptz) at time zone 'UTC' as judged_at
    from raw_judgements
),
final as (
    select * from typed
)
select * from final
