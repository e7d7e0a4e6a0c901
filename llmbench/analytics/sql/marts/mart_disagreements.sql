-- grain: one sample on which models' scores differ, every model's answer side by side
-- key: run_id, task, sample_id
-- reads: stg_results
-- columns:
--   run_id: the run
--   task: the caller's kind of work
--   sample_id: sample in the dataset
--   rank: 1 for the widest spread of its task
--   lang: language of the sample
--   prompt: last user message
--   target: the expected answer
--   models: models that answered
--   lowest: lowest score
--   highest: highest score
--   spread: highest - lowest
--   answers: list of {model, score, status, error_kind, output}, by model; output of the first repeat
with per_model as (
    select
        run_id,
        task,
        sample_id,
        model,
        avg(score) as score,
        arg_min(status, repeat) as status,
        arg_min(error_kind, repeat) as error_kind,
        arg_min(output, repeat) as output,
        min(lang) as lang,
        arg_min(prompt, repeat) as prompt,
        arg_min(target, repeat) as target
    from stg_results
    where not is_pending
    group by run_id, task, sample_id, model
),
per_sample as (
    select
        run_id,
        task,
        sample_id,
        min(lang) as lang,
        min(prompt) as prompt,
        min(target) as target,
        count(*) as models,
        min(score) as lowest,
        max(score) as highest,
        max(score) - min(score) as spread,
        list({'model': model, 'score': score, 'status': status, 'error_kind': error_kind, 'output': output}
            order by model) as answers
    from per_model
    group by run_id, task, sample_id
),
final as (
    select
        run_id,
        task,
        sample_id,
        row_number() over (partition by run_id, task order by spread desc, sample_id) as rank,
        lang,
        prompt,
        target,
        models,
        lowest,
        highest,
        spread,
        answers
    from per_sample
    where spread > 0
)
select * from final
