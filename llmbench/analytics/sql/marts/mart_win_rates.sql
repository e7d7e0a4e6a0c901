-- grain: one model against another on one task of one run, as one judge sees it
-- key: run_id, task, model, other, judge, strategy
-- reads: mart_preferences
-- The figures AlpacaEval publishes: a verdict counts as the share (verdict + 1) / 2 of a win.
-- columns:
--   run_id: the run
--   task: the caller's kind of work
--   model: the candidate
--   other: the model it is compared with
--   judge: model key of the judge
--   strategy: how the judge was asked
--   pairs: pairs the judge was asked about
--   n: pairs with a verdict; the figures below are over these
--   win_rate: 100 times the mean share of a win; 50 is level
--   standard_error: of win_rate, pairs taken as independent; null below two pairs
--   wins: pairs with a verdict above 0
--   losses: pairs with a verdict below 0
--   ties: pairs with a verdict of 0
with won as (
    select *, (verdict + 1) * 0.5 as won_share from mart_preferences
),
final as (
    select
        run_id,
        task,
        model,
        other,
        judge,
        strategy,
        count(*) as pairs,
        count(verdict) as n,
        100 * avg(won_share) as win_rate,
        100 * stddev_samp(won_share) / nullif(sqrt(count(verdict)), 0) as standard_error,
        count(*) filter (where verdict > 0) as wins,
        count(*) filter (where verdict < 0) as losses,
        count(*) filter (where verdict = 0) as ties
    from won
    group by run_id, task, model, other, judge, strategy
)
select * from final
