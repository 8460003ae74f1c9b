-- Takes what waits longest and, with a fifth of the batch, what has just come due: nobody stands
-- behind another one's crowd.
--
-- What has left stays in the index as long as somebody's snapshot may want it, and a look from the
-- beginning passes all of it. When that takes long, the looks that follow begin where it found
-- something, and take for new what came due since; for twenty times as long as it took, so that no
-- more than a twentieth of the time goes there, and what came due late waits no longer than that.
--
-- locks   enrolments and their executions, skipping what is locked; the row of due_looks
create or replace function dripdrop._take_due(batch_size int, taken uuid[], at timestamptz)
returns uuid[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_began timestamptz := clock_timestamp();
  v_look dripdrop.due_looks;
  v_due uuid[];
begin
  select l.* into v_look
  from dripdrop.due_looks as l
  where l.good_until > v_began and l.at <= _take_due.at;
  v_due := dripdrop._longest_due(
    batch_size - batch_size / 5 - cardinality(taken), coalesce(v_look.first_due_at, '-infinity'), at
  );
  taken := taken || v_due || dripdrop._latest_due(
    batch_size / 5, coalesce(v_look.at, '-infinity'), v_due, at
  );
  if v_look.at is null then
    perform dripdrop._note_look(v_due[1], cardinality(taken), clock_timestamp() - v_began, at);
  end if;
  return taken;
end
$$;

comment on function dripdrop._take_due(int, uuid[], timestamptz) is
  'Locks up to batch_size messages that are due, those that were taken before included.';

-- locks   enrolments and their executions, skipping what is locked
create or replace function dripdrop._longest_due(
  batch_size int,
  since timestamptz,
  at timestamptz
)
returns uuid[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  return array(
    select x.id
    from dripdrop.step_executions as x
    join dripdrop.enrollments as e on e.id = x.enrollment_id
    where x.due_at between _longest_due.since and _longest_due.at
      and x.waits_for is distinct from 'limit'
      and not exists (
        select from dripdrop.faults as f where f.execution_id = x.id and f.until > _longest_due.at
      )
    order by x.due_at
    limit _longest_due.batch_size
    for no key update of e, x skip locked
  );
end
$$;

comment on function dripdrop._longest_due(int, timestamptz, timestamptz) is
  'Locks what is due and waits longest, the longest first.';

-- locks   enrolments and their executions, skipping what is locked
create or replace function dripdrop._latest_due(
  batch_size int,
  since timestamptz,
  taken uuid[],
  at timestamptz
)
returns uuid[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  return array(
    select x.id
    from dripdrop.step_executions as x
    join dripdrop.enrollments as e on e.id = x.enrollment_id
    where x.due_at between _latest_due.since and _latest_due.at
      and x.waits_for is distinct from 'limit'
      and x.id <> all (taken)
      and not exists (
        select from dripdrop.faults as f where f.execution_id = x.id and f.until > _latest_due.at
      )
    order by x.due_at desc
    limit _latest_due.batch_size
    for no key update of e, x skip locked
  );
end
$$;

comment on function dripdrop._latest_due(int, timestamptz, uuid[], timestamptz) is
  'Locks what has come due last and was not taken yet.';

-- locks   the row of due_looks, unless somebody else has it
create or replace function dripdrop._note_look(
  first_execution uuid,
  number int,
  took interval,
  at timestamptz
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if took < interval '2 milliseconds' + number * interval '4 microseconds' then
    return;
  end if;
  insert into dripdrop.due_looks (first_due_at, at, good_until)
  select '-infinity', _note_look.at, '-infinity'
  where not exists (select from dripdrop.due_looks)
  on conflict do nothing;
  update dripdrop.due_looks as l
  set first_due_at = coalesce(
        (
          select x.due_at from dripdrop.step_executions as x where x.id = first_execution
        ),
        _note_look.at
      ),
      at = _note_look.at,
      good_until = clock_timestamp() + 20 * took
  where l.only_one = (
    select o.only_one from dripdrop.due_looks as o for update skip locked
  );
end
$$;

comment on function dripdrop._note_look(uuid, int, interval, timestamptz) is
  'Notes a look for what is due that took long, and what it found first.';
