-- grain: one day of one model behind one provider on one task of one tier, by the kind of media it makes
-- key: day, task, tier, model, provider, kind
-- reads: stg_calls
-- Calls for pictures and speech. A line that does not tell its kind (a failed call's, or one that was loaded before
-- kinds were kept) has the kind of its model's others in the tier; where none tells, the call is not here. Money
-- and time are those of the calls whose pictures or audio are counted, so that each quotient is one of sums that stand
-- beside it and can be summed up further; mart_usage has all money. The time is what the caller waited without the
-- queue of our own limits: failed attempts and waits included.
-- columns:
--   day: date of the call, UTC
--   task: the caller's kind of work
--   tier: tier as routed
--   model: the model that answered, else the last one tried
--   provider: provider name; where the line names none, the one that its model has elsewhere, else '(unknown)'
--   kind: image or speech
--   calls: telemetry lines
--   failures: calls without an answer
--   failure_rate: failures / calls
--   no_media: failures whose answer held no picture or audio
--   content_filter: failures that a filter stopped
--   counted: answers whose pictures or audio are counted
--   images: pictures that came; null of speech
--   audio_s: audio that came, seconds; null of pictures
--   spoken_characters: text that was spoken, characters; null where unknown
--   cost_usd: sum of known costs, US dollars; null where none is known
--   priced: counted answers whose cost is known
--   priced_images: pictures of these
--   priced_audio_s: audio of these, seconds
--   cost_per_image_usd: cost_usd / priced_images
--   cost_per_minute_usd: cost_usd for a minute of priced_audio_s
--   work_ms: time until the answers were there, milliseconds
--   timed_images: pictures of the answers whose time is known
--   timed_audio_s: audio of these, seconds
--   ms_per_image: work_ms / timed_images
--   real_time_factor: seconds of work for one second of audio: work_ms / 1000 / timed_audio_s
with told as (
    select tier, last_model, max(media_kind) as kind
    from stg_calls
    where media_kind is not null
    group by all
),
served as (
    select last_model, max(provider) as provider
    from stg_calls
    where provider is not null and last_model in (select told.last_model from told)
    group by all
),
placed as (
    select
        c.*,
        coalesce(c.media_kind, t.kind) as kind,
        coalesce(c.provider, s.provider, '(unknown)') as served_by
    from stg_calls as c
    join told as t on t.tier = c.tier and t.last_model = c.last_model
    left join served as s on s.last_model = c.last_model
),
made as (
    select
        *,
        case when kind = 'image' then images when kind = 'speech' then audio_s end is not null
            and not is_failure as is_counted
    from placed
),
counted as (
    select
        called_at::date as day,
        task,
        tier,
        last_model as model,
        served_by as provider,
        kind,
        is_failure,
        error_kind,
        is_counted,
        case when is_counted and kind = 'image' then images end as images,
        case when is_counted and kind = 'speech' then audio_s end as audio_s,
        case when is_counted then spoken_characters end as spoken_characters,
        case when is_counted then cost_usd end as cost_usd,
        case when is_counted then latency_ms - least(latency_ms, coalesce(queued_ms, 0)) end as work_ms
    from made
),
summed as (
    select
        day,
        task,
        tier,
        model,
        provider,
        kind,
        count(*) as calls,
        count(*) filter (where is_failure) as failures,
        count(*) filter (where is_failure and error_kind = 'no_media') as no_media,
        count(*) filter (where is_failure and error_kind = 'content_filter') as content_filter,
        count(*) filter (where is_counted) as counted,
        sum(images)::bigint as images,
        sum(audio_s) as audio_s,
        sum(spoken_characters)::bigint as spoken_characters,
        sum(cost_usd) as cost_usd,
        count(cost_usd) as priced,
        sum(images) filter (where cost_usd is not null)::bigint as priced_images,
        sum(audio_s) filter (where cost_usd is not null) as priced_audio_s,
        sum(work_ms) as work_ms,
        sum(images) filter (where work_ms is not null)::bigint as timed_images,
        sum(audio_s) filter (where work_ms is not null) as timed_audio_s
    from counted
    group by all
),
final as (
    select
        day,
        task,
        tier,
        model,
        provider,
        kind,
        calls,
        failures,
        failures / nullif(calls, 0) as failure_rate,
        no_media,
        content_filter,
        counted,
        images,
        audio_s,
        spoken_characters,
        cost_usd,
        priced,
        priced_images,
        priced_audio_s,
        cost_usd / nullif(priced_images, 0) as cost_per_image_usd,
        60 * cost_usd / nullif(priced_audio_s, 0) as cost_per_minute_usd,
        work_ms,
        timed_images,
        timed_audio_s,
        work_ms / nullif(timed_images, 0) as ms_per_image,
        work_ms / 1000 / nullif(timed_audio_s, 0) as real_time_factor
    from summed
)
select * from final
