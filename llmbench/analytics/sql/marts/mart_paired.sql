-- grain: one cluster that two different models both answered, in each direction
-- key: run_id, task, model, other, cluster
-- reads: mart_cluster_scores
-- columns:
--   run_id: the run
--   task: the caller's kind of work
--   model: model key
--   other: the model it is compared with
--   cluster: unit of independence
--   samples: samples of the model in the cluster
--   score: mean score of the model, 0..1
--   other_score: mean score of the other
--   difference: score - other_score
--   cost_usd: mean US dollars per call
--   other_cost_usd: the same of the other
with final as (
    select
        a.run_id,
        a.task,
        a.model,
        b.model as other,
        a.cluster,
        a.samples,
        a.score,
        b.score as other_score,
        a.score - b.score as difference,
        a.cost_usd,
        b.cost_usd as other_cost_usd
    from mart_cluster_scores as a
    inner join mart_cluster_scores as b
        on a.run_id = b.run_id and a.task = b.task and a.cluster = b.cluster and a.model <> b.model
)
select * from final
