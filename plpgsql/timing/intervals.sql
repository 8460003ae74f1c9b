-- As in a calendar that repeats an entry: the first one is the first that fits from the start on,
-- and every n-th day, week or month from there. A month that is too short has it on its last day.
create or replace function dripdrop._interval_next(
  timing jsonb,
  time_zone text,
  counted_from timestamptz,
  after timestamptz
)
returns timestamptz
language plpgsql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
  v_amount int := (timing ->> 'interval_amount')::int;
  v_unit text := timing ->> 'interval_unit';
  v_length interval := (v_amount || ' ' || v_unit)::interval;
  v_from timestamp := counted_from at time zone time_zone;
  v_seconds float8 := extract(epoch from v_length);
  v_first timestamp;
  v_base timestamp;
  v_turns int;
begin
  if v_unit in ('minutes', 'hours') then
    return counted_from + v_length * greatest(
      floor(extract(epoch from after - counted_from) / v_seconds)::int + 1, 1
    );
  end if;
  -- The first that fits, and what the others are so many lengths, and weekdays, away from.
  select min(d.at) into v_first
  from (
    select v_from::date + n + coalesce((timing ->> 'at')::time, v_from::time) as at
    from generate_series(0, 7) as n
  ) as d
  where d.at >= v_from
    and (
      not timing ? 'days'
      or timing -> 'days' ? lower(to_char(d.at, 'dy'))
    );
  v_base := case
    when timing ? 'days' then date_trunc('week', v_first) + v_first::time else v_first
  end;
  v_turns := greatest(
    floor(
      case
        when v_unit = 'months' then (
          12 * (extract(year from after) - extract(year from counted_from))
          + extract(month from after) - extract(month from counted_from)
        ) / v_amount
        else extract(epoch from after - counted_from) / v_seconds
      end
    ) - 2,
    0
  );
  return (
    select min(i.at)
    from generate_series(v_turns, v_turns + 4) as k
    cross join unnest(case when timing ? 'days' then '{0,1,2,3,4,5,6}' else '{0}'::int[] end)
      as n
    cross join lateral (select v_base + k * v_length + n * interval '1 day' as wall_time) as w
    cross join lateral (
      select dripdrop._first_instant(w.wall_time, time_zone) as at
      where w.wall_time >= v_first
        and (
          not timing ? 'days'
          or timing -> 'days' ? lower(to_char(w.wall_time, 'dy'))
        )
    ) as i
    where i.at > after
  );
end
$$;

comment on function dripdrop._interval_next(jsonb, text, timestamptz, timestamptz) is
  'When what comes again after a while, counted from a time, next comes, strictly after a time.';
