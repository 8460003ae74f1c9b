-- What retention says of each table. Rows are walked in the order of their ids, which is that of
-- time, a page at a time, as far as any may be old enough: no index is needed, and what cannot be
-- deleted today is met again in the next round.

-- Null where nothing says for how long, and for ever where null says so.
create or replace function dripdrop._expired_before(tenant_key text, field text, at timestamptz)
returns timestamptz
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select _expired_before.at - (
    case
      when own.retention ? field then own.retention ->> field
      else general.retention ->> field
    end
  )::interval
  from (values (1)) as one
  left join dripdrop.tenant_settings as general on general.tenant_key is null
  left join dripdrop.tenant_settings as own on own.tenant_key = _expired_before.tenant_key
$$;

comment on function dripdrop._expired_before(text, text, timestamptz) is
  'Of what age rows of a tenant are to go, as a time; null is never.';

-- With them go their executions. What is under way keeps its enrolment.
create or replace function dripdrop._prune_enrollments(page uuid[], at timestamptz)
returns bigint
language sql
set search_path = pg_catalog, pg_temp
as $$
  with gone as (
    delete from dripdrop.enrollments as d
    where d.id in (
      select e.id
      from dripdrop.enrollments as e
      where e.id = any (page)
        and e.state in ('completed', 'cancelled')
        and coalesce(e.completed_at, e.cancelled_at)
          < dripdrop._expired_before(e.tenant_key, 'enrollments', _prune_enrollments.at)
        and not exists (
          select from dripdrop.step_executions as x
          where x.enrollment_id = e.id and x.ended_at is null
        )
      for update skip locked
    )
    returning 1
  )
  select count(*) from gone
$$;

comment on function dripdrop._prune_enrollments(uuid[], timestamptz) is
  'Deletes enrolments of a page that ended long enough ago, with their executions.';

-- Conditions and goals may still ask for the events of whoever is under way.
create or replace function dripdrop._prune_events(page uuid[], at timestamptz)
returns bigint
language sql
set search_path = pg_catalog, pg_temp
as $$
  with gone as (
    delete from dripdrop.events as d
    where d.id in (
      select v.id
      from dripdrop.events as v
      where v.id = any (page)
        and v.inserted_at < dripdrop._expired_before(v.tenant_key, 'events', _prune_events.at)
        and not exists (
          select from dripdrop.enrollments as e
          where e.subscriber_id = v.subscriber_id
            and e.subscriber_type = v.subscriber_type
            and e.tenant_key is not distinct from v.tenant_key
            and e.state in ('active', 'paused')
        )
        and not exists (
          select from dripdrop.enrollments as e
          where e.id = v.enrollment_id and e.state in ('active', 'paused')
        )
      for update skip locked
    )
    returning 1
  )
  select count(*) from gone
$$;

comment on function dripdrop._prune_events(uuid[], timestamptz) is
  'Deletes events of a page that are old enough, of whoever has no enrolment under way.';

create or replace function dripdrop._prune_message_reports(page uuid[], at timestamptz)
returns bigint
language sql
set search_path = pg_catalog, pg_temp
as $$
  with gone as (
    delete from dripdrop.message_reports as d
    where d.id in (
      select m.id
      from dripdrop.message_reports as m
      where m.id = any (page)
        and m.occurred_at < dripdrop._expired_before(
          m.tenant_key, 'message_reports', _prune_message_reports.at
        )
        and not exists (
          select from dripdrop.step_executions as x
          where x.id = m.step_execution_id and x.ended_at is null
        )
      for update skip locked
    )
    returning 1
  )
  select count(*) from gone
$$;

comment on function dripdrop._prune_message_reports(uuid[], timestamptz) is
  'Deletes reports of a page that are old enough, of messages that are over.';

-- A counter whose window is not over counts on; so does one that somebody waits for.
create or replace function dripdrop._prune_counters(page uuid[], at timestamptz)
returns bigint
language sql
set search_path = pg_catalog, pg_temp
as $$
  with gone as (
    delete from dripdrop.counters as d
    where d.id in (
      select c.id
      from dripdrop.counters as c
      where c.id = any (page)
        and c.updated_at < dripdrop._expired_before(c.tenant_key, 'counters', _prune_counters.at)
        and c.updated_at < _prune_counters.at - greatest(c.per, interval '2 days')
        and c.room_at is null
        and c.under_way = 0
        and not exists (
          select from dripdrop.step_executions as x
          where x.line_id = c.line_id and x.waits_for = 'limit'
        )
      for update skip locked
    )
    returning 1
  )
  select count(*) from gone
$$;

comment on function dripdrop._prune_counters(uuid[], timestamptz) is
  'Deletes counters of a page that have not counted for long enough.';

create or replace function dripdrop._prune_adapter_rests(page uuid[], at timestamptz)
returns bigint
language sql
set search_path = pg_catalog, pg_temp
as $$
  with gone as (
    delete from dripdrop.adapter_rests as d
    where d.id in (
      select r.id
      from dripdrop.adapter_rests as r
      where r.id = any (page)
        and coalesce(r.ended_at, r.until)
          < dripdrop._expired_before(r.tenant_key, 'history', _prune_adapter_rests.at)
      for update skip locked
    )
    returning 1
  )
  select count(*) from gone
$$;

comment on function dripdrop._prune_adapter_rests(uuid[], timestamptz) is
  'Deletes rests of senders of a page that were over long enough ago.';

-- The last word on a subject proves what holds, and stays.
create or replace function dripdrop._prune_consent_records(page uuid[], at timestamptz)
returns bigint
language sql
set search_path = pg_catalog, pg_temp
as $$
  with gone as (
    delete from dripdrop.consent_records as d
    where d.id in (
      select c.id
      from dripdrop.consent_records as c
      where c.id = any (page)
        and c.at < dripdrop._expired_before(c.tenant_key, 'consent', _prune_consent_records.at)
        and exists (
          select from dripdrop.consent_records as l
          where l.subscriber_id = c.subscriber_id
            and l.subscriber_type = c.subscriber_type
            and l.topic_id = c.topic_id
            and l.at > c.at
        )
      for update skip locked
    )
    returning 1
  )
  select count(*) from gone
$$;

comment on function dripdrop._prune_consent_records(uuid[], timestamptz) is
  'Deletes consent records of a page that are old enough, but the last of each subscriber and '
  'topic.';

create or replace function dripdrop._prune_suppression_history(page uuid[], at timestamptz)
returns bigint
language sql
set search_path = pg_catalog, pg_temp
as $$
  with gone as (
    delete from dripdrop.suppression_history as d
    where d.id in (
      select h.id
      from dripdrop.suppression_history as h
      where h.id = any (page)
        and h.at < dripdrop._expired_before(h.tenant_key, 'consent', _prune_suppression_history.at)
        and exists (
          select from dripdrop.suppression_history as l
          where l.recipient_normalized = h.recipient_normalized
            and l.channel = h.channel
            and l.tenant_key is not distinct from h.tenant_key
            and l.topic is not distinct from h.topic
            and l.at > h.at
        )
      for update skip locked
    )
    returning 1
  )
  select count(*) from gone
$$;

comment on function dripdrop._prune_suppression_history(uuid[], timestamptz) is
  'Deletes the history of suppressions of a page that is old enough, but the last word on each.';

create or replace function dripdrop._prunable()
returns table (kind text, field text, born text)
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select p.kind, p.field, p.born
  from (
    values
    (1, 'enrollments', 'enrollments', 'inserted_at'),
    (2, 'events', 'events', 'inserted_at'),
    (3, 'message_reports', 'message_reports', 'inserted_at'),
    (4, 'counters', 'counters', null),
    (5, 'adapter_rests', 'history', 'started_at'),
    (6, 'consent_records', 'consent', 'at'),
    (7, 'suppression_history', 'consent', 'at')
  ) as p (place, kind, field, born)
  order by p.place
$$;

comment on function dripdrop._prunable() is
  'The tables that retention empties, each with the field of it that says when, and the column '
  'that says since when a row is there; null where old rows are used again.';

-- The next page of a table, from where the last one ended. It is empty at the end, and where all
-- that follows is too young for whoever keeps things the shortest; the next one is the first again.
--
-- locks   the mark; whoever finds it locked leaves the table to the other
create or replace function dripdrop._next_page(
  kind text,
  born text,
  rows int,
  before timestamptz
)
returns uuid[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_after uuid;
  v_page uuid[];
  v_is_young boolean := false;
begin
  insert into dripdrop.prune_marks (kind, after_id)
  select _next_page.kind, '00000000-0000-0000-0000-000000000000'
  where not exists (select from dripdrop.prune_marks as m where m.kind = _next_page.kind)
  on conflict do nothing;
  select m.after_id into v_after
  from dripdrop.prune_marks as m
  where m.kind = _next_page.kind
  for update skip locked;
  if v_after is null then
    return null;
  end if;
  execute format(
    'select array(select r.id from dripdrop.%I as r where r.id > $1 order by r.id limit $2)', kind
  )
  into v_page
  using v_after, rows;
  if born is not null and cardinality(v_page) > 0 then
    execute format(
      'select exists (select from dripdrop.%I as r where r.id = $1 and r.%I >= $2)', kind, born
    )
    into v_is_young
    using v_page[1], before;
  end if;
  if v_is_young then
    v_page := array[]::uuid[];
  end if;
  update dripdrop.prune_marks as m
  set after_id = coalesce(
    v_page[cardinality(v_page)], '00000000-0000-0000-0000-000000000000'
  )
  where m.kind = _next_page.kind;
  return v_page;
end
$$;

comment on function dripdrop._next_page(text, text, int, timestamptz) is
  'The ids of the next rows of a table that prune() is to look at; null while somebody else does.';

-- Nothing happens to what no retention names. A row that cannot be deleted keeps its page, which
-- is met again in the next round, and nothing else.
--
-- locks   enrolments, their executions and counters, skipping what is locked
-- raises  ZD201 bad number of rows
create or replace function dripdrop.prune(rows int default 5000)
returns table (kind text, looked_at int, deleted bigint)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_now timestamptz := dripdrop._now();
  v_kind record;
  v_page uuid[];
begin
  perform dripdrop._check_batch_size(rows);
  for v_kind in
    select p.kind, p.born, max(v_now - (t.retention ->> p.field)::interval) as before
    from dripdrop._prunable() as p
    join dripdrop.tenant_settings as t on t.retention ->> p.field is not null
    group by p.kind, p.born
    order by p.kind
  loop
    v_page := dripdrop._next_page(v_kind.kind, v_kind.born, rows, v_kind.before);
    continue when v_page is null;
    deleted := 0;
    begin
      execute format('select dripdrop.%I($1, $2)', '_prune_' || v_kind.kind)
      into deleted
      using v_page, v_now;
    exception
      when others or assert_failure then
        raise warning 'rows of % cannot be deleted: %', v_kind.kind, left(sqlerrm, 200) using
          errcode = sqlstate, hint = 'They are met again in the next round; the others go.';
    end;
    kind := v_kind.kind;
    looked_at := cardinality(v_page);
    return next;
  end loop;
end
$$;

comment on function dripdrop.prune(int) is
  'Looks at the next rows of each table that retention names and deletes what has been kept for '
  'long enough; looked_at is 0 at the end of a table, after which it begins anew. reconcile() '
  'calls it.';

-- As reconcile() calls it.
create or replace function dripdrop._prune_by_retention(at timestamptz)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  select from dripdrop.prune()
$$;

comment on function dripdrop._prune_by_retention(timestamptz) is
  'Deletes one page of each table that retention names.';
