-- For callers of the protocol: a message of a claim that cannot even be read, or whose outcome
-- complete_sends() does not take: a later tick() records it.
--
-- raises  ZD106 unknown execution, ZD201 unknown stage or malformed result, ZD401 stale fence
create or replace function dripdrop.note_fault(
  execution_id uuid,
  stage text,
  sqlstate text,
  message text,
  result jsonb default null
)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_results dripdrop._send_result[];
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
  if result is not null then
    v_results := dripdrop._read_results(
      jsonb_build_array(result || jsonb_build_object('execution', execution_id))
    );
    perform dripdrop._check_fences(v_results);
  end if;
  perform dripdrop._note_fault(
    execution_id, stage,
    case when sqlstate ~ '^[0-9A-Z]{5}$' and sqlstate <> '00000' then sqlstate else 'XX000' end,
    coalesce(message, ''), dripdrop._now(), to_jsonb(v_results[1])
  );
end
$$;

comment on function dripdrop.note_fault(uuid, text, text, text, jsonb) is
  'Leaves a message that a stage could not deal with out of all claims for a while: a minute, '
  'doubled each time, to an hour. explain() shows it. result: its outcome, as complete_sends() '
  'takes it, which is recorded then.';
