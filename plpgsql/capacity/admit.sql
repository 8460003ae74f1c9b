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

create or replace function dripdrop._limit_reason(scope text)
returns text
language sql
immutable
parallel safe
return case scope
  when 'gap' then 'min_gap'
  when 'day' then 'daily_cap'
  when 'share' then 'share_cap'
  when 'step_day' then 'step_daily_cap'
  when 'concurrency' then 'concurrency'
  when 'subscriber' then 'frequency_cap'
  else 'rate_limit'
end;

comment on function dripdrop._limit_reason(text) is 'The reason code of a limit that is used up.';

create or replace function dripdrop._describe_limit(
  scope text,
  subject text,
  max_count int,
  per interval
)
returns text
language sql
immutable
parallel safe
return concat_ws(
  ' ',
  scope,
  nullif(subject, ''),
  max_count,
  case when per is not null then 'per ' || per when scope <> 'concurrency' then 'a day' end
);

comment on function dripdrop._describe_limit(text, text, int, interval) is
  'A limit as people read it.';

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

-- The limit in whose line a message stands while it is under way: one that counts what is under
-- way, if there is one.
create or replace function dripdrop._with_counters(
  decisions dripdrop._decision[],
  limits dripdrop._limit[]
)
returns dripdrop._decision[]
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
  select array_agg(
    row(
      d.execution_id, d.gate, d.action, d.reason, d.detail, d.until, d.adapter_id, d.recipient,
      d.limited, coalesce(own.counter_id, d.counter_id)
    )::dripdrop._decision
  )
  from unnest(decisions) as d
  left join (
    select distinct on (l.execution_id) l.execution_id, l.counter_id
    from unnest(limits) as l
    order by l.execution_id, l.scope <> 'concurrency', l.scope <> 'day', l.counter_id
  ) as own on own.execution_id = d.execution_id
$$;

comment on function dripdrop._with_counters(dripdrop._decision[], dripdrop._limit[]) is
  'Decisions with the limit that each message is counted by.';

-- Lets through what the limits allow, in turn, and gives everything else a place in line: the k-th
-- that is blocked gets the k-th slot, once. tick() asks before anything is rendered, and keeps to
-- what it promised; the fence asks again, and there what has really left decides, so that no limit
-- is exceeded in any window, however long a message took from the one to the other.
--
-- locks   the counters, in id order
create or replace function dripdrop._admit(
  decisions dripdrop._decision[],
  at timestamptz,
  at_fence boolean
)
returns dripdrop._decision[]
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_mergejoin = off
as $$
declare
  v_limits dripdrop._limit[];
  -- One element per counter.
  v_ids uuid[];
  v_scopes text[];
  v_max int[];
  v_per interval[];
  v_zones text[];
  v_days date[];
  v_used int[];
  v_left int[];
  v_demand int[];
  v_head int[];
  v_base int[];
  v_until timestamptz[];
  v_granted int[];
  -- The rings of all counters, one after the other.
  v_ring timestamptz[];
  -- These three limit the same messages, all of a sender's: a place in one line is one in all.
  v_core constant text[] := array['adapter', 'gap', 'day'];
  v_message record;
  v_next timestamptz;
  v_slot timestamptz;
  v_blocker int;
  v_held_scope text;
  v_blocked uuid[] := array[]::uuid[];
  v_slots timestamptz[] := array[]::timestamptz[];
  v_blockers int[] := array[]::int[];
  i int;
begin
  v_limits := array(select l from dripdrop._limits_on(decisions, _admit.at) as l);
  if cardinality(v_limits) = 0 then
    return decisions;
  end if;

  if exists (select from unnest(v_limits) as l where l.counter_id is null) then
    insert into dripdrop.counters (tenant_key, scope, owner_id, subject, max_count, per)
    select distinct on (l.subject, l.scope, l.owner_id, l.tenant_key)
      l.tenant_key, l.scope, l.owner_id, l.subject, l.max_count, l.per
    from unnest(v_limits) as l
    where l.counter_id is null
    order by l.subject, l.scope, l.owner_id, l.tenant_key
    on conflict on constraint counters_one_per_subject do nothing;
    v_limits := array(select l from dripdrop._limits_on(decisions, _admit.at) as l);
  end if;
  perform from dripdrop.counters as c
  where c.id in (select l.counter_id from unnest(v_limits) as l)
  order by c.id
  for no key update;

  select
    array_agg(c.id order by c.id),
    array_agg(c.scope order by c.id),
    array_agg(c.max_count order by c.id),
    array_agg(c.per order by c.id),
    array_agg(c.time_zone order by c.id),
    array_agg(
      case
        when not at_fence and (c.counter).line_day > c.today then (c.counter).line_day
        else c.today
      end
      order by c.id
    ),
    array_agg(
      case
        when not at_fence and (c.counter).line_day > c.today then (c.counter).line_used
        else c.max_count
        - dripdrop._left(c.counter, c.max_count, c.per, c.today, _admit.at, at_fence)
      end
      order by c.id
    ),
    array_agg(
      dripdrop._left(c.counter, c.max_count, c.per, c.today, _admit.at, at_fence) order by c.id
    ),
    array_agg(c.demand order by c.id)
  into v_ids, v_scopes, v_max, v_per, v_zones, v_days, v_used, v_left, v_demand
  from (
    select
      k.id,
      k.scope,
      k as counter,
      l.max_count,
      l.per,
      l.time_zone,
      (_admit.at at time zone l.time_zone)::date as today,
      l.demand
    from (
      select
        n.counter_id, max(n.max_count) as max_count, max(n.per) as per,
        max(n.time_zone) as time_zone, count(*)::int as demand
      from unnest(v_limits) as n
      group by n.counter_id
    ) as l
    join dripdrop.counters as k on k.id = l.counter_id
  ) as c;

  -- Mostly there is room for all of them.
  if not exists (
    select from unnest(v_demand, v_left) as n (demand, room) where n.demand > n.room
  )
    and (
      at_fence
      or not exists (
        select from unnest(decisions) as d
        join dripdrop.step_executions as x on x.id = d.execution_id
        where d.limited and d.action = 'send' and x.counter_id is not null
      )
    )
  then
    update dripdrop.counters as c
    set max_count = n.max_count,
        per = n.per,
        taken = case
          when at_fence and n.per is not null
          then dripdrop._lengthened(c.taken, _admit.at, n.demand, n.max_count)
          else c.taken
        end,
        line = case
          when not at_fence and n.per is not null
          then dripdrop._lengthened(c.line, _admit.at, n.demand, n.max_count)
          else c.line
        end,
        granted = case
          when not at_fence and n.per is not null
          then dripdrop._lengthened(c.granted, _admit.at, n.demand, n.max_count)
          else c.granted
        end,
        day = case when at_fence and n.per is null then n.day else c.day end,
        used = case when at_fence and n.per is null then n.used + n.demand else c.used end,
        line_day = case when not at_fence and n.per is null then n.day else c.line_day end,
        line_used = case
          when not at_fence and n.per is null then n.used + n.demand
          else c.line_used
        end,
        updated_at = _admit.at
    from unnest(v_ids, v_max, v_per, v_days, v_used, v_demand)
      as n (id, max_count, per, day, used, demand)
    where c.id = n.id;
    return dripdrop._with_counters(decisions, v_limits);
  end if;

  -- Rings begin with their oldest time; what was never used counts as long ago.
  v_ring := array(
    select t.slot
    from unnest(v_ids, v_max, v_per) with ordinality as n (id, max_count, per, place)
    join dripdrop.counters as c on c.id = n.id
    cross join lateral (
      select case when at_fence then c.taken else c.line end as slots
    ) as known
    cross join lateral unnest(
      array_fill(
        timestamptz '-infinity',
        array[greatest(n.max_count - cardinality(known.slots), 0)]
      )
      || known.slots[greatest(cardinality(known.slots) - n.max_count + 1, 1):]
    ) with ordinality as t (slot, place)
    where n.per is not null
    order by n.place, t.place
  );
  select array_agg(b.base order by b.place), array_agg(1 order by b.place)
  into v_base, v_head
  from (
    select
      n.place,
      coalesce(
        sum(case when n.per is not null then n.max_count end)
          over (order by n.place rows between unbounded preceding and 1 preceding),
        0
      )::int as base
    from unnest(v_max, v_per) with ordinality as n (max_count, per, place)
  ) as b;
  v_until := array_fill(null::timestamptz, array[cardinality(v_ids)]);
  v_granted := array_fill(0, array[cardinality(v_ids)]);

  -- Who has waited goes first, then the higher priority; sequences that share a sender take turns
  -- by what they have used of it, so that none starves another.
  for v_message in
    select
      m.execution_id,
      m.held,
      m.ordinals
    from (
      select
        x.id as execution_id,
        case when x.due_at is not null or at_fence then x.counter_id end as held,
        q.priority,
        coalesce(b.daily_volume_target, 0) as target,
        coalesce(b.weight, 1) as weight,
        coalesce(b.used, 0) + row_number() over (
          partition by d.adapter_id, s.sequence_version_id
          order by q.priority desc, x.scheduled_for, x.id
        ) as turn,
        x.scheduled_for,
        n.ordinals
      from (
        select l.execution_id, array_agg(k.place::int order by k.place) as ordinals
        from unnest(v_limits) as l
        join unnest(v_ids) with ordinality as k (id, place) on k.id = l.counter_id
        group by l.execution_id
      ) as n
      join dripdrop.step_executions as x on x.id = n.execution_id
      join dripdrop.steps as s on s.id = x.step_id
      join dripdrop.sequence_versions as v on v.id = s.sequence_version_id
      join dripdrop.sequences as q on q.id = v.sequence_id
      join unnest(decisions) as d on d.execution_id = n.execution_id
      left join lateral (
        select g.daily_volume_target, g.weight, c.used
        from dripdrop.adapter_sequence_budgets as g
        left join dripdrop.counters as c
          on c.subject = '' and c.scope = 'share' and c.owner_id = g.id
        where g.adapter_id = d.adapter_id and g.sequence_version_id = s.sequence_version_id
      ) as b on true
    ) as m
    order by
      m.held is null, m.priority desc, m.turn > m.target, m.turn::numeric / m.weight,
      m.scheduled_for, m.execution_id
  loop
    v_slot := _admit.at;
    v_blocker := null;
    v_held_scope := v_scopes[array_position(v_ids, v_message.held)];
    foreach i in array v_message.ordinals loop
      continue when not at_fence and (
        v_ids[i] = v_message.held or (v_scopes[i] = any (v_core) and v_held_scope = any (v_core))
      );
      v_next := case
        when v_scopes[i] = 'concurrency' then
          _admit.at
          + case when v_used[i] < v_max[i] then interval '0' else interval '30 seconds' end
        when v_per[i] is not null then v_ring[v_base[i] + v_head[i]] + v_per[i]
        when v_used[i] < v_max[i] then v_days[i]::timestamp at time zone v_zones[i]
        else (v_days[i] + 1)::timestamp at time zone v_zones[i]
      end;
      if v_next > v_slot then
        v_slot := v_next;
        v_blocker := i;
      end if;
    end loop;

    if v_blocker is null then
      foreach i in array v_message.ordinals loop
        v_granted[i] := v_granted[i] + 1;
        continue when not at_fence and (
          v_ids[i] = v_message.held or (v_scopes[i] = any (v_core) and v_held_scope = any (v_core))
        );
        v_used[i] := v_used[i] + 1;
        if v_per[i] is not null then
          v_ring[v_base[i] + v_head[i]] := _admit.at;
          v_head[i] := v_head[i] % v_max[i] + 1;
        end if;
      end loop;
    else
      v_blocked := v_blocked || v_message.execution_id;
      v_slots := v_slots || v_slot;
      v_blockers := v_blockers || v_blocker;
      continue when at_fence;
      foreach i in array v_message.ordinals loop
        continue when i <> v_blocker
          and not (v_scopes[i] = any (v_core) and v_scopes[v_blocker] = any (v_core));
        if v_per[i] is not null then
          v_ring[v_base[i] + v_head[i]] := v_slot;
          v_head[i] := v_head[i] % v_max[i] + 1;
        elsif (v_slot at time zone v_zones[i])::date > v_days[i] then
          v_days[i] := (v_slot at time zone v_zones[i])::date;
          v_used[i] := 1;
        else
          v_used[i] := v_used[i] + 1;
        end if;
        v_until[i] := greatest(v_until[i], v_slot);
      end loop;
    end if;
  end loop;

  update dripdrop.counters as c
  set max_count = n.max_count,
      per = n.per,
      taken = case when at_fence and n.per is not null then ring.slots else c.taken end,
      granted = case
        when at_fence or n.per is null then c.granted
        else (c.granted || array_fill(_admit.at, array[n.granted]))[
          greatest(cardinality(c.granted) + n.granted - n.max_count + 1, 1):
        ]
      end,
      line = case when not at_fence and n.per is not null then ring.slots else c.line end,
      day = case when at_fence and n.per is null then n.day else c.day end,
      used = case when at_fence and n.per is null then n.used else c.used end,
      line_day = case when not at_fence and n.per is null then n.day else c.line_day end,
      line_used = case when not at_fence and n.per is null then n.used else c.line_used end,
      line_until = greatest(c.line_until, n.until),
      updated_at = _admit.at
  from unnest(v_ids, v_max, v_per, v_days, v_used, v_base, v_head, v_until, v_granted)
    as n (id, max_count, per, day, used, base, head, until, granted)
  cross join lateral (
    select array_remove(
      v_ring[n.base + n.head:n.base + n.max_count] || v_ring[n.base + 1:n.base + n.head - 1],
      '-infinity'
    ) as slots
  ) as ring
  where c.id = n.id;

  return array(
    select
      case
        when b.execution_id is null then d
        else row(
          d.execution_id,
          case when v_scopes[b.blocker] = 'subscriber' then 'frequency' else 'capacity' end,
          'defer',
          dripdrop._limit_reason(v_scopes[b.blocker]),
          dripdrop._describe_limit(
            v_scopes[b.blocker], c.subject, v_max[b.blocker], v_per[b.blocker]
          ),
          -- A day has one beginning: not everybody at once.
          b.slot + case
            when v_per[b.blocker] is null and v_scopes[b.blocker] <> 'concurrency'
            then make_interval(secs => hashtextextended(d.execution_id::text, 0) & 511)
            else interval '0'
          end,
          d.adapter_id, d.recipient, d.limited, v_ids[b.blocker]
        )::dripdrop._decision
      end
    from unnest(dripdrop._with_counters(decisions, v_limits)) as d
    left join unnest(v_blocked, v_slots, v_blockers) as b (execution_id, slot, blocker)
      on b.execution_id = d.execution_id
    left join dripdrop.counters as c on c.id = v_ids[b.blocker]
  );
end
$$;

comment on function dripdrop._admit(dripdrop._decision[], timestamptz, boolean) is
  'Decisions to send that stay within all limits; those that would not become deferrals to a slot '
  'of their own.';
