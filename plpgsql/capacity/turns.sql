-- Tenants that wait for a limit take turns, and the sequences of each. place: where a message
-- stands by its slot; fair_place: where it would stand if everybody had come at once.
create or replace function dripdrop._line(counters uuid[], at timestamptz)
returns table (execution_id uuid, due_at timestamptz, place bigint, fair_place bigint)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select
    t.id,
    t.due_at,
    row_number() over (order by t.due_at, t.id),
    row_number() over (order by t.turn, t.due_at, t.id)
  from (
    select
      w.id,
      w.due_at,
      row_number() over (partition by w.tenant_key order by w.turn, w.due_at, w.id) as turn
    from (
      select
        h.id,
        h.tenant_key,
        h.due_at,
        row_number() over (partition by s.sequence_version_id order by h.due_at, h.id) as turn
      from (
        select x.id, x.tenant_key, x.due_at, x.step_id
        from dripdrop.step_executions as x
        where x.counter_id = any (_line.counters)
          and x.due_at > _line.at
          and x.ended_at is null
        order by x.due_at
        limit 10000
      ) as h
      join dripdrop.steps as s on s.id = h.step_id
    ) as w
  ) as t
$$;

comment on function dripdrop._line(uuid[], timestamptz) is
  'What waits in one line of limits: the first 10 000 messages, by slot and as it would be fair.';

-- Capacity that nobody uses goes to who waits for it: what stands in front of a line is due as soon
-- as there is room, before its slot. So whatever is stopped, paused or fails gives back what it was
-- promised, without anybody having to say so. tick() looks after the lines of senders, which are
-- few, and reconcile() after those of people, which are many. Most of these are full, and what has
-- left says so at once.
--
-- locks   executions that wait, skipping what is locked
create or replace function dripdrop._pull(counters uuid[], at timestamptz)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_line record;
begin
  for v_line in
    with
    line as materialized (
      select distinct dripdrop._one_line(c) as counters
      from dripdrop.counters as c
      where c.id = any (_pull.counters)
        and (
          c.per is null
          or c.max_count > (
            select count(*) from unnest(c.taken) as t (slot) where t.slot > _pull.at - c.per
          )
        )
    ),
    spare as materialized (
      select
        l.counters,
        c.id,
        least(
          dripdrop._left(
            c, c.max_count, c.per, (_pull.at at time zone zone.name)::date, _pull.at, true
          ),
          1000
        ) - (
          select count(*)
          from dripdrop.step_executions as x
          where x.counter_id = any (l.counters) and x.ended_at is null and x.due_at <= _pull.at
        ) as room
      from line as l
      join dripdrop.counters as c on c.id = any (l.counters)
      left join dripdrop.channel_adapters as a
        on a.id = c.owner_id and c.scope in ('day', 'gap', 'adapter')
      cross join lateral (
        select coalesce(a.time_zone, dripdrop._default_time_zone(c.tenant_key)) as name
      ) as zone
    ),
    roomy as materialized (
      select s.counters from spare as s group by s.counters having min(s.room) > 0
    )
    select s.counters, min(s.room - u.number) as room
    from roomy as r
    join spare as s on s.counters = r.counters
    join dripdrop._under_way(
      array(
        select o.id from spare as o where o.counters in (select n.counters from roomy as n)
      ),
      _pull.at
    ) as u
      on u.counter_id = s.id
    group by s.counters
    having min(s.room - u.number) > 0
  loop
    perform dripdrop._reschedule(
      array(
        select row(n.id, null, _pull.at, null, null, null)::dripdrop._new_time
        from dripdrop.step_executions as n
        where n.id = any (array(
            select w.execution_id
            from dripdrop._line(v_line.counters, _pull.at) as w
            order by w.fair_place
            limit v_line.room
          ))
          and n.due_at > _pull.at
        for no key update skip locked
      ),
      _pull.at
    );
  end loop;
end
$$;

comment on function dripdrop._pull(uuid[], timestamptz) is
  'Makes due what waits in the lines of these limits, where they have room.';

-- Whoever comes late to a line that others fill does not wait for all of them: the first message
-- of a second sequence takes the second place, and who stood there takes one that was promised to
-- the newcomers. While somebody else holds one of those, the line stays as it is.
--
-- locks   executions that wait, skipping what is locked
create or replace function dripdrop._take_turns(
  counters uuid[],
  newcomers uuid[],
  at timestamptz
)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  with
  waiting as materialized (
    select w.*, n.id is not null as is_new
    from dripdrop._line(_take_turns.counters, _take_turns.at) as w
    left join unnest(newcomers) as n (id) on n.id = w.execution_id
  ),
  newcomer as (
    select w.execution_id, w.place, w.fair_place, v.due_at
    from waiting as w
    join waiting as v on v.place = w.fair_place
    where w.is_new
  ),
  displaced as (
    select w.execution_id, row_number() over (order by w.place) as number
    from waiting as w
    where not w.is_new and w.place in (select n.fair_place from newcomer as n)
  ),
  vacated as (
    select w.due_at, row_number() over (order by w.place) as number
    from waiting as w
    where w.is_new and w.place not in (select n.fair_place from newcomer as n)
  ),
  locked as materialized (
    select x.id
    from dripdrop.step_executions as x
    where x.id in (select d.execution_id from displaced as d)
    for no key update skip locked
  ),
  moved as (
    select n.execution_id, n.due_at
    from newcomer as n
    union all
    select d.execution_id, v.due_at
    from displaced as d
    join vacated as v on v.number = d.number
  )
  select dripdrop._reschedule(
    array(
      select row(x.id, null, m.due_at, x.waits_for, null, null)::dripdrop._new_time
      from moved as m
      join dripdrop.step_executions as x on x.id = m.execution_id
      where x.due_at <> m.due_at
        and (select count(*) from locked) = (select count(*) from displaced)
    ),
    _take_turns.at
  )
$$;

comment on function dripdrop._take_turns(uuid[], uuid[], timestamptz) is
  'Gives newcomers their turns among those of others in the line of a limit.';
