-- Queues and jobs belong to a running installation, not to the schema: pg_dump would not bring them
-- back as members of an extension. So they are made here, by whoever may create them, and their
-- tables are given to the engine. Running it twice is safe.
--
-- raises  ZD121 pgmq is not installed, ZD122 it, or what is in it, is somebody else's
create or replace function dripdrop.start()
returns table (object text, action text)
language plpgsql
set search_path = pg_catalog, pg_temp
set standard_conforming_strings = on
as $$
declare
  v_owner text := (
    select c.nspowner::regrole::text
    from pg_namespace as c
    where c.nspname = 'dripdrop'
  );
begin
  if to_regnamespace('pgmq') is null then
    raise exception 'pgmq is not installed in this database' using
      errcode = 'ZD121',
      hint = 'create extension pgmq, or run "dripdrop install", which brings it.';
  end if;
  perform dripdrop._check_owners();

  execute format('grant usage on schema pgmq to %s', v_owner);
  execute format('grant select on pgmq.meta to %s', v_owner);
  for object in select q.queue from dripdrop._queues() as q order by 1 loop
    action := dripdrop._start_queue(object, v_owner);
    return next;
  end loop;
  for object in select q.queue from dripdrop._queues_nobody_serves() as q loop
    perform pgmq.drop_queue(object);
    action := 'dropped';
    return next;
  end loop;

  object := 'time_zones';
  action := 'refreshed';
  refresh materialized view dripdrop.time_zones;
  return next;

  if to_regnamespace('cron') is not null then
    perform cron.schedule('dripdrop_tick', '* * * * *', 'select dripdrop.tick()');
    perform cron.schedule('dripdrop_reconcile', '*/5 * * * *', 'select dripdrop.reconcile()');
    object := 'pg_cron jobs dripdrop_tick, dripdrop_reconcile';
    action := 'scheduled';
    return next;
  end if;
end
$$;

comment on function dripdrop.start() is
  'Creates the queues, and the pg_cron jobs where pg_cron is, and removes the queues of channels '
  'that nobody serves any more; says what it did. Safe to repeat.';

create or replace function dripdrop._queues_nobody_serves()
returns table (queue text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select substr(c.relname, 3)
  from pg_class as c
  where c.relnamespace = to_regnamespace('pgmq')
    and c.relkind in ('r', 'p')
    and starts_with(c.relname, 'q_dripdrop_send_')
    and substr(c.relname, 3) not in (select q.queue from dripdrop._queues() as q)
  order by 1
$$;

comment on function dripdrop._queues_nobody_serves() is
  'The queues of channels that no provider serves any more.';

create or replace function dripdrop._start_queue(queue text, owner text)
returns text
language plpgsql
set search_path = pg_catalog, pg_temp
set standard_conforming_strings = on
as $$
declare
  v_action text := 'kept';
begin
  if to_regclass('pgmq.q_' || queue) is null then
    perform pgmq.create(queue);
    -- Dead pointers at the head slow every read: they are cleared by count, not by share.
    execute format(
      'alter table pgmq.%I set (
        autovacuum_vacuum_scale_factor = 0,
        autovacuum_vacuum_threshold = 5000,
        autovacuum_vacuum_cost_delay = 0
      )',
      'q_' || queue
    );
    v_action := 'created';
  end if;
  if starts_with(queue, 'dripdrop_send_')
    and to_regclass(format('pgmq.%I', 'q_' || queue || '_by_sender')) is null
  then
    execute format(
      'create index %I on pgmq.%I (
        coalesce(message ->> ''sender'', ''''), coalesce(message ->> ''tenant'', ''''), msg_id
      )',
      'q_' || queue || '_by_sender',
      'q_' || queue
    );
  end if;
  execute format('grant all on table pgmq.%I, pgmq.%I to %s', 'q_' || queue, 'a_' || queue, owner);
  return v_action;
end
$$;

comment on function dripdrop._start_queue(text, text) is
  'Creates a queue and what it lacks, and gives it to the engine; says what it did.';

-- raises  ZD122 pgmq, or what is in it, is somebody else's
create or replace function dripdrop.stop()
returns table (object text, action text)
language plpgsql
set search_path = pg_catalog, pg_temp
set standard_conforming_strings = on
as $$
declare
  v_queue text;
begin
  perform dripdrop._check_owners();
  if to_regnamespace('cron') is not null then
    for object in
      select j.jobname
      from cron.job as j
      where j.jobname in ('dripdrop_tick', 'dripdrop_reconcile')
      order by 1
    loop
      perform cron.unschedule(object);
      action := 'unscheduled';
      return next;
    end loop;
  end if;
  for v_queue in
    select q.queue from dripdrop._queues() as q
    union
    select q.queue from dripdrop._queues_nobody_serves() as q
    order by 1
  loop
    if to_regclass('pgmq.q_' || v_queue) is not null then
      perform pgmq.drop_queue(v_queue);
      object := v_queue;
      action := 'dropped';
      return next;
    end if;
  end loop;
end
$$;

comment on function dripdrop.stop() is
  'Removes the queues and the pg_cron jobs; says what it did. Messages under way are found again '
  'after start().';
