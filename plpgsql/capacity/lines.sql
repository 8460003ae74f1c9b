-- Who waits for a limit stands in its line. Nobody there is promised anything: when there is room,
-- tick() takes as many as there is room for, each sequence in its turn. So whatever is stopped,
-- paused or fails makes room for others without anybody having to say so.

-- The windows of a very high rate are short, and what is on its way from tick() to the fence would
-- fill one although the rate is far from used up. As long as nobody waits, as much may be on its
-- way as leaves in five seconds; the fence keeps the rate.
create or replace function dripdrop._room_in_line(counter dripdrop.counters, at timestamptz)
returns int
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select (counter).max_count * case
      when (counter).room_at is null
        and (counter).per < interval '5 seconds'
        and not dripdrop._counts_on_the_wire((counter).max_count, (counter).per)
      then least(ceil(5 / extract(epoch from (counter).per)), 1000)::int
      else 1
    end
    - dripdrop._used(counter, _room_in_line.at + (counter).ahead)
    - (counter).under_way
$$;

comment on function dripdrop._room_in_line(dripdrop.counters, timestamptz) is
  'How many more messages a limit lets through at a time, by what has left and is under way.';

-- A day has one beginning: not everybody at once.
create or replace function dripdrop._into_the_day(execution_id uuid)
returns interval
language sql
immutable
parallel safe
return make_interval(secs => hashtextextended(execution_id::text, 0) & 511);

comment on function dripdrop._into_the_day(uuid) is
  'How long after the beginning of a day a message may use the room of its limits.';

create or replace function dripdrop._steps_in_line(line_id uuid)
returns setof uuid
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  with recursive step as (
    (
      select x.step_id as id
      from dripdrop.step_executions as x
      where x.waits_for = 'limit' and x.line_id = _steps_in_line.line_id
      order by x.step_id
      limit 1
    )
    union all
    select (
      select x.step_id
      from dripdrop.step_executions as x
      where x.waits_for = 'limit'
        and x.line_id = _steps_in_line.line_id
        and x.step_id > s.id
      order by x.step_id
      limit 1
    )
    from step as s
    where s.id is not null
  )
  select s.id from step as s where s.id is not null
$$;

comment on function dripdrop._steps_in_line(uuid) is
  'The steps whose messages wait in a line, however many those are.';

-- Tenants take turns, and the sequences of each: of those that wait the one goes first whose last
-- message went longest ago. Of one sequence the oldest message goes first, whenever it came to
-- this line: whoever has waited in others does not begin anew.
create or replace function dripdrop._next_in_line(
  line_id uuid,
  turns uuid[],
  room int,
  day_began_at timestamptz,
  at timestamptz
)
returns setof uuid
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  with
  waiting as (
    select
      x.id,
      x.tenant_key,
      x.scheduled_for,
      q.priority,
      array_position(turns, s.sequence_version_id) as last_turn,
      row_number() over (
        partition by s.sequence_version_id order by x.scheduled_for, x.id
      ) as turn
    from dripdrop._steps_in_line(_next_in_line.line_id) as i (step_id)
    join dripdrop.steps as s on s.id = i.step_id
    join dripdrop.sequence_versions as v on v.id = s.sequence_version_id
    join dripdrop.sequences as q on q.id = v.sequence_id
    cross join lateral (
      select w.id, w.tenant_key, w.scheduled_for
      from dripdrop.step_executions as w
      where w.waits_for = 'limit'
        and w.line_id = _next_in_line.line_id
        and w.step_id = s.id
        and (day_began_at + dripdrop._into_the_day(w.id) > _next_in_line.at) is not true
        and not exists (
          select from dripdrop.faults as f
          where f.execution_id = w.id and f.until > _next_in_line.at
        )
      order by w.scheduled_for, w.id
      limit _next_in_line.room
    ) as x
  ),
  in_turn as (
    select
      w.*,
      row_number() over (
        partition by w.tenant_key
        order by w.turn, w.last_turn nulls first, w.priority desc, w.scheduled_for, w.id
      ) as tenant_turn,
      max(w.last_turn) over (partition by w.tenant_key) as last_tenant_turn
    from waiting as w
  )
  select t.id
  from in_turn as t
  order by t.tenant_turn, t.last_tenant_turn nulls first, t.scheduled_for, t.id
  limit _next_in_line.room
$$;

comment on function dripdrop._next_in_line(uuid, uuid[], int, timestamptz, timestamptz) is
  'Who goes next of those who wait in a line, fairly.';

-- Counters are read without a lock: _admit() takes them, and whoever finds the room gone stays in
-- the line.
--
-- locks   executions that wait and their enrolments, skipping what is locked
create or replace function dripdrop._take_in_line(batch_size int, at timestamptz)
returns uuid[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_line record;
  v_next uuid[] := array[]::uuid[];
begin
  for v_line in
    select
      c.line_id,
      max(c.turns) as turns,
      min(dripdrop._room_in_line(c, _take_in_line.at)) as room,
      max(date_trunc('day', _take_in_line.at, c.time_zone)) filter (where c.per is null)
        as day_began_at
    from (
      select distinct n.line_id
      from (
        select r.line_id
        from dripdrop.counters as r
        where r.room_at <= _take_in_line.at
        order by r.room_at
        limit 500
      ) as n
    ) as l
    join dripdrop.counters as c on c.line_id = l.line_id
    group by c.line_id
    having min(dripdrop._room_in_line(c, _take_in_line.at)) > 0
  loop
    v_next := v_next || array(
      select n.id
      from dripdrop._next_in_line(
        v_line.line_id, v_line.turns, least(v_line.room, batch_size - cardinality(v_next)),
        v_line.day_began_at, at
      ) as n (id)
    );
    exit when cardinality(v_next) = batch_size;
  end loop;
  if cardinality(v_next) = 0 then
    return v_next;
  end if;
  return array(
    select x.id
    from dripdrop.step_executions as x
    join dripdrop.enrollments as e on e.id = x.enrollment_id
    where x.id = any (v_next) and x.waits_for = 'limit'
    for no key update of e, x skip locked
  );
end
$$;

comment on function dripdrop._take_in_line(int, timestamptz) is
  'Locks who goes next in the lines of limits that have room.';

-- Says of each line that was looked at when to look again. One whose room is taken by what is under
-- way is looked at by the next tick: what was stopped meanwhile is no longer counted then. The last
-- thing a tick does: nobody who waits for a counter holds one out of its order.
--
-- locks   counters, skipping what is locked
create or replace function dripdrop._mark_lines(at timestamptz)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_counters uuid[] := array(
    select c.id
    from dripdrop.counters as c
    where c.room_at <= _mark_lines.at
    order by c.room_at
    limit 500
    for no key update skip locked
  );
begin
  if cardinality(v_counters) = 0 then
    return;
  end if;
  update dripdrop.counters as c
  set room_at = n.room_at,
      turns = case when n.room_at is null then '{}' else c.turns end
  from (
    select
      k.id,
      max(greatest(dripdrop._free_at(l, 1, at) - l.ahead, at)) filter (where l.id is not null)
        as room_at
    from dripdrop.counters as k
    left join lateral (
      select x.line_id
      from dripdrop.step_executions as x
      where x.waits_for = 'limit' and x.line_id = k.line_id
      limit 1
    ) as x on true
    left join dripdrop.counters as l on l.line_id = x.line_id
    where k.id = any (v_counters)
    group by k.id
  ) as n
  where c.id = n.id;
  update dripdrop.counters as c
  set under_way = u.number
  from dripdrop._under_way(
    array(
      select k.id
      from dripdrop.counters as k
      where k.id = any (v_counters) and k.room_at <= _mark_lines.at and k.under_way > 0
    ),
    at
  ) as u
  where c.id = u.counter_id
    and c.under_way <> u.number;
end
$$;

comment on function dripdrop._mark_lines(timestamptz) is
  'Writes down when to look again at the lines of limits.';

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
      select c.line_id
      from dripdrop.counters as c
      where c.room_at is not null
        and (
          c.owner_id = _ask_again.adapter_id
          or c.tenant_key = _ask_again.tenant_key
          or _ask_again.tenant_key is null
        )
    ),
    _ask_again.at
  )
$$;

comment on function dripdrop._ask_again(text, uuid, timestamptz) is
  'Makes due what waits in the lines of limits that have changed.';
