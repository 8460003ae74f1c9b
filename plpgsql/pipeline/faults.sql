-- For callers of the protocol: a message of a claim that cannot even be read.
--
-- raises  ZD106 unknown execution, ZD201 unknown stage
create or replace function dripdrop.note_fault(
  execution_id uuid,
  stage text,
  sqlstate text,
  message text
)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if stage is null or stage not in ('hooks', 'render', 'send', 'record') then
    raise exception 'stage % is unknown', dripdrop._quoted(stage) using
      errcode = 'ZD201', column = 'stage', hint = 'Use hooks, render, send or record.';
  end if;
  if not exists (
    select from dripdrop.step_executions as x where x.id = note_fault.execution_id
  ) then
    raise exception 'execution "%" not found', execution_id using
      errcode = 'ZD106', hint = 'Pass the execution_id of a claim.';
  end if;
  perform dripdrop._note_fault(
    execution_id, stage,
    case when sqlstate ~ '^[0-9A-Z]{5}$' and sqlstate <> '00000' then sqlstate else 'XX000' end,
    coalesce(message, ''), dripdrop._now()
  );
end
$$;

comment on function dripdrop.note_fault(uuid, text, text, text) is
  'Leaves a message that a stage could not deal with out of all claims for a while: a minute, '
  'doubled each time, to an hour. explain() shows it.';
