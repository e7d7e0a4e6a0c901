-- grain: one file that was loaded
-- key: file, kind
-- reads: file_loads, all_log_files, all_log_quarantine
-- columns:
--   file: the file, under its present name
--   kind: results, ledger, telemetry, judgements or labels
--   lines: lines in it, blank ones included
--   good: lines that became rows
--   quarantined: lines that are no records
--   blank: blank lines
with kept_apart as (
    select file_no, count(*) as quarantined from all_log_quarantine group by file_no
),
final as (
    select file, kind, lines, good, quarantined, blank from file_loads
    union all
    select
        f.file,
        'telemetry' as kind,
        f.call_count + coalesce(k.quarantined, 0) + f.blank_count as lines,
        f.call_count as good,
        coalesce(k.quarantined, 0) as quarantined,
        f.blank_count as blank
    from all_log_files as f
    left join kept_apart as k using (file_no)
)
select * from final
