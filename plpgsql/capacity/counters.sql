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

create or replace function dripdrop._may_be_early(counter dripdrop.counters)
returns boolean
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
  select (counter).line_id <> (counter).id
    and dripdrop._counts_on_the_wire((counter).max_count, (counter).per)
$$;

comment on function dripdrop._may_be_early(dripdrop.counters) is
  'Whether messages that wait for a limit may be claimed before there is room, to leave when there '
  'is: a rate or the gap of their sender.';

create or replace function dripdrop._used(counter dripdrop.counters, at timestamptz)
returns int
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select case
    when (counter).per is not null then (
      select count(*)::int
      from unnest((counter).taken) as t (slot)
      where t.slot > _used.at - (counter).per
    )
    when (counter).day = (_used.at at time zone (counter).time_zone)::date then (counter).used
    else 0
  end
$$;

comment on function dripdrop._used(dripdrop.counters, timestamptz) is
  'How many messages a limit counts at a time: those that have left, or are being sent.';

-- A ramp lets more through each day: floor until it begins, then so many more a day up to the cap.
-- What days before the last one take together is a sum, not a loop.
create or replace function dripdrop._days_for(
  number int,
  today date,
  begins date,
  least_number float8,
  increment float8,
  most float8
)
returns int
language plpgsql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
  v_flat int := greatest(begins - today, 0);
  v_left float8 := number - v_flat * least(least_number, most);
  v_first float8 := least(
    least_number + increment * greatest(today + v_flat + 1 - begins, 0), most
  );
  v_growing float8 := greatest(ceil((most - v_first) / nullif(increment, 0)), 0);
  v_days float8;
begin
  if v_left <= 0 then
    return ceil(number / least(least_number, most));
  end if;
  if v_growing > 0 then
    v_days := ceil((
      increment - 2 * v_first
      + sqrt((2 * v_first - increment) ^ 2 + 8 * increment * v_left)
    ) / (2 * increment) - 1e-9);
    if v_days <= v_growing then
      return v_flat + v_days;
    end if;
    v_left := v_left - v_growing * v_first - increment * v_growing * (v_growing - 1) / 2;
  end if;
  return v_flat + coalesce(v_growing, 0) + ceil(v_left / most - 1e-9);
end
$$;

comment on function dripdrop._days_for(int, date, date, float8, float8, float8) is
  'How many days after today a ramp needs to let so many messages through.';

-- Of a limit that is the same every day, and of a sender whose ramp grows, or a share of it.
create or replace function dripdrop._days_of_room(counter dripdrop.counters, number int, today date)
returns int
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(
    (
      select dripdrop._days_for(
        number, today, (a.ramp_started_at at time zone (counter).time_zone)::date,
        a.ramp_floor * r.share, a.ramp_increment * r.share,
        coalesce(a.daily_cap, 1000000000) * r.share
      )
      from (
        select (counter).owner_id as adapter_id, 1.0::float8 as share
        where (counter).scope = 'day'
        union all
        select b.adapter_id, b.max_share_pct / 100.0::float8
        from dripdrop.adapter_sequence_budgets as b
        where (counter).scope = 'share' and b.id = (counter).owner_id
      ) as r
      join dripdrop.channel_adapters as a on a.id = r.adapter_id and a.ramp_floor is not null
      where r.share > 0
    ),
    1 + (number - 1) / (counter).max_count
  )
$$;

comment on function dripdrop._days_of_room(dripdrop.counters, int, date) is
  'How many days after today a daily limit has let so many messages through.';

-- After each window as many again. A place as far away as a thousand years is as good as none.
create or replace function dripdrop._free_at(
  counter dripdrop.counters,
  number int,
  at timestamptz
)
returns timestamptz
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select case
    when (counter).per is not null
    then greatest(
      at,
      (counter).taken[
        cardinality((counter).taken) - (counter).max_count
        + (number - 1) % (counter).max_count + 1
      ] + (counter).per
    ) + least((counter).per * ((number - 1) / (counter).max_count), interval '1000 years')
    when number <= today.room then at
    else (
      today.day
      + dripdrop._days_of_room(counter, number - greatest(today.room, 0), today.day)
    )::timestamp at time zone (counter).time_zone
  end
  from (
    select
      (_free_at.at at time zone (counter).time_zone)::date as day,
      (counter).max_count - dripdrop._used(counter, _free_at.at) as room
  ) as today
$$;

comment on function dripdrop._free_at(dripdrop.counters, int, timestamptz) is
  'When a limit has room for the number-th of the messages to come, by what has left.';

create or replace function dripdrop._counter_state(
  counter dripdrop.counters,
  max_count int,
  per interval,
  time_zone text,
  under_way int
)
returns dripdrop.counters
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  counter.max_count := _counter_state.max_count;
  counter.per := _counter_state.per;
  counter.time_zone := _counter_state.time_zone;
  counter.under_way := coalesce(_counter_state.under_way, counter.under_way);
  return counter;
end
$$;

comment on function dripdrop._counter_state(dripdrop.counters, int, interval, text, int) is
  'A counter, with the limit as it is now and what is under way.';

-- A counter remembers the limit when it was last used; one that does not exist yet has counted
-- nothing, and is missing. exactly: without what was stopped under way.
create or replace function dripdrop._counters_of(
  limits dripdrop._limit[],
  at timestamptz,
  exactly boolean default false
)
returns setof dripdrop.counters
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select dripdrop._counter_state(c, n.max_count, n.per, n.time_zone, u.number)
  from (
    select
      l.counter_id, max(l.max_count) as max_count, max(l.per) as per, max(l.time_zone) as time_zone
    from unnest(limits) as l
    where l.counter_id is not null
    group by l.counter_id
  ) as n
  join dripdrop.counters as c on c.id = n.counter_id
  left join dripdrop._under_way(
    case when exactly then array(select l.counter_id from unnest(limits) as l) else '{}' end,
    _counters_of.at
  ) as u
    on u.counter_id = c.id
  order by c.id
$$;

comment on function dripdrop._counters_of(dripdrop._limit[], timestamptz, boolean) is
  'What the limits of a batch have counted, in id order.';

-- locks   the counters of limits, in id order
create or replace function dripdrop._lock_counters(
  decisions dripdrop._decision[],
  at timestamptz
)
returns dripdrop._limit[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_limits dripdrop._limit[] := array(
    select l from dripdrop._limits_on(decisions, _lock_counters.at) as l
  );
begin
  if exists (select from unnest(v_limits) as l where l.counter_id is null) then
    insert into dripdrop.counters (
      tenant_key, scope, owner_id, subject, max_count, per, time_zone
    )
    select distinct on (l.subject, l.scope, l.owner_id, l.tenant_key)
      l.tenant_key, l.scope, l.owner_id, l.subject, l.max_count, l.per, l.time_zone
    from unnest(v_limits) as l
    where l.counter_id is null
    order by l.subject, l.scope, l.owner_id, l.tenant_key
    on conflict on constraint counters_one_per_subject do nothing;
    v_limits := array(select l from dripdrop._limits_on(decisions, _lock_counters.at) as l);
  end if;
  perform from dripdrop.counters as c
  where c.id in (select l.counter_id from unnest(v_limits) as l)
  order by c.id
  for no key update;
  return v_limits;
end
$$;

comment on function dripdrop._lock_counters(dripdrop._decision[], timestamptz) is
  'The limits of messages that are to be sent, each with its counter, locked.';

-- Messages that tick() has let through and the fence has not seen yet. Where that is very many,
-- there are no rows: what counters say is used.
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
    select dripdrop._as_decision(
      x.id, 'send', 'send', adapter_id => x.adapter_id, recipient => x.recipient, limited => true
    )
    from dripdrop.step_executions as x
    where x.due_at is null
      and x.ended_at is null
      and x.waits_for is null
      and x.line_id is not null
      and x.state in ('queued', 'rendered')
    limit v_most
  );
  if cardinality(v_messages) = v_most then
    return;
  end if;
  return query
  select c.id, count(l.execution_id)::int
  from (select distinct i.id from unnest(counters) as i (id)) as c
  left join dripdrop._limits_on(v_messages, _under_way.at) as l on l.counter_id = c.id
  group by c.id;
end
$$;

comment on function dripdrop._under_way(uuid[], timestamptz) is
  'How many messages are under way that each limit counts when they pass the fence.';

create or replace function dripdrop._trimmed(ring timestamptz[], size int)
returns timestamptz[]
language sql
immutable
parallel safe
return ring[greatest(cardinality(ring) - size + 1, 1):];

comment on function dripdrop._trimmed(timestamptz[], int) is
  'The last of the times in a ring, no more than its size.';

-- locks   nothing new: callers hold the counters
create or replace function dripdrop._note_let_through(
  limits dripdrop._limit[],
  counters dripdrop.counters[],
  places dripdrop._place[],
  at timestamptz
)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  update dripdrop.counters as c
  set max_count = k.max_count,
      per = k.per,
      time_zone = k.time_zone,
      under_way = k.under_way + n.passed,
      room_at = case
        when n.blocked > 0
          or (c.room_at is not null and (c.max_count, c.per) is distinct from (k.max_count, k.per))
        then _note_let_through.at
        else c.room_at
      end,
      turns = case
        when c.room_at is null then c.turns
        else dripdrop._after_their_turn(c.turns, array(
          select s.sequence_version_id
          from unnest(places) as p
          join dripdrop.step_executions as x on x.id = p.execution_id
          join dripdrop.steps as s on s.id = x.step_id
          where p.counter_id = c.id and not p.blocked
          order by p.number
        ))
      end,
      updated_at = _note_let_through.at
  from unnest(counters) as k
  join (
    select
      l.counter_id,
      count(*) filter (where b.execution_id is null) as passed,
      count(*) filter (where b.counter_id = l.counter_id) as blocked
    from unnest(limits) as l
    left join unnest(places) as b
      on b.execution_id = l.execution_id
      and b.blocked
    group by l.counter_id
  ) as n
    on n.counter_id = k.id
  where c.id = k.id
$$;

comment on function dripdrop._note_let_through(
  dripdrop._limit[], dripdrop.counters[], dripdrop._place[], timestamptz
) is
  'Writes down what is under way now, and at which limits somebody waits.';

create or replace function dripdrop._after_their_turn(turns uuid[], gone uuid[])
returns uuid[]
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
  select array(
    select t.id
    from unnest(turns || gone) with ordinality as t (id, place)
    group by t.id
    order by max(t.place)
  )
$$;

comment on function dripdrop._after_their_turn(uuid[], uuid[]) is
  'Turns after some have had theirs: those are last.';

-- under_way: what was decided before the limit was set was never counted.
--
-- locks   nothing new: callers hold the counters
create or replace function dripdrop._note_taken(
  decisions dripdrop._decision[],
  limits dripdrop._limit[],
  counters dripdrop.counters[],
  at timestamptz,
  ahead interval
)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  update dripdrop.counters as c
  set max_count = k.max_count,
      per = k.per,
      time_zone = k.time_zone,
      taken = case
        when k.per is null then c.taken
        when dripdrop._counts_on_the_wire(k.max_count, k.per)
        then dripdrop._trimmed(dripdrop._replaced(c.taken, '{}', n.leave_by), k.max_count)
        else dripdrop._trimmed(
          c.taken || array_fill(_note_taken.at, array[cardinality(n.leave_by)]), k.max_count
        )
      end,
      day = case
        when k.per is null then (_note_taken.at at time zone k.time_zone)::date
        else c.day
      end,
      used = case
        when k.per is null then dripdrop._used(k, _note_taken.at) + cardinality(n.leave_by)
        else c.used
      end,
      under_way = greatest(c.under_way - n.came, 0),
      ahead = case
        when dripdrop._may_be_early(k) then least(_note_taken.ahead, interval '1 second')
        else interval '0'
      end,
      room_at = case
        when k.line_id = any (n.lines)
          or (c.room_at is not null and (c.max_count, c.per) is distinct from (k.max_count, k.per))
        then _note_taken.at
        else c.room_at
      end,
      updated_at = _note_taken.at
  from unnest(counters) as k
  join (
    select
      l.counter_id,
      coalesce(
        array_agg(coalesce(d.until, _note_taken.at)) filter (where d.action = 'send'), '{}'
      ) as leave_by,
      count(x.line_id) as came,
      array_agg(d.line_id) filter (where d.action = 'defer') as lines
    from unnest(limits) as l
    join unnest(decisions) as d on d.execution_id = l.execution_id
    join dripdrop.step_executions as x on x.id = d.execution_id
    group by l.counter_id
  ) as n
    on n.counter_id = k.id
  where c.id = k.id
$$;

comment on function dripdrop._note_taken(
  dripdrop._decision[], dripdrop._limit[], dripdrop.counters[], timestamptz, interval
) is
  'Writes down what passes the fence, and at which limits somebody has to wait again.';
