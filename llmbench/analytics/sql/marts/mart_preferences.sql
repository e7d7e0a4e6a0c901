-- grain: one pair of answers as one judge sees it, both orders together
-- key: run_id, task, sample_id, model, other, repeat, judge, strategy
-- reads: stg_judgements, stg_labels
-- A judge tends to favour a place, so the verdict is the mean of both orders and a lone order is none. Where
-- a judge was asked in one order only, of every pair of that task and those models, the verdict is that one.
-- columns:
--   run_id: the run
--   task: the caller's kind of work
--   sample_id: sample in the dataset
--   model: the candidate
--   other: the model it is compared with
--   repeat: 0-based repetition of the sample
--   judge: model key of the judge
--   strategy: how the judge was asked
--   cluster: unit of independence
--   lang: language of the sample
--   status_ab: ok, unparsable or error with the candidate shown first; null when not asked
--   status_ba: the same with the candidate shown second
--   verdict_ab: -1..1 with the candidate shown first, 1 where it is better; null without a verdict
--   verdict_ba: the same with the candidate shown second
--   verdict: mean of both orders, null unless both gave a verdict; one order's where only one was ever asked
--   is_consistent: true where both orders say the same: better, worse or a tie; null unless both gave a verdict
--   label: a person's blind label of the pair, -1, 0 or 1; null where none was given; people see the first repeat
--   cost_usd: US dollars of the judge's calls
with both_orders as (
    select
        run_id,
        task,
        sample_id,
        model,
        other,
        repeat,
        judge,
        strategy,
        min(cluster) as cluster,
        min(lang) as lang,
        min(status) filter (where shown = 'AB') as status_ab,
        min(status) filter (where shown = 'BA') as status_ba,
        min(verdict) filter (where shown = 'AB') as verdict_ab,
        min(verdict) filter (where shown = 'BA') as verdict_ba,
        sum(cost_usd) as cost_usd,
        count(*) as orders
    from stg_judgements
    where shown <> 'alone'
    group by run_id, task, sample_id, model, other, repeat, judge, strategy
),
designed as (
    select
        *,
        max(orders) over (partition by run_id, task, model, other, judge, strategy) = 2 as asks_both
    from both_orders
),
final as (
    select
        p.run_id,
        p.task,
        p.sample_id,
        p.model,
        p.other,
        p.repeat,
        p.judge,
        p.strategy,
        p.cluster,
        p.lang,
        p.status_ab,
        p.status_ba,
        p.verdict_ab,
        p.verdict_ba,
        case
            when p.asks_both then (p.verdict_ab + p.verdict_ba) * 0.5
            else coalesce(p.verdict_ab, p.verdict_ba)
        end as verdict,
        sign(p.verdict_ab) = sign(p.verdict_ba) as is_consistent,
        l.label,
        p.cost_usd
    from designed as p
    left join stg_labels as l
        on l.run_id = p.run_id and l.task = p.task and l.sample_id = p.sample_id
        and l.model = p.model and l.other = p.other and p.repeat = 0
)
select * from final
