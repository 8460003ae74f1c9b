-- raises  ZD101 unknown sequence, ZD201 bad argument
create or replace function dripdrop._check_page(
  tenant_key text,
  subscriber_type text,
  subscriber_id text,
  sequence text,
  state text,
  states text[],
  page_size int
)
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
  if coalesce(subscriber_type, subscriber_id) is not null then
    perform dripdrop._check_subscriber(subscriber_type, subscriber_id);
  end if;
  if sequence is not null and not exists (
    select from dripdrop.sequences as q
    where q.tenant_key is not distinct from _check_page.tenant_key
      and q.key = _check_page.sequence
  ) then
    raise exception 'sequence % not found', dripdrop._quoted(sequence) using
      errcode = 'ZD101', hint = 'Keys are looked up within the tenant that is named first.';
  end if;
  if state <> all (states) then
    raise exception 'state % is unknown', dripdrop._quoted(state) using
      errcode = 'ZD201', column = 'state',
      hint = format('One of %s; leave it out for all.', array_to_string(states, ', '));
  end if;
  if coalesce(page_size not between 1 and 10000, true) then
    raise exception 'page_size % is not from 1 to 10000', page_size using
      errcode = 'ZD201', column = 'page_size',
      hint = 'Pass the last id of a page as after for the next one.';
  end if;
end
$$;

comment on function dripdrop._check_page(text, text, text, text, text, text[], int) is
  'Raises ZD201 or ZD101 where what is to be listed makes no sense.';

-- raises  ZD101 unknown sequence, ZD201 bad argument
create or replace function dripdrop.list_enrollments(
  tenant_key text,
  subscriber_type text default null,
  subscriber_id anycompatible default null::text,
  sequence text default null,
  state text default null,
  page_size int default 100,
  after uuid default null
)
returns setof dripdrop.enrollment
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform dripdrop._check_page(
    tenant_key, subscriber_type, subscriber_id::text, sequence, state,
    '{active,paused,completed,cancelled}', page_size
  );
  return query
  select
    e.id, q.key, v.version, e.subscriber_type, e.subscriber_id, e.entry_key, e.state,
    e.exit_reason, e.data, e.metadata, e.started_at, e.paused_at, e.completed_at, e.cancelled_at,
    e.updated_at
  from dripdrop._enrollments_before(
    tenant_key, subscriber_type, subscriber_id::text, sequence, state,
    coalesce(after, 'ffffffff-ffff-ffff-ffff-ffffffffffff'), page_size
  ) as n (id)
  join dripdrop.enrollments as e on e.id = n.id
  join dripdrop.sequences as q on q.id = e.sequence_id
  join dripdrop.sequence_versions as v on v.id = e.sequence_version_id
  order by e.id desc;
end
$$;

comment on function dripdrop.list_enrollments(
  text, text, anycompatible, text, text, int, uuid
) is
  'The enrolments of a subscriber, of a sequence, or of the tenant, paused and ended ones too, the '
  'newest first. state: only those. A page has page_size rows, at most 10000; after: the id of '
  'the last one, for the next page.';

-- Each state of each sequence is read from the end of one index, no further than the page.
create or replace function dripdrop._enrollments_before(
  tenant_key text,
  subscriber_type text,
  subscriber_id text,
  sequence text,
  state text,
  before uuid,
  page_size int
)
returns setof uuid
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_states text[] := case
    when state is null then '{active,paused,completed,cancelled}' else array[state]
  end;
  v_sequences uuid[] := array(
    select q.id
    from dripdrop.sequences as q
    where q.tenant_key is not distinct from _enrollments_before.tenant_key
      and (q.key = _enrollments_before.sequence or _enrollments_before.sequence is null)
  );
begin
  if subscriber_id is not null then
    return query
    select e.id
    from dripdrop._enrollments_of(
      _enrollments_before.subscriber_type, _enrollments_before.subscriber_id
    ) as e
    where e.sequence_id = any (v_sequences)
      and e.state = any (v_states)
      and e.id < _enrollments_before.before
    order by e.id desc
    limit page_size;
    return;
  end if;
  return query
  select p.id
  from unnest(v_sequences) as q (id)
  cross join unnest(v_states) as s (state)
  cross join lateral (
    select e.id
    from dripdrop.enrollments as e
    where e.sequence_id = q.id and e.state = s.state and e.id < _enrollments_before.before
    order by e.id desc
    limit page_size
  ) as p
  order by p.id desc
  limit page_size;
end
$$;

comment on function dripdrop._enrollments_before(text, text, text, text, text, uuid, int) is
  'A page of the enrolments of a subscriber, of a sequence, or of the tenant, the newest first.';

-- raises  ZD101 unknown sequence, ZD201 bad argument
create or replace function dripdrop.list_messages(
  tenant_key text,
  subscriber_type text default null,
  subscriber_id anycompatible default null::text,
  sequence text default null,
  state text default null,
  page_size int default 100,
  after uuid default null
)
returns setof dripdrop.message
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform dripdrop._check_page(
    tenant_key, subscriber_type, subscriber_id::text, sequence, state,
    '{scheduled,queued,rendered,sending,unknown,sent,failed,skipped,cancelled}', page_size
  );
  return query
  select
    x.id, x.enrollment_id, e.subscriber_type, e.subscriber_id, e.entry_key, q.key, s.key,
    x.occurrence, x.channel, a.name, x.recipient, x.state, x.reason, x.reason_at, x.scheduled_for,
    x.due_at, x.claimed_at, x.ended_at, x.provider_message_id, x.error_message
  from dripdrop._messages_before(
    tenant_key, subscriber_type, subscriber_id::text, sequence, state,
    coalesce(after, 'ffffffff-ffff-ffff-ffff-ffffffffffff'), page_size
  ) as n (id)
  join dripdrop.step_executions as x on x.id = n.id
  join dripdrop.enrollments as e on e.id = x.enrollment_id
  join dripdrop.sequences as q on q.id = e.sequence_id
  left join dripdrop.steps as s on s.id = x.step_id
  left join dripdrop.channel_adapters as a on a.id = x.adapter_id
  order by x.id desc;
end
$$;

comment on function dripdrop.list_messages(
  text, text, anycompatible, text, text, int, uuid
) is
  'The messages of a subscriber, of a sequence, or of the tenant, whatever became of them, the '
  'newest first. state: only those. A page has page_size rows, at most 10000; after: the '
  'execution_id of the last one, for the next page.';

-- A person's messages are found by their enrolments, and sorted; those of a sequence from the
-- newest of all backwards, so that the hot table needs no further index.
create or replace function dripdrop._messages_before(
  tenant_key text,
  subscriber_type text,
  subscriber_id text,
  sequence text,
  state text,
  before uuid,
  page_size int
)
returns setof uuid
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_sequences uuid[] := array(
    select q.id
    from dripdrop.sequences as q
    where q.tenant_key is not distinct from _messages_before.tenant_key
      and (q.key = _messages_before.sequence or _messages_before.sequence is null)
  );
  v_steps uuid[];
begin
  if subscriber_id is not null then
    return query
    with theirs as materialized (
      select x.id, x.state
      from dripdrop._enrollments_of(
        _messages_before.subscriber_type, _messages_before.subscriber_id
      ) as e
      join dripdrop.step_executions as x on x.enrollment_id = e.id
      where e.sequence_id = any (v_sequences)
    )
    select t.id
    from theirs as t
    where (t.state = _messages_before.state or _messages_before.state is null)
      and t.id < _messages_before.before
    order by t.id desc
    limit page_size;
    return;
  end if;
  v_steps := array(
    select s.id
    from dripdrop.steps as s
    join dripdrop.sequence_versions as v on v.id = s.sequence_version_id
    where v.sequence_id = any (v_sequences)
  );
  return query
  select x.id
  from dripdrop.step_executions as x
  where x.step_id = any (v_steps)
    and (x.state = _messages_before.state or _messages_before.state is null)
    and x.id < _messages_before.before
  order by x.id desc
  limit page_size;
end
$$;

comment on function dripdrop._messages_before(text, text, text, text, text, uuid, int) is
  'A page of the messages of a subscriber, of a sequence, or of the tenant, the newest first.';
