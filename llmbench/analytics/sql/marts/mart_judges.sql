-- grain: one judge with one strategy on one task of one run, over every pair it was asked about
-- key: run_id, task, judge, strategy
-- reads: mart_preferences
-- The figures LLMBar publishes. An answer is right where its sign is the person's label; an answer without a
-- verdict, unparsable or failed, is not right. Shares are 0..1, and null where there is nothing to count.
-- columns:
--   run_id: the run
--   task: the caller's kind of work
--   judge: model key of the judge
--   strategy: how the judge was asked
--   pairs: pairs the judge was asked about
--   parsed_both: pairs with a verdict in both orders
--   labelled: pairs that a person labelled
--   accuracy_ab: share of labelled pairs judged right with the candidate shown first, of those asked so
--   accuracy_ba: the same with the candidate shown second
--   accuracy: mean of the two; the one where only one order was asked
--   accuracy_both: share of labelled pairs asked in both orders that are right in both
--   agreement: share of pairs asked in both orders with one outcome twice, two unparsable replies included
--   consistency: share of parsed_both that say the same in both orders
--   unparsable_share: share of the judge's calls that gave no readable verdict
--   error_share: share of the judge's calls that failed
--   cost_usd: US dollars of the judge's calls
with marked as (
    select
        *,
        status_ab is not null and status_ba is not null as is_asked_twice,
        coalesce(is_consistent, status_ab = 'unparsable' and status_ba = 'unparsable') as is_same,
        case when status_ab is not null then coalesce(sign(verdict_ab) = label, false) end as fits_ab,
        case when status_ba is not null then coalesce(sign(verdict_ba) = label, false) end as fits_ba
    from mart_preferences
),
counted as (
    select
        run_id,
        task,
        judge,
        strategy,
        count(*) as pairs,
        count(is_consistent) as parsed_both,
        count(label) as labelled,
        avg(fits_ab::integer) filter (where label is not null) as accuracy_ab,
        avg(fits_ba::integer) filter (where label is not null) as accuracy_ba,
        avg((fits_ab and fits_ba)::integer) filter (where label is not null and is_asked_twice)
            as accuracy_both,
        avg(coalesce(is_same, false)::integer) filter (where is_asked_twice) as agreement,
        avg(is_consistent::integer) as consistency,
        count(status_ab) + count(status_ba) as calls,
        count(*) filter (where status_ab = 'unparsable') + count(*) filter (where status_ba = 'unparsable')
            as unparsable,
        count(*) filter (where status_ab = 'error') + count(*) filter (where status_ba = 'error') as errors,
        sum(cost_usd) as cost_usd
    from marked
    group by run_id, task, judge, strategy
),
final as (
    select
        run_id,
        task,
        judge,
        strategy,
        pairs,
        parsed_both,
        labelled,
        accuracy_ab,
        accuracy_ba,
        coalesce((accuracy_ab + accuracy_ba) * 0.5, accuracy_ab, accuracy_ba) as accuracy,
        accuracy_both,
        agreement,
        consistency,
        unparsable / nullif(calls, 0) as unparsable_share,
        errors / nullif(calls, 0) as error_share,
        cost_usd
    from counted
)
select * from final
