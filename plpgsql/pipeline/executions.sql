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
      queued>rendered, queued>scheduled, queued>cancelled, queued>failed,
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

create or replace function dripdrop._check_batch_size(batch_size int)
returns void
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if coalesce(batch_size not between 1 and 100000, true) then
    raise exception 'batch_size % is not from 1 to 100000', batch_size using
      errcode = 'ZD201', column = 'batch_size', hint = 'Leave it out for a sensible size.';
  end if;
end
$$;

comment on function dripdrop._check_batch_size(int) is
  'Raises ZD201 on a batch of nothing or of everything.';

-- Pointers into a queue: {"execution": id, "fence": n}. A pointer whose fence is not the row's is
-- worthless and is thrown away by whoever reads it, so a queue may hold too many pointers, and
-- reconcile() mends one that holds too few.
--
-- raises  ZD120 the queue does not exist
create or replace function dripdrop._enqueue(queue text, pointers jsonb[])
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set standard_conforming_strings = on
as $$
begin
  if cardinality(pointers) > 0 then
    perform pgmq.send_batch(queue, pointers);
  end if;
exception
  when undefined_table or invalid_schema_name or undefined_function then
    raise exception 'queue "%" does not exist', queue using
      errcode = 'ZD120', hint = 'select * from dripdrop.start() creates the queues.';
end
$$;

comment on function dripdrop._enqueue(text, jsonb[]) is
  'Sends pointers to a queue; an empty list sends nothing.';

-- The sender and the tenant are in it, so that a claim finds what it has room for.
create or replace function dripdrop._pointer(execution dripdrop.step_executions)
returns jsonb
language sql
stable
return jsonb_build_object(
  'execution', (execution).id,
  'fence', (execution).fence,
  'sender', (execution).adapter_id,
  'tenant', (execution).tenant_key
);

comment on function dripdrop._pointer(dripdrop.step_executions) is
  'The pointer to a rendered execution, as the send queues hold it.';

-- The send queues of what has a payload, one per channel.
create or replace function dripdrop._enqueue_rendered(executions uuid[])
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
set enable_hashjoin = off
set enable_mergejoin = off
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
