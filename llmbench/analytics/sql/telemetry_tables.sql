-- What telemetry is loaded into. A store on disk keeps these tables; without one they live in memory.
create table if not exists loaded_calls (
    call_id varchar, called_at timestamp, status varchar, task varchar, tier varchar, channel varchar,
    env varchar, slot varchar, model varchar, model_id varchar, model_version varchar, provider varchar,
    chain varchar[], hops integer, last_model varchar, reason varchar,
    latency_ms double, ttft_ms double, queued_ms double,
    input_tokens bigint, output_tokens bigint, cached_tokens bigint, reasoning_tokens bigint,
    cost_usd double, cost_source varchar, wasted_ms double, wasted_cost_usd double, cpu_s double,
    finish_reason varchar, request_id varchar, error varchar, error_class varchar, error_kind varchar,
    status_code integer,
    attempts struct(
        model varchar, error_kind varchar, status_code integer, error varchar,
        latency_ms double, waited_ms double, queued_ms double, cost_usd double)[],
    adjustments struct(param varchar, "action" varchar, "from" json, "to" json, "rule" varchar)[],
    routing_key varchar, config_hash varchar, prompt_sha256 varchar, run_id varchar, cell varchar,
    dropped_before bigint, file_no integer, block_no integer,
    rollout struct("name" varchar, "mode" varchar, arm varchar, "of" varchar, models varchar[], dropped_before bigint),
    media struct(
        modality varchar, images uinteger, width uinteger, height uinteger, duration_s double, characters uinteger)
);
alter table loaded_calls add column if not exists rollout -- of a store that was made before there were any
    struct("name" varchar, "mode" varchar, arm varchar, "of" varchar, models varchar[], dropped_before bigint);
alter table loaded_calls add column if not exists media -- likewise
    struct(
        modality varchar, images uinteger, width uinteger, height uinteger, duration_s double, characters uinteger);
-- A file is known by the hash of its beginning and of the bytes before `taken_to`, whatever it is called now.
-- Offsets count bytes of the text, after decompression.
create table if not exists log_files (
    file_no integer, file varchar, device bigint, inode bigint,
    head_bytes integer, head_sha256 varchar, tail_bytes integer, tail_sha256 varchar,
    taken_to bigint, line_count bigint, call_count bigint, blank_count bigint, block_count integer
);
-- Files as they lay on the disk when they were read last: what has not changed is not opened again.
create table if not exists log_seen (device bigint, inode bigint, size bigint, mtime_ns bigint);
create table if not exists log_quarantine (
    file_no integer, line_no bigint, byte_offset bigint, reason varchar, raw varchar
);
-- Days that are being moved to an archive (archive.py): a row stands here while a day may be in both places.
create table if not exists archiving (day date, file varchar, folder varchar);
alter table archiving add column if not exists folder varchar; -- of a store that was made before it was noted
-- What the config says today, given when a warehouse is opened: prices per million tokens, and limits.
create or replace temp table candidate_prices (
    tier varchar, model varchar, input_usd double, cached_input_usd double, output_usd double,
    reasoning_usd double, source varchar, as_of varchar
);
create or replace temp table budget_limits (scope varchar, limit_usd double);
-- The time that a line names, UTC: ISO 8601, or seconds, milliseconds, microseconds or nanoseconds since 1970; null
-- where it cannot be read or lies outside of 2000 to 2099.
create or replace temp macro time_of(stamp) as coalesce(
    make_timestamp(case
        when try_cast(stamp as timestamptz) >= timestamptz '2000-01-01 00:00:00+00'
            and try_cast(stamp as timestamptz) < timestamptz '2100-01-01 00:00:00+00'
            then epoch_us(try_cast(stamp as timestamptz))
    end),
    make_timestamp(case
        when try_cast(stamp as double) >= 946684800e9 and try_cast(stamp as double) < 4102444800e9
            then try_cast(try_cast(stamp as double) / 1000 as bigint)
        when try_cast(stamp as double) >= 946684800e6 and try_cast(stamp as double) < 4102444800e6
            then try_cast(try_cast(stamp as double) as bigint)
        when try_cast(stamp as double) >= 946684800e3 and try_cast(stamp as double) < 4102444800e3
            then try_cast(try_cast(stamp as double) * 1000 as bigint)
        when try_cast(stamp as double) >= 946684800 and try_cast(stamp as double) < 4102444800
            then try_cast(try_cast(stamp as double) * 1000000 as bigint)
    end)
);
-- A time that a call can have; as `time_of` has it, also for a time that was not read by it.
create or replace temp macro is_time_of_call(called_at) as
    coalesce(called_at >= timestamp '2000-01-01' and called_at < timestamp '2100-01-01', false);
create or replace temp macro is_figure(x) as coalesce(isfinite(x) and x >= 0, true);
-- The calls of a table that no line can stand for: without a task or a time, or with a figure that is none.
create or replace temp macro unsound_calls(calls) as table
    select * from query_table(calls)
    where task is null
        or not is_time_of_call(called_at)
        or least(input_tokens, output_tokens, cached_tokens, reasoning_tokens, dropped_before) < 0
        or not is_figure(latency_ms)
        or not is_figure(ttft_ms)
        or not is_figure(queued_ms)
        or not is_figure(cost_usd)
        or not is_figure(wasted_ms)
        or not is_figure(wasted_cost_usd)
        or not is_figure(cpu_s);
-- One sound line, of today's and of older writers: the types that a block is read with.
create or replace temp table telemetry_line (
    schema varchar, status varchar, timestamp varchar, ts varchar, call_id varchar, task varchar, tier varchar,
    channel varchar, env varchar, slot varchar, model varchar, selected_model varchar, model_id varchar,
    model_version varchar, provider varchar, fallback_chain varchar[], chain varchar[], reason varchar,
    latency_ms double, ttft_ms double, queued_ms double,
    usage struct(
        input_tokens bigint, output_tokens bigint, cached_tokens bigint, reasoning_tokens bigint,
        prompt_tokens bigint, completion_tokens bigint),
    cost_usd double, cost_source varchar, wasted_ms double, wasted_cost_usd double, cpu_s double,
    finish_reason varchar, request_id varchar, error varchar, error_class varchar, error_kind varchar,
    status_code integer,
    attempts struct(
        model varchar, error_kind varchar, status_code integer, error varchar,
        latency_ms double, waited_ms double, queued_ms double, cost_usd double)[],
    adjustments struct(param varchar, "action" varchar, "from" json, "to" json, "rule" varchar)[],
    routing_key varchar, config_hash varchar, prompt_sha256 varchar, run_id varchar, cell varchar,
    dropped_before bigint,
    rollout struct("name" varchar, "mode" varchar, arm varchar, "of" varchar, models varchar[], dropped_before bigint),
    media struct(
        modality varchar, images uinteger, width uinteger, height uinteger, duration_s double, characters uinteger)
);
-- The lines of a block that is read line by line, as the calls that they would be, and what keeps them from being ones.
create or replace temp table spelled_calls as
select 0::bigint as n, null::varchar as fault, * from loaded_calls limit 0;
