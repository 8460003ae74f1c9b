-- Capacity that nobody uses goes to who waits for it: what stands in front of a line is due as soon
-- as there is room, before its slot. So whatever is stopped, paused or fails gives back what it was
-- promised, without anybody having to say so. The sequences in a line take turns.
--
-- locks   executions that wait, skipping what is locked
create or replace function dripdrop._pull(at timestamptz)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  v_counter record;
begin
  for v_counter in
    select
      c.id,
      least(
        dripdrop._left(
          c, c.max_count, c.per, (_pull.at at time zone zone.name)::date, _pull.at, true
        ),
        1000
      ) - (
        select count(*)
        from dripdrop.step_executions as x
        where x.counter_id = c.id
          and x.ended_at is null
          and (x.due_at <= _pull.at or (x.due_at is null and x.state in ('queued', 'rendered')))
      ) as room,
      c.max_count - (
        select count(*) from unnest(c.granted) as g (slot) where g.slot > _pull.at - c.per
      ) as ungranted
    from dripdrop.counters as c
    left join dripdrop.channel_adapters as a
      on a.id = c.owner_id and c.scope in ('day', 'gap', 'adapter', 'concurrency')
    cross join lateral (
      select coalesce(a.time_zone, dripdrop._default_time_zone(c.tenant_key)) as name
    ) as zone
    where c.line_until > _pull.at
  loop
    continue when least(v_counter.room, v_counter.ungranted) <= 0;
    update dripdrop.step_executions as x
    set due_at = _pull.at
    where x.id = any (array(
      select w.id
      from (
        select
          h.id,
          h.due_at,
          row_number() over (
            partition by s.sequence_version_id order by h.due_at, h.id
          ) as turn
        from (
          select n.id, n.due_at, n.step_id
          from dripdrop.step_executions as n
          where n.counter_id = v_counter.id and n.due_at > _pull.at and n.ended_at is null
          order by n.due_at
          limit 10000
        ) as h
        join dripdrop.steps as s on s.id = h.step_id
      ) as w
      order by w.turn, w.due_at, w.id
      limit least(v_counter.room, v_counter.ungranted)
    ))
      and x.due_at > _pull.at;
  end loop;
end
$$;

comment on function dripdrop._pull(timestamptz) is
  'Makes due what waits in the lines of limits that have room.';

-- Whoever comes late to a line that others fill does not wait for all of them: the first message
-- of a second sequence takes the second place, and who stood there takes the place that was
-- promised to the newcomer.
--
-- locks   executions that wait, skipping what is locked
create or replace function dripdrop._take_turns(
  counter_id uuid,
  newcomers uuid[],
  at timestamptz
)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  with
  waiting as materialized (
    select
      h.id,
      h.due_at,
      h.id = any (newcomers) as is_new,
      s.sequence_version_id as flow,
      row_number() over (order by h.due_at, h.id) as place,
      row_number() over (partition by s.sequence_version_id order by h.due_at, h.id) as turn
    from (
      select n.id, n.due_at, n.step_id
      from dripdrop.step_executions as n
      where n.counter_id = _take_turns.counter_id
        and n.due_at > _take_turns.at
        and n.ended_at is null
      order by n.due_at
      limit 10000
    ) as h
    join dripdrop.steps as s on s.id = h.step_id
  ),
  flows as (select count(distinct w.flow) as number from waiting as w),
  swap as (
    select w.id, w.due_at, v.id as other_id, v.due_at as other_due_at
    from waiting as w
    cross join flows as f
    join waiting as v on v.place = w.turn * f.number
    where w.is_new
      and not v.is_new
      and v.flow <> w.flow
      and v.due_at < w.due_at
      and f.number > 1
  ),
  locked as (
    select x.id
    from dripdrop.step_executions as x
    where x.id in (select s.other_id from swap as s)
    for no key update skip locked
  )
  update dripdrop.step_executions as x
  set due_at = case when x.id = s.id then s.other_due_at else s.due_at end
  from swap as s
  join locked as l on l.id = s.other_id
  where x.id in (s.id, s.other_id)
$$;

comment on function dripdrop._take_turns(uuid, uuid[], timestamptz) is
  'Gives newcomers of a sequence their turns among those of others in the line of a limit.';

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
