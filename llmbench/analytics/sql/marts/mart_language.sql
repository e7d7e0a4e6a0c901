-- grain: one language of one model on one task of one run
-- key: run_id, task, model, lang
-- reads: stg_results
-- columns:
--   run_id: the run
--   task: the caller's kind of work
--   model: model key
--   lang: language of the samples
--   n: samples that count
--   mean_score: repeats averaged within a sample first; failures count 0
--   failures: samples where the model failed at least once
with per_sample as (
    select
        run_id,
        task,
        model,
        lang,
        sample_id,
        avg(score) as score,
        bool_or(is_failure) as has_failure
    from stg_results
    where not is_pending
    group by all
),
final as (
    select
        run_id,
        task,
        model,
        lang,
        count(*) as n,
        avg(score) as mean_score,
        count(*) filter (where has_failure) as failures
    from per_sample
    group by run_id, task, model, lang
)
select * from final
