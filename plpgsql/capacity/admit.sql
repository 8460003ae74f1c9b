-- Decisions to send in the order in which they are asked. Who has waited goes first. Tenants that
-- share a sender take turns; of one tenant's messages those of the higher priority go first, and
-- its sequences take turns by what they have used of the sender, so that none starves another.
--
-- limits: the places in tallies of what limits the message. asked: those it has to ask; before the
-- fence it has its place in the line that it stands in, and with it in all lines of its sender
-- (together), which every message of the sender stands in.
create or replace function dripdrop._in_turn(
  decisions dripdrop._decision[],
  limits dripdrop._limit[],
  tallies dripdrop._tally[],
  at_fence boolean
)
returns table (execution_id uuid, limits int[], asked int[], together int[])
language sql
stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_mergejoin = off
as $$
  with
  tally as materialized (
    select k.counter_id, k.scope in ('adapter', 'gap', 'day') as is_senders, k.place::int
    from unnest(tallies) with ordinality as k (
      counter_id, scope, subject, max_count, per, time_zone, day, used, room, demand, place
    )
  ),
  message as materialized (
    select
      x.id,
      x.tenant_key,
      x.step_id,
      x.scheduled_for,
      d.adapter_id,
      case when x.due_at is not null or at_fence then x.counter_id end as held,
      not at_fence and x.due_at is not null and coalesce(h.is_senders, false) as holds_senders
    from unnest(decisions) as d
    join dripdrop.step_executions as x on x.id = d.execution_id
    left join tally as h on h.counter_id = x.counter_id
    where d.limited and d.action = 'send'
  ),
  ask as (
    select
      m.id,
      array_agg(k.place order by k.place) as limits,
      coalesce(
        array_agg(k.place order by k.place) filter (
          where at_fence
            or not (
              (k.counter_id = m.held and m.held is not null)
              or (k.is_senders and m.holds_senders)
            )
        ),
        '{}'
      ) as asked,
      coalesce(array_agg(k.place) filter (where k.is_senders), '{}') as together
    from unnest(limits) as l
    join tally as k on k.counter_id = l.counter_id
    join message as m on m.id = l.execution_id
    group by m.id
  ),
  ranked as (
    select
      m.id,
      m.held is null as is_new,
      m.scheduled_for,
      row_number() over (
        partition by m.tenant_key
        order by
          m.held is null, m.priority desc, m.turn > m.target, m.turn::numeric / m.weight,
          m.scheduled_for, m.id
      ) as turn
    from (
      select
        n.*,
        q.priority,
        coalesce(b.daily_volume_target, 0) as target,
        coalesce(b.weight, 1) as weight,
        coalesce(b.used, 0) + row_number() over (
          partition by n.adapter_id, s.sequence_version_id
          order by q.priority desc, n.scheduled_for, n.id
        ) as turn
      from message as n
      join dripdrop.steps as s on s.id = n.step_id
      join dripdrop.sequence_versions as v on v.id = s.sequence_version_id
      join dripdrop.sequences as q on q.id = v.sequence_id
      left join lateral (
        select g.daily_volume_target, g.weight, c.used
        from dripdrop.adapter_sequence_budgets as g
        left join dripdrop.counters as c
          on c.subject = '' and c.scope = 'share' and c.owner_id = g.id
        where g.adapter_id = n.adapter_id and g.sequence_version_id = s.sequence_version_id
      ) as b on true
    ) as m
  )
  select a.id, a.limits, a.asked, a.together
  from ask as a
  join ranked as r on r.id = a.id
  order by r.is_new, r.turn, r.scheduled_for, r.id
$$;

comment on function dripdrop._in_turn(
  dripdrop._decision[], dripdrop._limit[], dripdrop._tally[], boolean
) is
  'Decisions to send, fairly ordered, and which limits each has to ask.';

-- Who may go now, and who waits until when. A message goes when all its limits have room; else it
-- takes its place behind those who wait for the one that has room last. Nothing is written:
-- entries are what the counters are to be set to.
create or replace function dripdrop._share_out(
  decisions dripdrop._decision[],
  limits dripdrop._limit[],
  at timestamptz,
  at_fence boolean,
  out blocked dripdrop._blocked[],
  out entries dripdrop._entry[]
)
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_tallies dripdrop._tally[] := array(
    select t from dripdrop._tallies(limits, _share_out.at, at_fence) as t
  );
  -- One element per tally.
  v_scopes text[];
  v_max int[];
  v_per interval[];
  v_zones text[];
  v_days date[];
  v_used int[];
  v_granted int[];
  v_until timestamptz[];
  -- Where the ring of each begins in v_ring, and its oldest time in that.
  v_base int[];
  v_head int[];
  v_ring timestamptz[];
  v_message record;
  v_free timestamptz;
  v_slot timestamptz;
  v_blocker int;
  i int;
begin
  blocked := '{}';
  -- Mostly there is room for all of them.
  if not exists (select from unnest(v_tallies) as t where t.demand > t.room)
    and (
      at_fence
      or not exists (
        select from unnest(limits) as l
        join dripdrop.step_executions as x on x.id = l.execution_id
        where x.counter_id is not null
      )
    )
  then
    entries := array(
      select row(
        t.counter_id, t.max_count, t.per, t.day, t.used + t.demand, t.demand, null, null
      )::dripdrop._entry
      from unnest(v_tallies) as t
    );
    return;
  end if;

  select
    array_agg(t.scope order by t.place),
    array_agg(t.max_count order by t.place),
    array_agg(t.per order by t.place),
    array_agg(t.time_zone order by t.place),
    array_agg(t.day order by t.place),
    array_agg(t.used order by t.place),
    array_agg(0 order by t.place),
    array_agg(null::timestamptz order by t.place),
    array_agg(t.base order by t.place),
    array_agg(1 order by t.place)
  into v_scopes, v_max, v_per, v_zones, v_days, v_used, v_granted, v_until, v_base, v_head
  from (
    select
      n.*,
      coalesce(
        sum(n.max_count) filter (where n.per is not null)
          over (order by n.place rows between unbounded preceding and 1 preceding),
        0
      )::int as base
    from unnest(v_tallies) with ordinality as n (
      counter_id, scope, subject, max_count, per, time_zone, day, used, room, demand, place
    )
  ) as t;
  v_ring := dripdrop._rings(v_tallies, at_fence);

  for v_message in select * from dripdrop._in_turn(decisions, limits, v_tallies, at_fence) loop
    v_slot := _share_out.at;
    v_blocker := null;
    foreach i in array v_message.asked loop
      v_free := case
        when v_scopes[i] = 'concurrency'
        then case when v_used[i] >= v_max[i] then _share_out.at + interval '30 seconds' end
        when v_per[i] is not null then v_ring[v_base[i] + v_head[i]] + v_per[i]
        else (v_days[i] + (v_used[i] >= v_max[i])::int)::timestamp at time zone v_zones[i]
      end;
      if v_free > v_slot then
        v_slot := v_free;
        v_blocker := i;
      end if;
    end loop;

    if v_blocker is null then
      foreach i in array v_message.limits loop
        v_granted[i] := v_granted[i] + 1;
      end loop;
    else
      blocked := blocked || row(
        v_message.execution_id,
        v_slot,
        v_scopes[v_blocker],
        (v_tallies[v_blocker]).subject,
        v_max[v_blocker],
        v_per[v_blocker],
        (v_tallies[v_blocker]).counter_id
      )::dripdrop._blocked;
      -- At the fence nobody is promised anything: tick() does that.
      continue when at_fence;
    end if;
    foreach i in array
      case
        when v_blocker is null then v_message.asked
        when v_blocker = any (v_message.together) then v_message.together
        else array[v_blocker]
      end
    loop
      if v_per[i] is not null then
        v_ring[v_base[i] + v_head[i]] := v_slot;
        v_head[i] := v_head[i] % v_max[i] + 1;
      elsif v_scopes[i] <> 'concurrency'
        and (v_slot at time zone v_zones[i])::date > v_days[i]
      then
        v_days[i] := (v_slot at time zone v_zones[i])::date;
        v_used[i] := 1;
      else
        v_used[i] := v_used[i] + 1;
      end if;
      if v_blocker is not null then
        v_until[i] := greatest(v_until[i], v_slot);
      end if;
    end loop;
  end loop;

  entries := array(
    select row(
      t.counter_id,
      t.max_count,
      t.per,
      n.day,
      n.used,
      n.granted,
      case
        when t.per is not null
        then array_remove(
          v_ring[n.base + n.head:n.base + t.max_count] || v_ring[n.base + 1:n.base + n.head - 1],
          '-infinity'
        )
      end,
      n.until
    )::dripdrop._entry
    from unnest(v_tallies) with ordinality as t (
      counter_id, scope, subject, max_count, per, time_zone, day, used, room, demand, place
    )
    join unnest(v_days, v_used, v_granted, v_until, v_base, v_head) with ordinality as n (
      day, used, granted, until, base, head, place
    )
      on n.place = t.place
  );
end
$$;

comment on function dripdrop._share_out(
  dripdrop._decision[], dripdrop._limit[], timestamptz, boolean
) is
  'Which of these messages their limits let wait, and what the counters are afterwards.';

-- A message is counted by one of its limits while it is under way: by the one it waits for, else by
-- one that counts what is under way, if there is one.
create or replace function dripdrop._put_off(
  decisions dripdrop._decision[],
  limits dripdrop._limit[],
  blocked dripdrop._blocked[]
)
returns setof dripdrop._decision
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
  select
    d.execution_id,
    case
      when b.execution_id is null then d.gate
      when b.scope = 'subscriber' then 'frequency'
      else 'capacity'
    end,
    case when b.execution_id is null then d.action else 'defer' end,
    case when b.execution_id is null then d.reason else dripdrop._limit_reason(b.scope) end,
    case
      when b.execution_id is null then d.detail
      else dripdrop._describe_limit(b.scope, b.subject, b.max_count, b.per)
    end,
    case
      when b.execution_id is null then d.until
      -- A day has one beginning: not everybody at once.
      when b.per is null and b.scope <> 'concurrency'
      then b.until + make_interval(secs => hashtextextended(d.execution_id::text, 0) & 511)
      else b.until
    end,
    d.adapter_id,
    d.recipient,
    d.limited,
    coalesce(b.counter_id, own.counter_id, d.counter_id)
  from unnest(decisions) as d
  left join unnest(blocked) as b on b.execution_id = d.execution_id
  left join (
    select distinct on (l.execution_id) l.execution_id, l.counter_id
    from unnest(limits) as l
    order by l.execution_id, l.scope <> 'concurrency', l.scope <> 'day', l.counter_id
  ) as own on own.execution_id = d.execution_id
$$;

comment on function dripdrop._put_off(
  dripdrop._decision[], dripdrop._limit[], dripdrop._blocked[]
) is
  'Decisions to send, but for those that wait for a limit, which are deferred.';

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
  v_limits dripdrop._limit[] := array(
    select l from dripdrop._limits_on(decisions, _admit.at) as l
  );
  v_shares record;
begin
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

  v_shares := dripdrop._share_out(decisions, v_limits, _admit.at, at_fence);
  perform dripdrop._keep(v_shares.entries, _admit.at, at_fence);
  return array(select d from dripdrop._put_off(decisions, v_limits, v_shares.blocked) as d);
end
$$;

comment on function dripdrop._admit(dripdrop._decision[], timestamptz, boolean) is
  'Decisions to send that stay within all limits; those that would not become deferrals to a slot '
  'of their own.';

-- The same question without the counters being locked or written; a counter that does not exist yet
-- has counted nothing.
create or replace function dripdrop._would_admit(
  decision dripdrop._decision,
  at timestamptz
)
returns dripdrop._decision
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_decisions dripdrop._decision[] := array[decision];
  v_limits dripdrop._limit[] := array(
    select l
    from dripdrop._limits_on(v_decisions, _would_admit.at) as l
    where l.counter_id is not null
  );
  v_shares record;
begin
  if cardinality(v_limits) = 0 then
    return decision;
  end if;
  v_shares := dripdrop._share_out(v_decisions, v_limits, _would_admit.at, false);
  return (select d from dripdrop._put_off(v_decisions, v_limits, v_shares.blocked) as d);
end
$$;

comment on function dripdrop._would_admit(dripdrop._decision, timestamptz) is
  'What _admit() would say about one message alone.';
