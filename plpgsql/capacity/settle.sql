-- What took a place in a limit when it was claimed has left since, and when; or it never did, and
-- gives back what it took. A counter that somebody else holds for long keeps what was taken: less
-- leaves then, never more.
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
    select dripdrop._as_decision(
      x.id, 'send', 'send', adapter_id => x.adapter_id, recipient => x.recipient, limited => true
    )
    from unnest(results) as r
    join dripdrop.step_executions as x on x.id = r.execution
    where x.line_id is not null
      and (x.leave_by is not null or r.outcome not in ('sent', 'maybe_sent'))
  );
  v_settled record;
begin
  if cardinality(v_limited) = 0 then
    return;
  end if;
  for v_settled in
    select * from dripdrop._settled_limits(v_limited, results, _settle_counters.at)
  loop
    update dripdrop.counters as c
    set taken = dripdrop._replaced(c.taken, v_settled.taken, v_settled.left_at),
        used = greatest(
          c.used - case when c.day = v_settled.day then v_settled.given_back else 0 end, 0
        ),
        -- Who waits may go sooner than it seemed.
        room_at = case
          when c.room_at > _settle_counters.at then _settle_counters.at else c.room_at
        end
    where c.id = v_settled.counter_id;
  end loop;
exception
  when lock_not_available then
    null;
end
$$;

comment on function dripdrop._settle_counters(dripdrop._send_result[], timestamptz) is
  'Writes down when messages left, and returns what those took that did not.';

create or replace function dripdrop._settled_limits(
  limited dripdrop._decision[],
  results dripdrop._send_result[],
  at timestamptz
)
returns table (
  counter_id uuid,
  taken timestamptz[],
  left_at timestamptz[],
  given_back int,
  day date
)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select
    l.counter_id,
    coalesce(
      array_agg(coalesce(wire.leave_by, x.claimed_at)) filter (where l.per is not null), '{}'
    ),
    coalesce(
      array_agg(
        least(x.claimed_at + make_interval(secs => coalesce(r.left_after, 0)), wire.leave_by)
      ) filter (where not gone.back and wire.leave_by is not null),
      '{}'
    ),
    count(*) filter (where gone.back)::int,
    (max(x.claimed_at) at time zone max(l.time_zone))::date
  from dripdrop._limits_on(limited, _settled_limits.at) as l
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
  group by l.counter_id
  order by l.counter_id
$$;

comment on function dripdrop._settled_limits(
  dripdrop._decision[], dripdrop._send_result[], timestamptz
) is
  'What limits had taken for messages, and when those left or how many never did.';

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
