-- grain: one scored row: a run's task x sample x model x repeat
-- key: run_id, task, sample_id, model, repeat
-- reads: raw_results
-- columns:
--   file: the results.jsonl it came from
--   line_no: 1-based line in that file
--   run_id: the run
--   task: the caller's kind of work
--   tier: tier of the task when measured
--   dataset: dataset name
--   lang: language of the sample, 'und' when unnamed
--   sample_id: sample in the dataset
--   cluster: unit of independence; the sample itself when unnamed
--   model: model key
--   model_id: the provider's name of the model
--   model_version: version as resolved when measured
--   repeat: 0-based repeat
--   status: ok, error, timeout or harness
--   error_kind: one word of the shared vocabulary, null when ok
--   error: error text
--   score: 0..1; a failure counts 0, a pending row is null
--   is_pending: true where the row is to be run again and says nothing about the model
--   is_failure: true where the model failed
--   score_details: rule -> score, JSON
--   prompt: last user message
--   output: the model's answer
--   target: the expected answer, JSON strings unquoted
--   finish_reason: why the model stopped
--   latency_ms: from send to last byte, milliseconds
--   queued_ms: waited before the send, milliseconds
--   is_throttled: true where a rate limit held the call back; null where unnamed
--   ttft_ms: to the first token, milliseconds
--   input_tokens: tokens sent
--   output_tokens: tokens received
--   cached_tokens: input tokens served from a cache
--   reasoning_tokens: tokens spent thinking
--   cost_usd: US dollars of the call
--   cost_source: where the price came from
--   cpu_s: CPU seconds of a local model's process
--   loadavg1: load average of the machine over one minute
--   cpu_some_avg10: share of ten seconds in which some process waited for a CPU, percent
--   adjustments: parameters not sent verbatim, JSON
--   fingerprint: hash of what was sent
--   call_id: the call in the telemetry
--   called_at: UTC
with typed as (
    select
        file,
        line_no,
        run_id,
        task,
        tier,
        dataset,
        coalesce(nullif(lang, ''), 'und') as lang,
        sample_id,
        coalesce(cluster, sample_id) as cluster,
        model,
        model_id,
        model_version,
        coalesce(try_cast(repeat as integer), 0) as repeat,
        status,
        error_kind,
        error,
        case
            when status = 'harness' then null
            when status = 'ok' then try_cast(score as double)
            else 0.0::double
        end as score,
        status = 'harness' as is_pending,
        status in ('error', 'timeout') as is_failure,
        score_details,
        prompt,
        output,
        target ->> '$' as target,
        finish_reason,
        try_cast(latency_ms as double) as latency_ms,
        try_cast(queued_ms as double) as queued_ms,
        try_cast(throttled as boolean) as is_throttled,
        try_cast(ttft_ms as double) as ttft_ms,
        try_cast(input_tokens as bigint) as input_tokens,
        try_cast(output_tokens as bigint) as output_tokens,
        try_cast(cached_tokens as bigint) as cached_tokens,
        try_cast(reasoning_tokens as bigint) as reasoning_tokens,
        try_cast(cost_usd as double) as cost_usd,
        cost_source,
        try_cast(cpu_s as double) as cpu_s,
        try_cast(load ->> 'loadavg1' as double) as loadavg1,
        try_cast(load ->> 'cpu_some_avg10' as double) as cpu_some_avg10,
        adjustments,
        fingerprint,
        call_id,
        try_cast(timestamp as timestamptz) at time zone 'UTC' as called_at
    from raw_results
),
final as (
    select * from typed
)
select * from final
