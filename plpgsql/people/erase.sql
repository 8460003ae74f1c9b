-- Of a suppression the hash is left, with its reason: whoever enrols the address again does not
-- reach it. Where it was erased before, the two become one.
--
-- locks   the suppressions, in the order of their slots, which they take with the commit
create or replace function dripdrop._erase_suppressions(
  tenant_key text,
  channels text[],
  addresses text[],
  at timestamptz
)
returns int
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_one dripdrop.suppressions;
  v_count int := 0;
begin
  for v_one in
    select p.*
    from unnest(channels, addresses) as a (channel, address)
    join dripdrop.suppressions as p
      on p.recipient_normalized = a.address and p.channel = a.channel
    where p.tenant_key is not distinct from _erase_suppressions.tenant_key
    order by
      dripdrop._suppression_slot(p.tenant_key, dripdrop._erased(p.recipient_normalized)),
      p.recipient_normalized, p.channel, p.topic
    for update of p
  loop
    v_count := v_count + 1;
    if exists (
      select from dripdrop.suppressions as p
      where p.recipient_normalized = dripdrop._erased(v_one.recipient_normalized)
        and p.channel = v_one.channel
        and p.tenant_key is not distinct from v_one.tenant_key
        and p.topic is not distinct from v_one.topic
    ) then
      delete from dripdrop.suppressions as p where p.id = v_one.id;
      perform dripdrop._write_suppressions(
        array[(
          v_one.tenant_key, v_one.channel, dripdrop._erased(v_one.recipient_normalized),
          v_one.topic, v_one.reason, v_one.source, '{}'::jsonb, v_one.expires_at
        )::dripdrop._suppression],
        at
      );
    else
      update dripdrop.suppressions as p
      set recipient = dripdrop._erased(p.recipient_normalized),
          recipient_normalized = dripdrop._erased(p.recipient_normalized),
          metadata = '{}',
          updated_at = _erase_suppressions.at
      where p.id = v_one.id;
    end if;
  end loop;
  update dripdrop.suppression_history as h
  set recipient_normalized = dripdrop._erased(h.recipient_normalized)
  from unnest(channels, addresses) as a (channel, address)
  where h.recipient_normalized = a.address
    and h.channel = a.channel
    and h.tenant_key is not distinct from _erase_suppressions.tenant_key;
  return v_count;
end
$$;

comment on function dripdrop._erase_suppressions(text, text[], text[], timestamptz) is
  'Puts hashes in the place of suppressed addresses; returns how many suppressions it was.';

-- Who has opted out of a topic is not asked again because the record of it is gone: the opt-out
-- stays with the hash of each address.
--
-- locks   the subscriptions, then the suppressions, in the order of their slots, which they take
--         with the commit
create or replace function dripdrop._erase_consent(
  tenant_key text,
  subscriber_type text,
  subscriber_id text,
  channels text[],
  addresses text[],
  at timestamptz
)
returns int
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_left text[];
  v_count int;
begin
  with gone as (
    delete from dripdrop.subscriptions as u
    where u.subscriber_id = _erase_consent.subscriber_id
      and u.subscriber_type = _erase_consent.subscriber_type
      and u.tenant_key is not distinct from _erase_consent.tenant_key
    returning u.topic_id, u.state
  )
  select array_agg(t.key) filter (where g.state = 'unsubscribed') into v_left
  from gone as g
  join dripdrop.topics as t on t.id = g.topic_id;
  perform dripdrop._write_suppressions(
    array(
      select s::dripdrop._suppression
      from (
        select
          _erase_consent.tenant_key, a.channel, dripdrop._erased(a.address), o.topic, 'unsubscribe',
          'erased', '{}'::jsonb, null::timestamptz as expires_at
        from unnest(channels, addresses) as a (channel, address)
        cross join unnest(v_left) as o (topic)
      ) as s
    ),
    at
  );
  update dripdrop.consent_records as r
  set subscriber_id = dripdrop._erased(
    concat_ws(':', 'subscriber', r.subscriber_type, r.subscriber_id)
  )
  where r.subscriber_id = _erase_consent.subscriber_id
    and r.subscriber_type = _erase_consent.subscriber_type
    and r.tenant_key is not distinct from _erase_consent.tenant_key;
  get diagnostics v_count = row_count;
  return v_count;
end
$$;

comment on function dripdrop._erase_consent(text, text, text, text[], text[], timestamptz) is
  'Forgets what a subscriber said about topics, but that it was said; returns how many records of '
  'it there are.';

-- Reports stay without what is in them, because senders are judged by their number.
--
-- locks   the executions, in id order; callers hold the enrolments
create or replace function dripdrop._erase_enrollments(enrollments uuid[])
returns int
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_executions uuid[] := array(
    select x.id
    from dripdrop.step_executions as x
    where x.enrollment_id = any (enrollments)
    order by x.id
    for update
  );
begin
  delete from dripdrop.short_links as l where l.step_execution_id = any (v_executions);
  delete from dripdrop.faults as f where f.execution_id = any (v_executions);
  delete from dripdrop.step_executions as x where x.id = any (v_executions);
  delete from dripdrop.enrollments as e where e.id = any (enrollments);
  update dripdrop.message_reports as m
  set provider_message_id = null,
      provider_event_id = null,
      event_data = jsonb_strip_nulls(jsonb_build_object('hard', m.event_data -> 'hard')),
      in_reply_to = null,
      references_list = null
  where m.step_execution_id = any (v_executions);
  return cardinality(v_executions);
end
$$;

comment on function dripdrop._erase_enrollments(uuid[]) is
  'Deletes enrolments with their messages; returns how many of these there were.';

-- locks   the counters, in id order
create or replace function dripdrop._erase_counters(tenant_key text, subjects text[])
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_counters uuid[] := array(
    select c.id
    from dripdrop.counters as c
    where c.subject = any (subjects)
      and c.scope in ('recipient', 'subscriber')
      and c.tenant_key is not distinct from _erase_counters.tenant_key
    order by c.id
    for update
  );
begin
  delete from dripdrop.counters as c
  where c.id = any (v_counters)
    and exists (
      select from dripdrop.counters as n
      where n.subject = dripdrop._erased(c.subject)
        and n.scope = c.scope
        and n.owner_id is not distinct from c.owner_id
        and n.tenant_key is not distinct from c.tenant_key
    );
  update dripdrop.counters as c
  set subject = dripdrop._erased(c.subject)
  where c.id = any (v_counters);
end
$$;

comment on function dripdrop._erase_counters(text, text[]) is
  'Puts hashes in the place of those whom the counters of limits count.';

-- All or nothing, and beside workers: what is being sent has passed the fence and leaves, and its
-- outcome finds nobody. The counters of limits stay, under the hash of whom they count.
--
-- locks   the subscriber's enrolments, in id order, then their executions, then the subscriptions,
--         the suppressions and the counters; with the commit the slots of the suppressions
-- raises  ZD201 bad argument, ZD207 bad tenant key
create or replace function dripdrop.erase_subscriber(
  tenant_key text,
  subscriber_type text,
  subscriber_id anycompatible
)
returns jsonb
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := dripdrop._now();
  v_enrollments uuid[];
  v_channels text[];
  v_addresses text[];
  v_counts jsonb;
  v_events int;
begin
  perform dripdrop._check_tenant_key(tenant_key);
  perform dripdrop._check_subscriber(subscriber_type, subscriber_id::text);
  perform dripdrop._lock_subscriber(tenant_key, subscriber_type, subscriber_id::text);
  select array_agg(a.channel), array_agg(a.address) into v_channels, v_addresses
  from dripdrop._addresses_of(tenant_key, subscriber_type, subscriber_id::text) as a;
  v_enrollments := array(
    select e.id
    from dripdrop._enrollments_of(subscriber_type, subscriber_id::text) as e
    where e.tenant_key is not distinct from erase_subscriber.tenant_key
  );
  perform dripdrop._end_enrollments(v_enrollments, 'cancelled', 'erased', v_now);
  delete from dripdrop.events as v
  where v.subscriber_id = erase_subscriber.subscriber_id::text
    and v.subscriber_type = erase_subscriber.subscriber_type
    and v.tenant_key is not distinct from erase_subscriber.tenant_key;
  get diagnostics v_events = row_count;
  v_counts := jsonb_build_object(
    'enrollments', cardinality(v_enrollments),
    'messages', dripdrop._erase_enrollments(v_enrollments),
    'events', v_events
  );

  perform dripdrop._make_erasure_secret();
  v_counts := v_counts || jsonb_build_object(
    'consent_records', dripdrop._erase_consent(
      tenant_key, subscriber_type, subscriber_id::text, v_channels, v_addresses, v_now
    ),
    'suppressions', dripdrop._erase_suppressions(tenant_key, v_channels, v_addresses, v_now)
  );
  perform dripdrop._erase_counters(
    tenant_key, v_addresses || concat_ws(':', subscriber_type, subscriber_id::text)
  );
  return v_counts;
end
$$;

comment on function dripdrop.erase_subscriber(text, text, anycompatible) is
  'Deletes a subscriber: enrolments, messages and events, whatever their state. Suppressions of '
  'their addresses keep a hash, so that they hold as before, and so do the records of consent. '
  'Returns how many of each there were.';
