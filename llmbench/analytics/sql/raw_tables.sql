-- The tables that JSON lines are loaded into. Scalars stay text and nested values stay JSON, so that a
-- value of the wrong type is still there to be seen; sql/checks/ judges them, sql/staging/ casts them.
create or replace table raw_results (
    file varchar, line_no bigint,
    schema varchar, run_id varchar, task varchar, tier varchar, dataset varchar, lang varchar,
    sample_id varchar, cluster varchar, model varchar, model_id varchar, model_version varchar,
    repeat varchar, status varchar, error_kind varchar, error varchar, score varchar, score_details json,
    prompt varchar, output varchar, target json, finish_reason varchar, latency_ms varchar,
    queued_ms varchar, throttled varchar, ttft_ms varchar, input_tokens varchar, output_tokens varchar,
    cached_tokens varchar, reasoning_tokens varchar, cost_usd varchar, cost_source varchar,
    cpu_s varchar, load json, adjustments json, fingerprint varchar, call_id varchar, timestamp varchar
);
create or replace table raw_ledger (
    file varchar, line_no bigint,
    schema varchar, type varchar, intent_id varchar, fingerprint varchar, cell varchar, run_id varchar, timestamp varchar,
    status varchar, error_kind varchar, latency_ms varchar, input_tokens varchar, output_tokens varchar,
    cost_usd varchar, call_id varchar
);
create or replace table raw_judgements (
    file varchar, line_no bigint,
    schema varchar, run_id varchar, task varchar, sample_id varchar, cluster varchar, lang varchar,
    model varchar, other varchar, repeat varchar, judge varchar, strategy varchar, "order" varchar,
    verdict varchar, score varchar, scores json, asked varchar, unparsable varchar, addresses_judge varchar,
    status varchar, cost_usd varchar, latency_ms varchar, timestamp varchar
);
create or replace table raw_labels (
    file varchar, line_no bigint,
    schema varchar, run_id varchar, task varchar, sample_id varchar, model varchar, other varchar,
    label varchar, timestamp varchar
);
create or replace table file_quarantine (
    file varchar, line_no bigint, byte_offset bigint, reason varchar, raw varchar
);
create or replace table file_loads (
    file varchar, kind varchar, lines bigint, good bigint, quarantined bigint, blank bigint
);
