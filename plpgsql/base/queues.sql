-- The queues, and which state each one's pointers are for. What waits for its hooks comes due
-- again by itself: its pointers need not be found.
create or replace function dripdrop._queues()
returns table (queue text, for_state text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select 'dripdrop_hooks', null
  union all
  select 'dripdrop_render', 'queued'
  union all
  select distinct 'dripdrop_send_' || p.channel, 'rendered'
  from dripdrop.providers as p
$$;

comment on function dripdrop._queues() is 'The names of the queues.';

-- raises  ZD120
create or replace function dripdrop._check_queues()
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_missing text := (
    select min(q.queue)
    from dripdrop._queues() as q
    where to_regclass(format('pgmq.%I', 'q_' || q.queue)) is null
  );
begin
  if v_missing is not null then
    raise exception 'queue "%" does not exist', v_missing using
      errcode = 'ZD120', hint = 'select * from dripdrop.start() creates the queues.';
  end if;
end
$$;

comment on function dripdrop._check_queues() is 'Raises ZD120 when a queue is missing.';

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
