-- Decisions to send in the order in which they are asked. Who has waited goes first. Tenants that
-- share a sender take turns; of one tenant's messages those of the higher priority go first, and
-- its sequences take turns by what they have used of the sender, so that none starves another.
--
-- limits: the places in tallies of the limits on the message. kept: of those, the ones that it does
-- not ask again, because it has come to the head of their line. together: those that have one line
-- with all other messages of its sender.
create or replace function dripdrop._in_turn(
  decisions dripdrop._decision[],
  limits dripdrop._limit[],
  tallies dripdrop._tally[],
  at_fence boolean
)
returns table (
  execution_id uuid,
  leave_by timestamptz,
  limits int[],
  kept int[],
  together int[]
)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  with
  tally as materialized (
    select c.id as counter_id, c.scope, dripdrop._line_sender(c) as sender_id, k.place::int
    from unnest(tallies) with ordinality as k (
      counter_id, scope, subject, max_count, per, time_zone, used, demand, until, place
    )
    join dripdrop.counters as c on c.id = k.counter_id
  ),
  message as materialized (
    select
      x.id,
      x.tenant_key,
      x.step_id,
      x.scheduled_for,
      d.adapter_id,
      d.until as leave_by,
      h.counter_id as held,
      h.sender_id
    from unnest(decisions) as d
    join dripdrop.step_executions as x on x.id = d.execution_id
    left join tally as h on h.counter_id = x.counter_id and x.due_at is not null
    where d.limited and d.action = 'send'
  ),
  asked as (
    select
      m.*,
      array_agg(k.place order by k.place) as limits,
      coalesce(
        array_agg(k.place) filter (
          where not at_fence
            and (k.counter_id = m.held or k.sender_id = m.sender_id)
        ),
        '{}'
      ) as kept,
      coalesce(array_agg(k.place) filter (where k.sender_id is not null), '{}') as together
    from unnest(limits) as l
    join tally as k on k.counter_id = l.counter_id
    join message as m on m.id = l.execution_id
    group by
      m.id, m.tenant_key, m.step_id, m.scheduled_for, m.adapter_id, m.leave_by, m.held,
      m.sender_id
  ),
  ranked as (
    select
      m.id,
      m.leave_by,
      m.limits,
      m.kept,
      m.together,
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
      from asked as n
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
  select r.id, r.leave_by, r.limits, r.kept, r.together
  from ranked as r
  order by r.is_new, r.turn, r.scheduled_for, r.id
$$;

comment on function dripdrop._in_turn(
  dripdrop._decision[], dripdrop._limit[], dripdrop._tally[], boolean
) is
  'Decisions to send, fairly ordered, and which limits each has to ask.';

-- Who may go now, and who waits until when. A message goes when all its limits have room; else it
-- takes its place behind those who wait for the one that has room last. At the fence who waits no
-- longer than ahead for its sender goes too, to leave at its slot; later says so. Nothing is
-- written: entries are what the counters are to be set to.
create or replace function dripdrop._share_out(
  decisions dripdrop._decision[],
  limits dripdrop._limit[],
  at timestamptz,
  at_fence boolean,
  ahead interval,
  out blocked dripdrop._blocked[],
  out later dripdrop._blocked[],
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
  v_standings dripdrop._standing[];
  -- One element per tally.
  v_scopes text[];
  v_max int[];
  v_per interval[];
  v_zones text[];
  v_used int[];
  v_days date[];
  v_day_used int[];
  v_until timestamptz[];
  -- How many went now, and how many places were left by those who wait for something else.
  v_added int[];
  v_vacated int[];
  -- The rings one after the other; where each begins, and its oldest time in that.
  v_ring timestamptz[];
  v_base int[];
  v_head int[];
  v_message record;
  v_free timestamptz;
  v_slot timestamptz;
  v_blocker int;
  i int;
begin
  blocked := '{}';
  later := '{}';
  -- Mostly there is room for all of them.
  if not exists (select from unnest(v_tallies) as t where t.used + t.demand > t.max_count)
    and (not at_fence or (select count(distinct d.until) <= 1 from unnest(decisions) as d))
  then
    entries := array(
      select row(
        t.counter_id, t.max_count, t.per, (_share_out.at at time zone t.time_zone)::date,
        t.used + t.demand, t.demand, null, t.until
      )::dripdrop._entry
      from unnest(v_tallies) as t
    );
    return;
  end if;

  v_standings := array(
    select s from dripdrop._standings(v_tallies, _share_out.at, at_fence) as s
  );
  select
    array_agg(n.scope order by n.place),
    array_agg(n.max_count order by n.place),
    array_agg(n.per order by n.place),
    array_agg(n.time_zone order by n.place),
    array_agg(n.used order by n.place),
    array_agg(n.day order by n.place),
    array_agg(n.day_used order by n.place),
    array_agg(n.until order by n.place),
    array_agg(0 order by n.place),
    array_agg(0 order by n.place),
    array_agg(n.base order by n.place),
    array_agg(1 order by n.place)
  into
    v_scopes, v_max, v_per, v_zones, v_used, v_days, v_day_used, v_until, v_added,
    v_vacated, v_base, v_head
  from (
    select
      s.place,
      t.scope,
      t.max_count,
      t.per,
      t.time_zone,
      s.used,
      s.day,
      s.day_used,
      s.until,
      coalesce(
        sum(cardinality(s.slots))
          over (order by s.place rows between unbounded preceding and 1 preceding),
        0
      )::int as base
    from unnest(v_standings) as s
    cross join lateral (select (v_tallies[s.place]).*) as t
  ) as n;
  v_ring := array(
    select t.slot
    from unnest(v_standings) as s
    cross join lateral unnest(s.slots) with ordinality as t (slot, place)
    order by s.place, t.place
  );

  for v_message in select * from dripdrop._in_turn(decisions, limits, v_tallies, at_fence) loop
    v_slot := _share_out.at;
    v_blocker := null;
    foreach i in array v_message.limits loop
      continue when v_vacated[i] > 0 or i = any (v_message.kept);
      v_free := case
        when v_per[i] is not null then v_ring[v_base[i] + v_head[i]] + v_per[i]
        else (v_days[i] + (v_day_used[i] >= v_max[i])::int)::timestamp at time zone v_zones[i]
      end;
      if v_free > v_slot then
        v_slot := v_free;
        v_blocker := i;
      end if;
    end loop;

    if at_fence
      and ahead > interval '0'
      and v_slot <= _share_out.at + ahead
      and v_blocker = any (v_message.together)
      and dripdrop._counts_on_the_wire(v_max[v_blocker], v_per[v_blocker])
    then
      later := later || row(
        v_message.execution_id, v_message.leave_by + (v_slot - _share_out.at), null, null, null,
        null, null
      )::dripdrop._blocked;
      v_blocker := null;
    end if;
    if v_blocker is not null then
      blocked := blocked || row(
        v_message.execution_id,
        v_slot,
        v_scopes[v_blocker],
        (v_tallies[v_blocker]).subject,
        v_max[v_blocker],
        v_per[v_blocker],
        (v_tallies[v_blocker]).counter_id
      )::dripdrop._blocked;
      v_until[v_blocker] := greatest(v_until[v_blocker], v_slot);
      foreach i in array v_message.kept loop
        v_vacated[i] := v_vacated[i] + 1;
      end loop;
    end if;
    foreach i in array
      case
        when v_blocker is null then v_message.limits
        -- At the fence nobody is promised anything: tick() does that.
        when at_fence then '{}'::int[]
        when v_blocker = any (v_message.together) then v_message.together
        else array[v_blocker]
      end
    loop
      if v_blocker is null then
        v_added[i] := v_added[i] + 1;
        v_used[i] := v_used[i] + 1;
      end if;
      if i = any (v_message.kept) then
        continue;
      elsif v_vacated[i] > 0 and v_blocker is null then
        v_vacated[i] := v_vacated[i] - 1;
      elsif v_per[i] is not null then
        v_ring[v_base[i] + v_head[i]] := case
          when at_fence and dripdrop._counts_on_the_wire(v_max[i], v_per[i])
          then coalesce(v_message.leave_by + (v_slot - _share_out.at), v_slot)
          else v_slot
        end;
        v_head[i] := v_head[i] % v_max[i] + 1;
      elsif (v_slot at time zone v_zones[i])::date > v_days[i] then
        v_days[i] := (v_slot at time zone v_zones[i])::date;
        v_day_used[i] := 1;
      else
        v_day_used[i] := v_day_used[i] + 1;
      end if;
    end loop;
  end loop;

  entries := array(
    select row(
      t.counter_id,
      t.max_count,
      t.per,
      (_share_out.at at time zone t.time_zone)::date,
      n.used,
      n.added,
      case
        when t.per is null then null
        when at_fence
        then array_remove(
          v_ring[n.base + n.head:n.base + t.max_count] || v_ring[n.base + 1:n.base + n.head - 1],
          '-infinity'
        )
        else dripdrop._lengthened(
          c.taken, _share_out.at, s.under_way + n.added, t.max_count
        )
      end,
      n.until
    )::dripdrop._entry
    from unnest(v_standings) as s
    join unnest(v_used, v_added, v_until, v_base, v_head) with ordinality as n (
      used, added, until, base, head, place
    )
      on n.place = s.place
    cross join lateral (select (v_tallies[s.place]).*) as t
    join dripdrop.counters as c on c.id = t.counter_id
  );
end
$$;

comment on function dripdrop._share_out(
  dripdrop._decision[], dripdrop._limit[], timestamptz, boolean, interval
) is
  'Which of these messages their limits let wait, which go a little later, and what the counters '
  'are afterwards.';

-- A message is counted by one of its limits while it is under way: by the one it waits for, else by
-- any. until of one that may go: when it must have left, if a limit counts that.
create or replace function dripdrop._put_off(
  decisions dripdrop._decision[],
  limits dripdrop._limit[],
  blocked dripdrop._blocked[],
  later dripdrop._blocked[]
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
      when b.execution_id is null
      then case when own.on_the_wire then coalesce(l.until, d.until) end
      -- A day has one beginning: not everybody at once.
      when b.per is null
      then b.until + make_interval(secs => hashtextextended(d.execution_id::text, 0) & 511)
      else b.until
    end,
    d.adapter_id,
    d.recipient,
    d.limited,
    coalesce(b.counter_id, own.counter_id, d.counter_id),
    case when b.execution_id is null then d.waits_for else 'limit' end
  from unnest(decisions) as d
  left join unnest(blocked) as b on b.execution_id = d.execution_id
  left join unnest(later) as l on l.execution_id = d.execution_id
  left join (
    select distinct on (l.execution_id)
      l.execution_id,
      l.counter_id,
      bool_or(dripdrop._counts_on_the_wire(l.max_count, l.per)) over (
        partition by l.execution_id
      ) as on_the_wire
    from unnest(limits) as l
    order by l.execution_id, l.scope <> 'day', l.counter_id
  ) as own on own.execution_id = d.execution_id
$$;

comment on function dripdrop._put_off(
  dripdrop._decision[], dripdrop._limit[], dripdrop._blocked[], dripdrop._blocked[]
) is
  'Decisions to send, but for those that wait for a limit, which are deferred.';

-- Lets through what the limits allow, in turn, and gives everything else a place in line: the k-th
-- that is blocked gets the k-th slot, once. tick() asks before anything is rendered, and keeps to
-- what it promised; the fence asks again, and there what has really left decides, so that no limit
-- is exceeded in any window, however long a message took from the one to the other. until of a
-- decision that comes to the fence is when it must have left.
--
-- locks   the counters, in id order
create or replace function dripdrop._admit(
  decisions dripdrop._decision[],
  at timestamptz,
  at_fence boolean,
  ahead interval default '0'
)
returns dripdrop._decision[]
language plpgsql
set search_path = pg_catalog, pg_temp
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

  v_shares := dripdrop._share_out(decisions, v_limits, _admit.at, at_fence, ahead);
  perform dripdrop._keep(
    v_shares.entries,
    _admit.at,
    case
      when at_fence then coalesce((select max(d.until) from unnest(decisions) as d), _admit.at)
    end
  );
  return array(
    select d
    from dripdrop._put_off(decisions, v_limits, v_shares.blocked, v_shares.later) as d
  );
end
$$;

comment on function dripdrop._admit(dripdrop._decision[], timestamptz, boolean, interval) is
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
  v_shares := dripdrop._share_out(v_decisions, v_limits, _would_admit.at, false, '0');
  return (
    select d
    from dripdrop._put_off(v_decisions, v_limits, v_shares.blocked, v_shares.later) as d
  );
end
$$;

comment on function dripdrop._would_admit(dripdrop._decision, timestamptz) is
  'What _admit() would say about one message alone.';
