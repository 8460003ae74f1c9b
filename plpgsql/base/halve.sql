-- Calls one of our functions (uuid[], timestamptz) for a batch, and where that raises for its
-- halves: the row at fault is left out for a while, the others go on. What is left when a
-- statement is cut off is for the next one.
--
-- raises  ZD120 a queue does not exist
create or replace function dripdrop._halved(
  callee text,
  executions uuid[],
  stage text,
  at timestamptz
)
returns int
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_half int := cardinality(executions) / 2;
  v_most int := dripdrop._most_together(executions);
begin
  if cardinality(executions) = 0 or dripdrop._is_cut_off() then
    return 0;
  elsif cardinality(executions) > v_most then
    return dripdrop._halved(callee, executions[:v_half], stage, at)
      + dripdrop._halved(callee, executions[v_half + 1:], stage, at);
  end if;
  begin
    execute format('select dripdrop.%I($1, $2)', callee) using executions, at;
    perform dripdrop._check_written('{}');
    perform dripdrop._forget_slow(executions) where v_most is not null;
    return cardinality(executions);
  exception
    when query_canceled then
      perform dripdrop._note_slow(executions, stage, sqlerrm, at);
      return 0;
    when others or assert_failure then
      if v_half = 0 then
        perform dripdrop._note_fault(executions[1], stage, sqlstate, sqlerrm, at);
        return 0;
      end if;
      return dripdrop._halved(callee, executions[:v_half], stage, at)
        + dripdrop._halved(callee, executions[v_half + 1:], stage, at);
  end;
end
$$;

comment on function dripdrop._halved(text, uuid[], text, timestamptz) is
  'Does something to executions, but for those to which it cannot be done; returns to how many.';

-- A statement is cut off once: what it begins afterwards has no time limit any more. So it begins
-- nothing more; the next call of a stage begins anew.
create or replace function dripdrop._cut_off(state text default 'on')
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  select set_config('dripdrop.cut_off', state, true)
$$;

comment on function dripdrop._cut_off(text) is
  'Notes that the statement was cut off, by its statement_timeout or by somebody: on; or that one '
  'begins: off.';

create or replace function dripdrop._is_cut_off()
returns boolean
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(current_setting('dripdrop.cut_off', true) = 'on', false)
$$;

comment on function dripdrop._is_cut_off() is
  'Whether the statement is to begin nothing more, because it was cut off.';

create or replace function dripdrop._most_together(executions uuid[])
returns int
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select min(f.together) from dripdrop.faults as f where f.execution_id = any (executions)
$$;

comment on function dripdrop._most_together(uuid[]) is
  'How many of these may be dealt with at once; null when all.';

-- A statement that is cut off cannot try the halves of its batch: there would be no limit to them.
-- The next ones deal with an eighth of it at a time, until only the row at fault is left.
create or replace function dripdrop._note_slow(
  executions uuid[],
  stage text,
  message text,
  at timestamptz,
  results jsonb[] default null
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform dripdrop._cut_off();
  if cardinality(executions) = 1 then
    perform dripdrop._note_fault(executions[1], stage, '57014', message, at, results[1]);
  end if;
  insert into dripdrop.faults as f (
    execution_id, stage, sqlstate, message, attempts, result, first_at, at, until, together
  )
  select distinct on (u.id)
    u.id, _note_slow.stage, '57014', left(_note_slow.message, 500), 0, u.result, _note_slow.at,
    _note_slow.at, _note_slow.at, (cardinality(executions) + 7) / 8
  from unnest(executions, results) as u (id, result)
  where u.id is not null
  order by u.id
  on conflict on constraint faults_pkey do update
  set together = excluded.together,
      result = coalesce(excluded.result, f.result);
end
$$;

comment on function dripdrop._note_slow(uuid[], text, text, timestamptz, jsonb[]) is
  'Has fewer rows dealt with at once, of those on whom a statement was cut off; leaves out one '
  'alone for a while.';

create or replace function dripdrop._forget_slow(executions uuid[])
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  delete from dripdrop.faults as f
  where f.execution_id = any (executions) and f.together is not null and f.result is null
$$;

comment on function dripdrop._forget_slow(uuid[]) is
  'Lets rows be dealt with together again.';

-- raises  09000
create or replace function dripdrop._check_kept(kept uuid[])
returns void
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if cardinality(kept) > 0 then
    raise exception 'a trigger has kept it as it is' using
      errcode = '09000',
      hint = 'A trigger before update that returns null hides the row from the engine.';
  end if;
end
$$;

comment on function dripdrop._check_kept(uuid[]) is 'Raises if any rows were kept as they are.';

-- The last thing that is done for a batch: what the application's own triggers and constraints have
-- to say is said now, and not to the commit, which nobody can halve. The engine has such triggers
-- only on what stops messages.
--
-- raises  09000 a trigger keeps a row as it is, without a word; whatever a trigger raises
create or replace function dripdrop._check_written(kept uuid[])
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform dripdrop._check_kept(kept);
  set constraints all immediate;
end
$$;

comment on function dripdrop._check_written(uuid[]) is
  'Raises if any rows were kept as they are, or break a constraint that is deferred.';

-- The pause grows with each failure, from a minute to an hour; what was only locked is looked at
-- again in a second. The warning goes to the client's log, once per row until it gets through.
--
-- raises  ZD120 the fault is that a queue does not exist, which is no row's
create or replace function dripdrop._note_fault(
  execution_id uuid,
  stage text,
  sqlstate text,
  message text,
  at timestamptz,
  result jsonb default null
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_locked boolean := _note_fault.sqlstate = '55P03';
  v_attempts int;
begin
  if _note_fault.sqlstate = 'ZD120' then
    perform dripdrop._check_queues();
  end if;
  insert into dripdrop.faults as f (
    execution_id, stage, sqlstate, message, result, first_at, at, until
  )
  values (
    _note_fault.execution_id, _note_fault.stage, _note_fault.sqlstate,
    left(_note_fault.message, 500), _note_fault.result, _note_fault.at, _note_fault.at,
    _note_fault.at + case when v_locked then interval '1 second' else interval '1 minute' end
  )
  on conflict on constraint faults_pkey do update
  set stage = excluded.stage,
      sqlstate = excluded.sqlstate,
      message = excluded.message,
      result = coalesce(excluded.result, f.result),
      attempts = f.attempts + 1,
      at = excluded.at,
      until = excluded.at + case
        when v_locked then interval '1 second'
        else least(interval '1 minute' * power(2, least(f.attempts, 10)), interval '1 hour')
      end
  returning f.attempts into v_attempts;
  if v_attempts = 1 and not v_locked then
    raise warning 'message "%" is held: %', execution_id, left(message, 200) using
      errcode = _note_fault.sqlstate,
      detail = 'stage ' || stage,
      hint = 'explain() shows it; it is tried again by itself, after growing pauses.';
  end if;
end
$$;

comment on function dripdrop._note_fault(uuid, text, text, text, timestamptz, jsonb) is
  'Leaves a row out of the stages for a while, because one of them could not deal with it.';
