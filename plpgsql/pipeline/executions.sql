-- The legal moves of an execution, whoever makes them. The rule is the trigger's condition, so that
-- a legal move costs no function call.
create or replace function dripdrop._refuse_execution_move()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  raise exception 'an execution cannot go from "%" to "%"', old.state, new.state using
    errcode = 'ZD110',
    hint = 'The comment on step_executions.state and the concepts page show the moves.';
end
$$;

comment on function dripdrop._refuse_execution_move() is
  'Trigger: raises ZD110 on an illegal move.';

create or replace trigger step_executions_legal_moves
before update of state on dripdrop.step_executions
for each row
when (
  old.state <> new.state
  and old.state || '>' || new.state <> all(
    '{
      scheduled>queued, scheduled>rendered, scheduled>skipped, scheduled>cancelled,
      scheduled>failed,
      queued>rendered, queued>sending, queued>scheduled, queued>cancelled, queued>failed,
      rendered>sending, rendered>scheduled, rendered>cancelled,
      sending>sent, sending>failed, sending>scheduled, sending>unknown, sending>cancelled,
      unknown>sent, unknown>failed, unknown>scheduled, unknown>cancelled,
      failed>scheduled
    }'::text[]
  )
)
execute function dripdrop._refuse_execution_move();

create or replace function dripdrop._refuse_execution_start()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  raise exception 'an execution cannot begin as "%"', new.state using
    errcode = 'ZD110', hint = 'It begins as scheduled.';
end
$$;

comment on function dripdrop._refuse_execution_start() is
  'Trigger: raises ZD110 on an illegal first state.';

create or replace trigger step_executions_start_scheduled
before insert on dripdrop.step_executions
for each row
when (new.state <> 'scheduled')
execute function dripdrop._refuse_execution_start();

-- The send queues of what has a payload, one per channel.
create or replace function dripdrop._enqueue_rendered(executions uuid[])
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform dripdrop._enqueue('dripdrop_send_' || pointer.channel, pointer.all)
  from (
    select x.channel, array_agg(dripdrop._pointer(x) order by x.id) as all
    from dripdrop.step_executions as x
    where x.id = any (executions)
    group by x.channel
  ) as pointer;
end
$$;

comment on function dripdrop._enqueue_rendered(uuid[]) is
  'Sends pointers to rendered executions to the queues of their channels.';
