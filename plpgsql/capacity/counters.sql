-- How much of a limit is left. At the fence what counts is what has left; before it, what was let
-- through as well.
create or replace function dripdrop._left(
  counter dripdrop.counters,
  max_count int,
  per interval,
  today date,
  at timestamptz,
  at_fence boolean
)
returns int
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select max_count - case
    when per is not null then (
      select greatest(
        count(*) filter (where not t.is_granted),
        count(*) filter (where t.is_granted and not at_fence)
      )::int
      from (
        select n.slot, false as is_granted from unnest((counter).taken) as n (slot)
        union all
        select n.slot, true from unnest((counter).granted) as n (slot)
      ) as t
      where t.slot > _left.at - per
    )
    else greatest(
      case when (counter).day = today then (counter).used else 0 end,
      case when (counter).granted_day = today and not at_fence then (counter).granted_used end
    )
  end
$$;

comment on function dripdrop._left(
  dripdrop.counters, int, interval, date, timestamptz, boolean
) is
  'How many more messages a limit lets through at a time.';

-- What a claim takes of a rate it takes for the last moment at which the message may leave, and of
-- what has left the true moment is written down: so a rate holds on the wire, however long a server
-- hesitates. Of very high rates and very long windows the moment of the claim is good enough.
create or replace function dripdrop._counts_on_the_wire(max_count int, per interval)
returns boolean
language sql
immutable
parallel safe
return coalesce(max_count <= 1000 and per < interval '1 hour', false);

comment on function dripdrop._counts_on_the_wire(int, interval) is
  'Whether a limit counts when a message leaves, and not when it is claimed.';

-- The rate, the gap and the daily cap of a sender limit the same messages: one line of them all.
create or replace function dripdrop._line_sender(counter dripdrop.counters)
returns uuid
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
  select case
    when (counter).scope in ('gap', 'day') then (counter).owner_id
    when (counter).scope = 'adapter'
      and coalesce((counter).owner_id::text = (counter).subject, true)
    then (counter).subject::uuid
  end
$$;

comment on function dripdrop._line_sender(dripdrop.counters) is
  'The sender all of whose messages stand in the line of this limit, or null.';

create or replace function dripdrop._one_line(counter dripdrop.counters)
returns uuid[]
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select case
    when dripdrop._line_sender(counter) is null then array[(counter).id]
    else array(
      select c.id
      from dripdrop.counters as c
      where c.subject in ('', dripdrop._line_sender(counter)::text)
        and c.scope in ('gap', 'day', 'adapter')
        and (c.owner_id = dripdrop._line_sender(counter) or c.owner_id is null)
        and dripdrop._line_sender(c) = dripdrop._line_sender(counter)
        and c.tenant_key is not distinct from (counter).tenant_key
      order by c.id
    )
  end
$$;

comment on function dripdrop._one_line(dripdrop.counters) is
  'The limits whose line is that of this one, itself included.';

create or replace function dripdrop._lengthened(
  ring timestamptz[],
  at timestamptz,
  number int,
  size int
)
returns timestamptz[]
language sql
immutable
parallel safe
return (ring || array_fill(at, array[least(number, size)]))[
  greatest(cardinality(ring) + least(number, size) - size + 1, 1):
];

comment on function dripdrop._lengthened(timestamptz[], timestamptz, int, int) is
  'A ring with so many more of one time, no longer than its size.';

create or replace function dripdrop._less(ring timestamptz[], number bigint, at timestamptz)
returns timestamptz[]
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(array_agg(t.slot order by t.place), '{}')
  from (
    select n.slot, n.place, row_number() over (order by n.slot > _less.at, n.place desc) as turn
    from unnest(ring) with ordinality as n (slot, place)
  ) as t
  where t.turn > number or t.slot > _less.at
$$;

comment on function dripdrop._less(timestamptz[], bigint, timestamptz) is
  'A ring without the last so many times up to a time.';

-- Where somebody waits there is no room at first sight.
create or replace function dripdrop._tallies(
  limits dripdrop._limit[],
  at timestamptz,
  at_fence boolean
)
returns setof dripdrop._tally
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select
    c.id,
    c.scope,
    c.subject,
    l.max_count,
    l.per,
    l.time_zone,
    case
      when not at_fence and c.line_until > _tallies.at then l.max_count
      else l.max_count - dripdrop._left(
        c, l.max_count, l.per, (_tallies.at at time zone l.time_zone)::date, _tallies.at, at_fence
      )
    end,
    l.demand,
    c.line_until
  from (
    select
      n.counter_id, max(n.max_count) as max_count, max(n.per) as per,
      max(n.time_zone) as time_zone, count(*)::int as demand
    from unnest(limits) as n
    group by n.counter_id
  ) as l
  join dripdrop.counters as c on c.id = l.counter_id
  order by c.id
$$;

comment on function dripdrop._tallies(dripdrop._limit[], timestamptz, boolean) is
  'What the limits of a batch have used up, and what the batch asks of them.';

-- At the fence only what has left. Before it everything that was promised: to what is under way, to
-- who waits in line, and to who has come to the head of it and is due. All of it is read from the
-- rows, so that no promise outlives the message it was made to.
create or replace function dripdrop._standings(
  tallies dripdrop._tally[],
  at timestamptz,
  at_fence boolean
)
returns setof dripdrop._standing
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  with
  tally as materialized (
    select n.*, (_standings.at at time zone n.time_zone)::date as today
    from unnest(tallies) with ordinality as n (
      counter_id, scope, subject, max_count, per, time_zone, used, demand, until, place
    )
  ),
  under_way as materialized (
    select u.counter_id, u.number
    from dripdrop._under_way(
      case when at_fence then '{}' else array(select t.counter_id from tally as t) end,
      _standings.at
    ) as u
  )
  select
    t.place::int,
    gone.number + ahead.number,
    ahead.number,
    case
      when t.per is not null
      then array_fill(
        timestamptz '-infinity', array[greatest(t.max_count - cardinality(known.slots), 0)]
      )
      || known.slots[greatest(cardinality(known.slots) - t.max_count + 1, 1):]
    end,
    last_day.value,
    on_last_day.number
    + case when last_day.value = t.today then gone.number + ahead.number + due.number else 0 end,
    case when at_fence then c.line_until else line.until end
  from tally as t
  join dripdrop.counters as c on c.id = t.counter_id
  cross join lateral (
    select case when at_fence then '{}' else dripdrop._one_line(c) end as counters
    offset 0
  ) as one
  cross join lateral (
    select
      t.max_count
      - dripdrop._left(c, t.max_count, t.per, t.today, _standings.at, true) as number
    offset 0
  ) as gone
  cross join lateral (
    select case
      when at_fence then 0
      else coalesce(
        (select u.number from under_way as u where u.counter_id = t.counter_id),
        greatest(t.used - gone.number, 0)
      )
    end as number
    offset 0
  ) as ahead
  cross join lateral (
    select count(*)::int as number
    from dripdrop.step_executions as x
    where x.counter_id = any (one.counters) and x.due_at <= _standings.at and x.ended_at is null
  ) as due
  cross join lateral (
    select max(w.due_at) as until, array_agg(w.due_at order by w.due_at) as slots
    from (
      select n.due_at
      from unnest(one.counters) as i (id)
      cross join lateral (
        select x.due_at
        from dripdrop.step_executions as x
        where x.counter_id = i.id and x.due_at > _standings.at and x.ended_at is null
        order by x.due_at desc
        limit case when t.per is null then 1 else t.max_count end
      ) as n
    ) as w
  ) as line
  cross join lateral (
    select coalesce((line.until at time zone t.time_zone)::date, t.today) as value
  ) as last_day
  cross join lateral (
    select count(*)::int as number
    from dripdrop.step_executions as x
    where t.per is null
      and x.counter_id = any (one.counters)
      and x.due_at > _standings.at
      and x.due_at >= last_day.value::timestamp at time zone t.time_zone
      and x.ended_at is null
  ) as on_last_day
  cross join lateral (
    select
      dripdrop._lengthened(
        c.taken, _standings.at, ahead.number + due.number, t.max_count
      )
      || coalesce(line.slots, '{}') as slots
  ) as known
  order by t.place
$$;

comment on function dripdrop._standings(dripdrop._tally[], timestamptz, boolean) is
  'How limits stand, with the lines of those who wait for them.';

-- locks   nothing new: the caller holds the counters
create or replace function dripdrop._keep(
  entries dripdrop._entry[],
  at timestamptz,
  leave_by timestamptz
)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  update dripdrop.counters as c
  set max_count = n.max_count,
      per = n.per,
      taken = case
        when leave_by is null or n.per is null then c.taken
        when dripdrop._counts_on_the_wire(n.max_count, n.per)
        then coalesce(n.slots, dripdrop._lengthened(c.taken, leave_by, n.added, n.max_count))
        else coalesce(n.slots, dripdrop._lengthened(c.taken, _keep.at, n.added, n.max_count))
      end,
      granted = case
        when leave_by is not null or n.per is null then c.granted
        else coalesce(n.slots, dripdrop._lengthened(c.granted, _keep.at, n.added, n.max_count))
      end,
      day = case when leave_by is not null and n.per is null then n.day else c.day end,
      used = case when leave_by is not null and n.per is null then n.used else c.used end,
      granted_day = case when leave_by is null and n.per is null then n.day else c.granted_day end,
      granted_used = case
        when leave_by is null and n.per is null then n.used
        else c.granted_used
      end,
      line_until = n.until,
      updated_at = _keep.at
  from unnest(entries) as n
  where c.id = n.counter_id
$$;

comment on function dripdrop._keep(dripdrop._entry[], timestamptz, timestamptz) is
  'Writes down what a batch was given; leave_by: at the fence, when it must have left.';

-- What tick() has let through and the fence has not seen yet. Where that is very much, there are no
-- rows: the room there is will be used.
create or replace function dripdrop._under_way(counters uuid[], at timestamptz)
returns table (counter_id uuid, number int)
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_most constant int := 10000;
  v_messages dripdrop._decision[];
begin
  if cardinality(counters) = 0 then
    return;
  end if;
  v_messages := array(
    select row(
      x.id, 'send', 'send', null, null, null, x.adapter_id, x.recipient, true, x.counter_id, null
    )::dripdrop._decision
    from dripdrop.step_executions as x
    where x.due_at is null
      and x.ended_at is null
      and x.waits_for is null
      and x.counter_id is not null
      and x.state in ('queued', 'rendered')
    limit v_most
  );
  if cardinality(v_messages) = v_most then
    return;
  end if;
  return query
  select c.id, count(l.execution_id)::int
  from unnest(counters) as c (id)
  left join dripdrop._limits_on(v_messages, _under_way.at) as l on l.counter_id = c.id
  group by c.id;
end
$$;

comment on function dripdrop._under_way(uuid[], timestamptz) is
  'How many messages are under way that each limit counts when they pass the fence.';

-- What took a place in a limit when it was claimed has left since, and when; or it never did, and
-- gives back what it was promised and what it took. A counter that somebody else holds for long
-- keeps what was taken: less leaves then, never more.
--
-- locks   the counters, in id order
create or replace function dripdrop._settle_counters(
  results dripdrop._send_result[],
  at timestamptz
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_limited dripdrop._decision[] := array(
    select row(
      x.id, 'send', 'send', null, null, null, x.adapter_id, x.recipient, true, x.counter_id, null
    )::dripdrop._decision
    from unnest(results) as r
    join dripdrop.step_executions as x on x.id = r.execution
    where x.counter_id is not null
      and (x.leave_by is not null or r.outcome not in ('sent', 'maybe_sent'))
  );
  v_counter record;
begin
  if cardinality(v_limited) = 0 then
    return;
  end if;
  for v_counter in
    select
      l.counter_id,
      l.per is null as is_daily,
      array_agg(coalesce(wire.leave_by, x.claimed_at)) as taken,
      array_agg(
        least(x.claimed_at + make_interval(secs => coalesce(r.left_after, 0)), wire.leave_by)
      ) filter (where not gone.back and wire.leave_by is not null) as left_at,
      count(*) filter (where gone.back) as given_back,
      max(x.claimed_at) as claimed_at,
      (max(x.claimed_at) at time zone max(l.time_zone))::date as day
    from dripdrop._limits_on(v_limited, _settle_counters.at) as l
    join dripdrop.step_executions as x on x.id = l.execution_id
    join unnest(results) as r on r.execution = x.id
    cross join lateral (
      select r.outcome not in ('sent', 'maybe_sent') as back
    ) as gone
    cross join lateral (
      select case when dripdrop._counts_on_the_wire(l.max_count, l.per) then x.leave_by end
        as leave_by
    ) as wire
    where l.counter_id is not null
      -- Of what may have left the last moment is the best that is known.
      and (gone.back or (r.outcome = 'sent' and wire.leave_by is not null))
    group by l.counter_id, l.per is null
    order by l.counter_id
  loop
    update dripdrop.counters as c
    set taken = case
          when v_counter.is_daily then c.taken
          else dripdrop._replaced(c.taken, v_counter.taken, v_counter.left_at)
        end,
        granted = case
          when v_counter.given_back = 0 then c.granted
          else dripdrop._less(c.granted, v_counter.given_back, v_counter.claimed_at)
        end,
        used = greatest(
          c.used - case when c.day = v_counter.day then v_counter.given_back else 0 end, 0
        ),
        granted_used = greatest(
          c.granted_used
          - case when c.granted_day = v_counter.day then v_counter.given_back else 0 end,
          0
        )
    where c.id = v_counter.counter_id;
  end loop;
exception
  when lock_not_available then
    null;
end
$$;

comment on function dripdrop._settle_counters(dripdrop._send_result[], timestamptz) is
  'Writes down when messages left, and returns what those took that did not.';

create or replace function dripdrop._replaced(
  ring timestamptz[],
  gone timestamptz[],
  instead timestamptz[]
)
returns timestamptz[]
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(array_agg(n.slot order by n.slot), '{}')
  from (
    select h.slot
    from (
      select t.slot, row_number() over (partition by t.slot) as number
      from unnest(ring) as t (slot)
    ) as h
    where h.number > (select count(*) from unnest(gone) as g (slot) where g.slot = h.slot)
    union all
    select i.slot
    from unnest(instead) as i (slot)
  ) as n
$$;

comment on function dripdrop._replaced(timestamptz[], timestamptz[], timestamptz[]) is
  'A ring with some times taken out, each once, and others put in.';

-- Where limits have changed, whoever waits for them is looked at again. What holds for all tenants,
-- null, is counted for each of them.
--
-- An application may keep its transaction open: the counters, which tick() waits for, are left as
-- they are, and mended when they are next looked at.
--
-- locks   executions that wait, skipping what is locked
create or replace function dripdrop._ask_again(tenant_key text, adapter_id uuid, at timestamptz)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  select dripdrop._wake_by_limit(
    array(
      select c.id
      from dripdrop.counters as c
      where c.line_until > _ask_again.at
        and (
          c.owner_id = _ask_again.adapter_id
          or c.tenant_key = _ask_again.tenant_key
          or _ask_again.tenant_key is null
        )
      order by c.id
    ),
    _ask_again.at
  )
$$;

comment on function dripdrop._ask_again(text, uuid, timestamptz) is
  'Makes due what waits in the lines of limits that have changed.';
