-- grain: one line that is no record
-- key: file, byte_offset
-- reads: file_quarantine, all_log_quarantine, all_log_files
-- columns:
--   file: the file, under its present name
--   line_no: 1-based line in that file
--   byte_offset: where the line begins, bytes of the text
--   reason: what is wrong with it
--   raw: its text
with final as (
    select file, line_no, byte_offset, reason, raw from file_quarantine
    union all
    select
        f.file,
        q.line_no,
        q.byte_offset,
        q.reason,
        q.raw
    from all_log_quarantine as q
    join all_log_files as f using (file_no)
)
select * from final
