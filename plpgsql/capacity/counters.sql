-- How much of a limit is left. At the fence what counts is what has left; before it, what was
-- promised, to those who went ahead and to those who wait in line.
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
    when (counter).scope = 'concurrency' then (
      select count(*)::int
      from dripdrop.step_executions as x
      where x.counter_id = (counter).id
        and x.due_at is null
        and x.ended_at is null
        and (x.state = 'sending' or (not at_fence and x.state in ('queued', 'rendered')))
    )
    when per is not null then (
      select count(*)::int
      from unnest(case when at_fence then (counter).taken else (counter).line end) as t (slot)
      where t.slot > _left.at - per
    )
    when not at_fence and (counter).line_day > today then max_count
    else greatest(
      case when (counter).day = today then (counter).used else 0 end,
      case when (counter).line_day = today and not at_fence then (counter).line_used else 0 end
    )
  end
$$;

comment on function dripdrop._left(
  dripdrop.counters, int, interval, date, timestamptz, boolean
) is
  'How many more messages a limit lets through at a time.';

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

-- What counts for a batch, one row per counter: day and used are those of the last day that was
-- promised, where that is a later one.
create or replace function dripdrop._tallies(
  limits dripdrop._limit[],
  at timestamptz,
  at_fence boolean
)
returns setof dripdrop._tally
language sql
stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_mergejoin = off
as $$
  select
    c.id,
    c.scope,
    c.subject,
    l.max_count,
    l.per,
    l.time_zone,
    case when ahead.is_full then c.line_day else today.value end,
    case when ahead.is_full then c.line_used else l.max_count - room.value end,
    room.value,
    l.demand
  from (
    select
      n.counter_id, max(n.max_count) as max_count, max(n.per) as per,
      max(n.time_zone) as time_zone, count(*)::int as demand
    from unnest(limits) as n
    group by n.counter_id
  ) as l
  join dripdrop.counters as c on c.id = l.counter_id
  cross join lateral (
    select (_tallies.at at time zone l.time_zone)::date as value
  ) as today
  cross join lateral (
    select not at_fence and coalesce(c.line_day > today.value, false) as is_full
  ) as ahead
  cross join lateral (
    select
      dripdrop._left(c, l.max_count, l.per, today.value, _tallies.at, at_fence) as value
    offset 0
  ) as room
  order by c.id
$$;

comment on function dripdrop._tallies(dripdrop._limit[], timestamptz, boolean) is
  'What the limits of a batch have used up, and what the batch asks of them.';

-- The rings of several counters, one after the other. Each begins with its oldest time; what was
-- never used counts as long ago.
create or replace function dripdrop._rings(tallies dripdrop._tally[], at_fence boolean)
returns timestamptz[]
language sql
stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_mergejoin = off
as $$
  select array(
    select t.slot
    from unnest(tallies) with ordinality as n (
      counter_id, scope, subject, max_count, per, time_zone, day, used, room, demand, place
    )
    join dripdrop.counters as c on c.id = n.counter_id
    cross join lateral (select case when at_fence then c.taken else c.line end as slots) as known
    cross join lateral unnest(
      array_fill(
        timestamptz '-infinity',
        array[greatest(n.max_count - cardinality(known.slots), 0)]
      )
      || known.slots[greatest(cardinality(known.slots) - n.max_count + 1, 1):]
    ) with ordinality as t (slot, place)
    where n.per is not null
    order by n.place, t.place
  )
$$;

comment on function dripdrop._rings(dripdrop._tally[], boolean) is
  'The last slots of rates, max_count for each.';

-- locks   nothing new: the caller holds the counters
create or replace function dripdrop._keep(
  entries dripdrop._entry[],
  at timestamptz,
  at_fence boolean
)
returns void
language sql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
  update dripdrop.counters as c
  set max_count = n.max_count,
      per = n.per,
      taken = case
        when not at_fence or n.per is null then c.taken
        else coalesce(
          n.slots, dripdrop._lengthened(c.taken, _keep.at, n.granted, n.max_count)
        )
      end,
      line = case
        when at_fence or n.per is null then c.line
        else coalesce(n.slots, dripdrop._lengthened(c.line, _keep.at, n.granted, n.max_count))
      end,
      granted = case
        when at_fence or n.per is null then c.granted
        else dripdrop._lengthened(c.granted, _keep.at, n.granted, n.max_count)
      end,
      day = case when at_fence and n.per is null then n.day else c.day end,
      used = case when at_fence and n.per is null then n.used else c.used end,
      line_day = case when not at_fence and n.per is null then n.day else c.line_day end,
      line_used = case when not at_fence and n.per is null then n.used else c.line_used end,
      line_until = greatest(c.line_until, n.until),
      updated_at = _keep.at
  from unnest(entries) as n
  where c.id = n.counter_id
$$;

comment on function dripdrop._keep(dripdrop._entry[], timestamptz, boolean) is
  'Writes down what a batch was given.';

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

-- A message that never left gives back what it was promised and what it took at the fence.
--
-- locks   the counters, in id order
create or replace function dripdrop._give_back(executions uuid[], at timestamptz)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  v_given dripdrop._decision[] := array(
    select row(
      x.id, 'send', 'send', null, null, null, x.adapter_id, x.recipient, true, x.counter_id
    )::dripdrop._decision
    from dripdrop.step_executions as x
    where x.id = any (executions) and x.counter_id is not null
  );
  v_counter record;
begin
  for v_counter in
    select
      l.counter_id,
      count(*) as number,
      max(x.claimed_at) as claimed_at,
      (max(x.claimed_at) at time zone max(l.time_zone))::date as day
    from dripdrop._limits_on(v_given, _give_back.at) as l
    join dripdrop.step_executions as x on x.id = l.execution_id
    where l.counter_id is not null and l.scope <> 'concurrency'
    group by l.counter_id
    order by l.counter_id
  loop
    update dripdrop.counters as c
    set taken = dripdrop._less(c.taken, v_counter.number, v_counter.claimed_at),
        granted = dripdrop._less(c.granted, v_counter.number, v_counter.claimed_at),
        line = dripdrop._less(c.line, v_counter.number, v_counter.claimed_at),
        used = greatest(
          c.used - case when c.day = v_counter.day then v_counter.number else 0 end, 0
        ),
        line_used = greatest(
          c.line_used - case when c.line_day = v_counter.day then v_counter.number else 0 end, 0
        )
    where c.id = v_counter.counter_id;
  end loop;
end
$$;

comment on function dripdrop._give_back(uuid[], timestamptz) is
  'Returns what executions took of their limits at a fence they passed in vain.';

-- Where limits have changed, whoever waits for them is looked at again, and the lines begin anew.
--
-- locks   executions that wait, skipping what is locked, then the counters
create or replace function dripdrop._ask_again(tenant_key text, adapter_id uuid, at timestamptz)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_counters uuid[] := array(
    select c.id
    from dripdrop.counters as c
    where c.line_until > _ask_again.at
      and (
        c.owner_id = _ask_again.adapter_id
        or c.tenant_key is not distinct from _ask_again.tenant_key
      )
    order by c.id
  );
begin
  update dripdrop.step_executions as x
  set due_at = _ask_again.at,
      counter_id = null
  where x.id = any (array(
    select w.id
    from dripdrop.step_executions as w
    where w.counter_id = any (v_counters) and w.due_at > _ask_again.at and w.ended_at is null
    for no key update skip locked
  ));
  perform from dripdrop.counters as c where c.id = any (v_counters) order by c.id for no key update;
  update dripdrop.counters as c
  set line = c.granted,
      line_until = null,
      line_day = null,
      line_used = 0
  where c.id = any (v_counters);
end
$$;

comment on function dripdrop._ask_again(text, uuid, timestamptz) is
  'Makes due what waits in the lines of limits that have changed.';
