-- A worker says every few seconds that it is there, and what it does. Whoever was not heard of for
-- a day is forgotten. Only workers write here, each its own row.
--
-- raises  ZD201 malformed doing, or text that is too long
create or replace function dripdrop.note_worker(
  worker uuid,
  host text,
  pid int,
  version text,
  doing jsonb default '{}'
)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := dripdrop._now();
begin
  perform dripdrop._check_text(host, 'host');
  perform dripdrop._check_text(version, 'version');
  perform dripdrop._check_json(doing, 'doing');
  if worker is null or host is null or pid is null or version is null
    or jsonb_typeof(doing) is distinct from 'object'
  then
    raise exception 'a worker says who it is, and what it does as an object' using
      errcode = 'ZD201', column = 'doing',
      hint = 'For example note_worker(gen_random_uuid(), ''web-1'', 4711, ''0.1.0'', ''{}'').';
  end if;
  insert into dripdrop.workers as w (id, host, pid, version, started_at, seen_at, doing)
  values (worker, host, pid, version, v_now, v_now, doing)
  on conflict on constraint workers_pkey do update
  set seen_at = excluded.seen_at, doing = excluded.doing;
  delete from dripdrop.workers as w
  where w.id in (
    select o.id
    from dripdrop.workers as o
    where o.seen_at < v_now - interval '1 day'
    for update skip locked
  );
end
$$;

comment on function dripdrop.note_worker(uuid, text, int, text, jsonb) is
  'Says that a worker is there, and what it does: {"in_flight": {channel: number}, "failing": '
  '{stage: error}}.';

-- raises  nothing
create or replace function dripdrop.forget_worker(worker uuid)
returns void
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
  delete from dripdrop.workers as w where w.id = forget_worker.worker
$$;

comment on function dripdrop.forget_worker(uuid) is 'Says that a worker has ended in order.';

-- raises  nothing
create or replace function dripdrop.list_workers()
returns table (
  host text,
  pid int,
  version text,
  started_at timestamptz,
  seen_at timestamptz,
  is_there boolean,
  doing jsonb
)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
  select
    w.host, w.pid, w.version, w.started_at, w.seen_at,
    w.seen_at > dripdrop._now() - interval '1 minute', w.doing
  from dripdrop.workers as w
  order by w.host, w.started_at, w.pid
$$;

comment on function dripdrop.list_workers() is
  'The workers that were seen within a day and have not ended in order; is_there: within a minute.';
