-- grain: one cluster of prompts, answered by one model, in one task of one run
-- key: run_id, task, model, cluster
-- reads: stg_results
-- columns:
--   run_id: the run
--   task: the caller's kind of work
--   model: model key
--   cluster: unit of independence
--   samples: samples that count
--   score: mean over samples, repeats averaged first; failures count 0
--   cost_usd: mean US dollars per call, null when no cost is known
--   latency_ms: mean, milliseconds
with per_sample as (
    select
        run_id,
        task,
        model,
        cluster,
        sample_id,
        avg(score) as score,
        avg(cost_usd) as cost_usd,
        avg(latency_ms) as latency_ms
    from stg_results
    where not is_pending
    group by all
),
final as (
    select
        run_id,
        task,
        model,
        cluster,
        count(*) as samples,
        avg(score) as score,
        avg(cost_usd) as cost_usd,
        avg(latency_ms) as latency_ms
    from per_sample
    group by all
)
select * from final
