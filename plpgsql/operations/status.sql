-- One screen of what goes on, part by part, for status(). Counts end at a hundred thousand, rates
-- at a million, so that it may be looked at again and again.

create or replace function dripdrop._status_of_workers(at timestamptz)
returns setof dripdrop._status
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select
    'workers', w.host || ':' || w.pid, null::text,
    (select sum(n.value::int) from jsonb_each_text(w.doing -> 'in_flight') as n)::bigint,
    w.seen_at,
    concat_ws(
      '; ',
      'version ' || w.version,
      case when w.seen_at <= _status_of_workers.at - interval '1 minute' then 'not heard of' end,
      (
        select string_agg(f.key || ' fails: ' || f.value, '; ' order by f.key)
        from jsonb_each_text(w.doing -> 'failing') as f
      )
    )
  from dripdrop.workers as w
  order by w.host, w.started_at, w.pid
$$;

comment on function dripdrop._status_of_workers(timestamptz) is
  'The workers, for status(): number is how many messages each has in flight.';

-- What waits in the line of a limit is not late.
create or replace function dripdrop._status_of_lag(at timestamptz)
returns setof dripdrop._status
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select 'lag', 'due', null, count(*), min(n.due_at), null
  from (
    select x.due_at
    from dripdrop.step_executions as x
    where x.due_at <= _status_of_lag.at and x.waits_for is distinct from 'limit'
    order by x.due_at
    limit 100000
  ) as n
  union all
  select 'lag', n.state, null, count(*), min(n.updated_at), null
  from (
    select x.state, x.updated_at
    from dripdrop.step_executions as x
    where x.due_at is null and x.ended_at is null and x.waits_for is null
    limit 100000
  ) as n
  group by n.state
  union all
  select 'lag', 'in line for a limit', null, count(*), min(n.scheduled_for), null
  from (
    select x.scheduled_for
    from dripdrop.step_executions as x
    where x.waits_for = 'limit'
    limit 100000
  ) as n
  having count(*) > 0
$$;

comment on function dripdrop._status_of_lag(timestamptz) is
  'What is due, under way and in line, for status(): how many, and since when the oldest.';

create or replace function dripdrop._status_of_senders(at timestamptz)
returns setof dripdrop._status
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select
    'senders', a.channel || ' ' || a.name, a.tenant_key, hour.number, a.last_send_at,
    concat_ws(
      '; ',
      minute.number || ' in the last minute',
      case when not a.active then 'switched off' end,
      case
        when dripdrop._is_resting(a.health_state, a.resting_until, _status_of_senders.at)
        then concat_ws(' until ', 'rests', dripdrop._in_utc(a.resting_until))
      end,
      (
        select format(
          'away since %s (%s), %s', dripdrop._in_utc(c.started_at), c.reason,
          dripdrop._count_behind(c.id)
        )
        from dripdrop.sender_states as c
        where c.adapter_id = a.id and c.host = '' and c.ended_at is null and c.state <> 'closed'
      )
    )
  from dripdrop.channel_adapters as a
  cross join lateral dripdrop._sent_since(
    a.id, _status_of_senders.at - interval '1 minute'
  ) as minute (number)
  cross join lateral dripdrop._sent_since(
    a.id, _status_of_senders.at - interval '1 hour'
  ) as hour (number)
  order by hour.number desc, a.tenant_key nulls first, a.name
  limit 100
$$;

comment on function dripdrop._status_of_senders(timestamptz) is
  'The hundred busiest senders, for status(): number is what they sent in the last hour.';

create or replace function dripdrop._sent_since(adapter_id uuid, since timestamptz)
returns bigint
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select count(*)
  from (
    select
    from dripdrop.step_executions as x
    where x.adapter_id = _sent_since.adapter_id
      and x.ended_at > _sent_since.since
      and x.state = 'sent'
    limit 1000000
  ) as n
$$;

comment on function dripdrop._sent_since(uuid, timestamptz) is
  'How many messages a sender has sent since a time, up to a million.';

create or replace function dripdrop._status_of_holds(at timestamptz)
returns setof dripdrop._status
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select
    'pauses', concat_ws(' ', p.scope, p.subject), p.tenant_key, null::bigint, p.paused_at,
    concat_ws(': ', 'by ' || p.paused_by, p.reason)
  from dripdrop.sending_pauses as p
  union all
  (
    select 'held', concat_ws(': ', h.waits_for, h.reason), h.tenant_key, count(*),
      min(h.reason_at), null
    from (
      select x.waits_for, x.reason, x.tenant_key, x.reason_at
      from dripdrop.step_executions as x
      where x.waits_for in ('pause', 'sender', 'rest', 'circuit', 'release')
      limit 100000
    ) as h
    group by h.waits_for, h.reason, h.tenant_key
    order by count(*) desc
    limit 100
  )
  union all
  (
    select 'failed today', concat_ws(': ', q.key, x.reason), e.tenant_key, count(*),
      min(e.cancelled_at), null
    from (
      select n.tenant_key, n.sequence_id, n.failed_execution_id, n.cancelled_at
      from dripdrop.enrollments as n
      where n.cancelled_at > _status_of_holds.at - interval '1 day'
        and n.exit_reason = 'step_failed'
      limit 100000
    ) as e
    join dripdrop.sequences as q on q.id = e.sequence_id
    left join dripdrop.step_executions as x on x.id = e.failed_execution_id
    group by q.key, x.reason, e.tenant_key
    order by count(*) desc
    limit 100
  )
$$;

comment on function dripdrop._status_of_holds(timestamptz) is
  'Pauses, what is held, and the journeys that a failed message has ended in a day, for status().';

-- raises  nothing
create or replace function dripdrop.status()
returns table (
  part text,
  name text,
  tenant_key text,
  number bigint,
  since timestamptz,
  detail text
)
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := dripdrop._now();
begin
  return query select s.* from dripdrop._status_of_workers(v_now) as s;
  return query select s.* from dripdrop._status_of_lag(v_now) as s;
  return query select s.* from dripdrop._status_of_senders(v_now) as s;
  return query select s.* from dripdrop._status_of_holds(v_now) as s;
end
$$;

comment on function dripdrop.status() is
  'One screen of what goes on: workers (number: in flight; since: last seen), lag (since: the '
  'oldest), senders (number: sent in the last hour; since: the last), pauses, what is held, and '
  'journeys that failed today.';
