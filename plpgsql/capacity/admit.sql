-- Decisions to send in the order in which they ask their limits. Who has waited goes first. Tenants
-- that share a sender take turns; of one tenant's messages those of the higher priority go first,
-- and its sequences take turns by what they have used of the sender, so that none starves another.
create or replace function dripdrop._in_fair_order(
  decisions dripdrop._decision[],
  limits dripdrop._limit[],
  counters uuid[]
)
returns table (execution_id uuid, has_waited boolean, counters int[])
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  with
  asked as (
    select l.execution_id, array_agg(c.place::int order by c.place) as counters
    from unnest(limits) as l
    join unnest(_in_fair_order.counters) with ordinality as c (id, place) on c.id = l.counter_id
    group by l.execution_id
  ),
  message as (
    select
      x.id,
      x.tenant_key,
      x.scheduled_for,
      x.line_id is not null as has_waited,
      a.counters,
      q.priority,
      coalesce(b.daily_volume_target, 0) as target,
      coalesce(b.weight, 1) as weight,
      coalesce(b.used, 0) + row_number() over (
        partition by d.adapter_id, v.id order by q.priority desc, x.scheduled_for, x.id
      ) as turn
    from unnest(decisions) as d
    join asked as a on a.execution_id = d.execution_id
    join dripdrop.step_executions as x on x.id = d.execution_id
    join dripdrop.steps as s on s.id = x.step_id
    join dripdrop.sequence_versions as v on v.id = s.sequence_version_id
    join dripdrop.sequences as q on q.id = v.sequence_id
    left join lateral (
      select g.daily_volume_target, g.weight, c.used
      from dripdrop.adapter_sequence_budgets as g
      left join dripdrop.counters as c
        on c.subject = '' and c.scope = 'share' and c.owner_id = g.id
      where g.adapter_id = d.adapter_id and g.sequence_version_id = v.id
    ) as b on true
  )
  select m.id, m.has_waited, m.counters
  from message as m
  order by
    not m.has_waited,
    row_number() over (
      partition by m.tenant_key
      order by
        not m.has_waited, m.priority desc, m.turn > m.target, m.turn::numeric / m.weight,
        m.scheduled_for, m.id
    ),
    m.scheduled_for,
    m.id
$$;

comment on function dripdrop._in_fair_order(dripdrop._decision[], dripdrop._limit[], uuid[]) is
  'Decisions to send, fairly ordered, each with the places of the counters it has to ask.';

-- A message goes when all its limits have room, and nobody has waited for one of them longer; else
-- it takes its place behind those who wait for the one that has room last. room: of each counter.
-- before: how many will go before whoever comes now.
create or replace function dripdrop._allocate(
  decisions dripdrop._decision[],
  limits dripdrop._limit[],
  counters dripdrop.counters[],
  room int[],
  before int[],
  at timestamptz
)
returns setof dripdrop._place
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_ids uuid[] := array(select c.id from unnest(counters) as c order by c.id);
  v_lines uuid[] := array(select c.line_id from unnest(counters) as c order by c.id);
  -- Before whom there is more than what is under way, others wait.
  v_waits boolean[] := array(
    select b.number > c.under_way
    from unnest(counters) as c
    join unnest(v_ids, before) as b (id, number) on b.id = c.id
    order by c.id
  );
  v_message record;
  v_blocker int;
  i int;
begin
  for v_message in select * from dripdrop._in_fair_order(decisions, limits, v_ids) loop
    v_blocker := null;
    foreach i in array v_message.counters loop
      continue when room[i] > 0 and (v_message.has_waited or not v_waits[i]);
      if v_blocker is null
        or (
          v_lines[i] <> v_lines[v_blocker]
          and dripdrop._free_at(counters[i], before[i] + 1, at)
            > dripdrop._free_at(counters[v_blocker], before[v_blocker] + 1, at)
        )
      then
        v_blocker := i;
      end if;
    end loop;
    foreach i in array v_message.counters loop
      if v_blocker is null then
        room[i] := room[i] - 1;
      elsif v_lines[i] = v_lines[v_blocker] then
        v_waits[i] := true;
      else
        continue;
      end if;
      before[i] := before[i] + 1;
      return next row(
        v_message.execution_id, v_ids[i], before[i], v_blocker is not null
      )::dripdrop._place;
    end loop;
  end loop;
end
$$;

comment on function dripdrop._allocate(
  dripdrop._decision[], dripdrop._limit[], dripdrop.counters[], int[], int[], timestamptz
) is
  'Which messages their limits let through, and in which lines the others wait.';

-- A message is counted by one of its limits while it is under way. until: when it must have left,
-- if a limit counts that.
create or replace function dripdrop._allowed_decisions(
  decisions dripdrop._decision[],
  limits dripdrop._limit[],
  counters dripdrop.counters[],
  places dripdrop._place[],
  at timestamptz
)
returns setof dripdrop._decision
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  with
  slot as materialized (
    select
      p.execution_id,
      bool_or(p.blocked) as blocked,
      max(dripdrop._free_at(c, p.number, _allowed_decisions.at))
        filter (where d.until is not null) as at
    from unnest(places) as p
    join unnest(counters) as c on c.id = p.counter_id
    join unnest(decisions) as d on d.execution_id = p.execution_id
    group by p.execution_id
  ),
  counted as materialized (
    select
      l.execution_id,
      (array_agg(c.line_id))[1] as line_id,
      bool_or(dripdrop._counts_on_the_wire(l.max_count, l.per)) as on_the_wire
    from unnest(limits) as l
    join unnest(counters) as c on c.id = l.counter_id
    group by l.execution_id
  )
  select dripdrop._as_decision(
    d.execution_id,
    d.gate,
    d.action,
    d.reason,
    d.detail,
    case
      when n.on_the_wire is not false
      then d.until + greatest(s.at - _allowed_decisions.at, interval '0')
    end,
    d.adapter_id,
    d.recipient,
    d.limited,
    coalesce(n.line_id, d.line_id),
    d.waits_for
  )
  from unnest(decisions) as d
  left join slot as s on s.execution_id = d.execution_id
  left join counted as n on n.execution_id = d.execution_id
  where s.blocked is not true
$$;

comment on function dripdrop._allowed_decisions(
  dripdrop._decision[], dripdrop._limit[], dripdrop.counters[], dripdrop._place[], timestamptz
) is
  'The decisions that no limit changes.';

-- What stood in a line and stays there waits on without a word. How long is an estimate.
create or replace function dripdrop._decisions_to_wait(
  decisions dripdrop._decision[],
  counters dripdrop.counters[],
  places dripdrop._place[],
  at timestamptz
)
returns setof dripdrop._decision
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  with
  blocked as (
    select distinct on (p.execution_id)
      p.execution_id, c.line_id, c.scope, c.subject, c.max_count, c.per, free.at
    from unnest(places) as p
    join unnest(counters) as c on c.id = p.counter_id
    cross join lateral (
      select dripdrop._free_at(c, p.number, _decisions_to_wait.at) as at offset 0
    ) as free
    where p.blocked
    order by p.execution_id, free.at desc
  )
  select dripdrop._as_decision(
    d.execution_id,
    case when b.scope = 'subscriber' then 'frequency' else 'capacity' end,
    case when x.waits_for = 'limit' and x.line_id = b.line_id then 'wait' else 'defer' end,
    dripdrop._limit_reason(b.scope),
    dripdrop._describe_limit(b.scope, b.subject, b.max_count, b.per),
    b.at + case
      when b.per is null then dripdrop._into_the_day(d.execution_id)
      else interval '0'
    end,
    d.adapter_id,
    d.recipient,
    d.limited,
    b.line_id,
    'limit'
  )
  from blocked as b
  join unnest(decisions) as d on d.execution_id = b.execution_id
  join dripdrop.step_executions as x on x.id = b.execution_id
$$;

comment on function dripdrop._decisions_to_wait(
  dripdrop._decision[], dripdrop.counters[], dripdrop._place[], timestamptz
) is
  'What becomes of decisions to send that have to wait for a limit.';

create or replace function dripdrop._all_fit(
  limits dripdrop._limit[],
  counters dripdrop.counters[],
  room int[]
)
returns boolean
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select not exists (
    select
    from (
      select l.counter_id, count(*) as number from unnest(limits) as l group by l.counter_id
    ) as n
    join unnest(array(select c.id from unnest(counters) as c), _all_fit.room) as r (id, room)
      on r.id = n.counter_id
    where r.room < n.number
  )
$$;

comment on function dripdrop._all_fit(dripdrop._limit[], dripdrop.counters[], int[]) is
  'Whether limits have room for all that is asked of them.';

-- What has left counts, and what tick() has let through and the fence has not seen yet. What comes
-- to a line of ten thousand is estimated as if those were all.
create or replace function dripdrop._asked_of_limits(
  decisions dripdrop._decision[],
  limits dripdrop._limit[],
  counters dripdrop.counters[],
  at timestamptz
)
returns setof dripdrop._place
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select p.*
  from (
    select
      array_agg(dripdrop._room_in_line(c, _asked_of_limits.at) order by c.id) as room,
      array_agg(c.under_way + line.number order by c.id) as before
    from unnest(counters) as c
    cross join lateral (
      select count(*)::int as number
      from (
        select
        from dripdrop.step_executions as x
        where c.room_at is not null and x.waits_for = 'limit' and x.line_id = c.line_id
        limit 10000
      ) as w
    ) as line
  ) as n
  cross join lateral dripdrop._allocate(
    decisions, limits, counters, n.room, n.before, _asked_of_limits.at
  ) as p
$$;

comment on function dripdrop._asked_of_limits(
  dripdrop._decision[], dripdrop._limit[], dripdrop.counters[], timestamptz
) is
  'Where messages that are due stand with their limits.';

-- Lets through what the limits allow, in turn; everything else joins a line.
--
-- locks   the counters, in id order
create or replace function dripdrop._admit(decisions dripdrop._decision[], at timestamptz)
returns dripdrop._decision[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_limits dripdrop._limit[] := dripdrop._lock_counters(decisions, _admit.at);
  v_counters dripdrop.counters[];
  v_places dripdrop._place[] := array[]::dripdrop._place[];
begin
  if cardinality(v_limits) = 0 then
    return decisions;
  end if;
  v_counters := array(select c from dripdrop._counters_of(v_limits, _admit.at) as c);
  if not dripdrop._all_fit(
    v_limits,
    v_counters,
    array(
      select
        case
          when c.room_at is null then dripdrop._room_in_line(c, _admit.at)
          else 0
        end
      from unnest(v_counters) as c
    )
  )
  then
    v_counters := array(select c from dripdrop._counters_of(v_limits, _admit.at, true) as c);
    v_places := array(
      select p from dripdrop._asked_of_limits(decisions, v_limits, v_counters, _admit.at) as p
    );
  end if;
  perform dripdrop._note_let_through(v_limits, v_counters, v_places, _admit.at);
  return array(
    select d
    from dripdrop._allowed_decisions(decisions, v_limits, v_counters, v_places, _admit.at) as d
    union all
    select d
    from dripdrop._decisions_to_wait(decisions, v_counters, v_places, _admit.at) as d
  );
end
$$;

comment on function dripdrop._admit(dripdrop._decision[], timestamptz) is
  'Decisions to send that stay within all limits; those that would not wait in a line.';

-- The same question without anything being locked or written.
create or replace function dripdrop._would_admit(decision dripdrop._decision, at timestamptz)
returns dripdrop._decision
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_decisions dripdrop._decision[] := array[decision];
  v_limits dripdrop._limit[] := array(
    select l from dripdrop._limits_on(v_decisions, _would_admit.at) as l
  );
  v_counters dripdrop.counters[] := array(
    select c from dripdrop._counters_of(v_limits, _would_admit.at, true) as c
  );
  v_waiting dripdrop._decision;
begin
  select d.* into v_waiting
  from dripdrop._decisions_to_wait(
    v_decisions,
    v_counters,
    array(
      select p
      from dripdrop._asked_of_limits(v_decisions, v_limits, v_counters, _would_admit.at) as p
    ),
    _would_admit.at
  ) as d;
  return case when found then v_waiting else decision end;
end
$$;

comment on function dripdrop._would_admit(dripdrop._decision, timestamptz) is
  'What _admit() would say about one message alone.';

-- Here what has really left decides, so that no limit is exceeded in any window, however long a
-- message took from tick() to the fence; limits that were set meanwhile count as well. until of a
-- decision is when it must have left. ahead: how long before its sender has room a message may be
-- claimed, to leave when there is.
--
-- locks   the counters, in id order
create or replace function dripdrop._admit_at_fence(
  decisions dripdrop._decision[],
  at timestamptz,
  ahead interval
)
returns dripdrop._decision[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_limits dripdrop._limit[] := dripdrop._lock_counters(decisions, _admit_at_fence.at);
  v_counters dripdrop.counters[];
  v_places dripdrop._place[] := array[]::dripdrop._place[];
begin
  if cardinality(v_limits) = 0 then
    return decisions;
  end if;
  v_counters := array(select c from dripdrop._counters_of(v_limits, _admit_at_fence.at) as c);
  if not dripdrop._all_fit(
    v_limits,
    v_counters,
    array(
      select c.max_count - dripdrop._used(c, _admit_at_fence.at) from unnest(v_counters) as c
    )
  )
  then
    v_places := array(
      select p
      from dripdrop._allocate(
        decisions,
        v_limits,
        v_counters,
        array(
          select c.max_count - dripdrop._used(
            c,
            _admit_at_fence.at + case
              when dripdrop._may_be_early(c) then _admit_at_fence.ahead
              else interval '0'
            end
          )
          from unnest(v_counters) as c
        ),
        array_fill(0, array[cardinality(v_counters)]),
        _admit_at_fence.at
      ) as p
    );
  end if;
  decisions := array(
    select d
    from dripdrop._allowed_decisions(
      decisions, v_limits, v_counters, v_places, _admit_at_fence.at
    ) as d
    union all
    select d
    from dripdrop._decisions_to_wait(decisions, v_counters, v_places, _admit_at_fence.at) as d
  );
  perform dripdrop._note_taken(
    decisions, v_limits, v_counters, _admit_at_fence.at, _admit_at_fence.ahead
  );
  return decisions;
end
$$;

comment on function dripdrop._admit_at_fence(dripdrop._decision[], timestamptz, interval) is
  'Decisions to send that what has left allows; those that it does not wait in a line again.';
