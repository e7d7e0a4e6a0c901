-- grain: one judge with one strategy on one task of one run, over all that it was asked about
-- key: run_id, task, judge, strategy
-- reads: mart_preferences, stg_judgements
-- The figures LLMBar publishes. An answer is right where its sign is the person's label; an answer without a
-- verdict, unparsable or failed, is not right. A rubric's judge has no pairs. Shares are 0..1, and null where there is nothing to count.
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
--   tie_share: share of the judge's verdicts that are a tie
--   first_share: share of the verdicts other than ties that prefer the answer shown first; 0.5 is no bias where
--     both orders are asked
--   first_low: lower limit of its 95 % interval (Wilson 1927), verdicts taken as independent
--   first_high: upper limit
--   answers: answers that got points by a rubric
--   mean_score: their mean, 0..1
--   unparsable_share: share of the questions that ended without a readable verdict
--   unparsable_replies: replies without a readable verdict, those included that a second one mended
--   error_share: share of the questions whose call failed
--   addressed: questions with an answer that speaks to its judge
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
        avg(is_consistent::integer) as consistency
    from marked
    group by run_id, task, judge, strategy
),
asked as (
    select
        run_id,
        task,
        judge,
        strategy,
        avg((verdict = 0)::integer) as tie_share,
        count(*) filter (where verdict <> 0) as decided,
        avg((case shown when 'AB' then verdict else -verdict end > 0)::integer) filter (where verdict <> 0)
            as first_share,
        count(score) as answers,
        avg(score) as mean_score,
        avg((status = 'unparsable')::integer) as unparsable_share,
        sum(unparsable_replies) as unparsable_replies,
        avg((status = 'error')::integer) as error_share,
        count(*) filter (where addresses_judge) as addressed,
        sum(cost_usd) as cost_usd
    from stg_judgements
    group by run_id, task, judge, strategy
),
bounded as (
    select
        *,
        (first_share + 1.920729 / nullif(decided, 0)) / nullif(1 + 3.841459 / nullif(decided, 0), 0) as middle,
        1.959964 * sqrt(
            first_share * (1 - first_share) / nullif(decided, 0) + 0.960365 / nullif(decided * decided, 0))
            / nullif(1 + 3.841459 / nullif(decided, 0), 0) as half
    from asked
),
final as (
    select
        b.run_id,
        b.task,
        b.judge,
        b.strategy,
        coalesce(c.pairs, 0) as pairs,
        coalesce(c.parsed_both, 0) as parsed_both,
        coalesce(c.labelled, 0) as labelled,
        c.accuracy_ab,
        c.accuracy_ba,
        coalesce((c.accuracy_ab + c.accuracy_ba) * 0.5, c.accuracy_ab, c.accuracy_ba) as accuracy,
        c.accuracy_both,
        c.agreement,
        c.consistency,
        b.tie_share,
        b.first_share,
        case when b.decided > 0 then greatest(b.middle - b.half, 0) end as first_low,
        case when b.decided > 0 then least(b.middle + b.half, 1) end as first_high,
        b.answers,
        b.mean_score,
        b.unparsable_share,
        b.unparsable_replies,
        b.error_share,
        b.addressed,
        b.cost_usd
    from bounded as b
    left join counted as c
        on c.run_id = b.run_id and c.task = b.task and c.judge = b.judge and c.strategy = b.strategy
)
select * from final
