-- grain: one pair of answers that a person compared without knowing whose they are; the last label counts
-- key: run_id, task, sample_id, model, other
-- reads: raw_labels
-- columns:
--   file: the labels.jsonl it came from
--   line_no: 1-based line of the label that counts
--   run_id: the run
--   task: the caller's kind of work
--   sample_id: sample in the dataset
--   model: the candidate
--   other: the model it is compared with
--   label: 1 where the candidate is better, 0 for no difference, -1 where the other is better
--   times_labelled: labels given, changed ones included
--   labelled_at: UTC
with numbered as (
    select
        *,
        row_number() over (
            partition by run_id, task, sample_id, model, other order by line_no desc) as age,
        count(*) over (partition by run_id, task, sample_id, model, other) as times_labelled
    from raw_labels
),
final as (
    select
        file,
        line_no,
        run_id,
        task,
        sample_id,
        model,
        other,
        try_cast(try_cast(label as double) as integer) as label,
        times_labelled,
        try_cast(timestamp as timestamptz) at time zone 'UTC' as labelled_at
    from numbered
    where age = 1
)
select * from final
