-- Where somebody was written to, and where they would be.
create or replace function dripdrop._addresses_of(
  tenant_key text,
  subscriber_type text,
  subscriber_id text
)
returns table (channel text, address text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  with theirs as materialized (
    select e.id, e.sequence_version_id, (e.enrollment).data as data
    from dripdrop._enrollments_of(_addresses_of.subscriber_type, _addresses_of.subscriber_id) as e
    where e.tenant_key is not distinct from _addresses_of.tenant_key
  )
  select c.channel, a.address
  from theirs as e
  cross join lateral (
    select n.channel, n.address_form, n.recipient_key from dripdrop.channels as n
    union
    select n.channel, n.address_form, s.config ->> 'recipient_key'
    from dripdrop.steps as s
    join dripdrop.channels as n on n.channel = s.channel
    where s.sequence_version_id = e.sequence_version_id and s.config ? 'recipient_key'
  ) as c
  cross join lateral (
    select dripdrop._recipient(c.address_form, c.recipient_key, '{}', e.data) as address
  ) as a
  where a.address <> ''
  union
  select x.channel, x.recipient
  from theirs as e
  join dripdrop.step_executions as x on x.enrollment_id = e.id
  where x.recipient <> ''
$$;

comment on function dripdrop._addresses_of(text, text, text) is
  'The normalised addresses of a subscriber, by channel.';

create or replace function dripdrop._exported_messages(enrollment_id uuid)
returns jsonb
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(
    jsonb_agg(
      jsonb_build_object(
        'id', x.id,
        'step', s.key,
        'occurrence', x.occurrence,
        'channel', x.channel,
        'sender', a.name,
        'recipient', x.recipient,
        'state', x.state,
        'reason', x.reason,
        'scheduled_for', x.scheduled_for,
        'claimed_at', x.claimed_at,
        'ended_at', x.ended_at,
        'content', x.payload,
        'hooks', x.hooks,
        'response', x.response,
        'provider_message_id', x.provider_message_id,
        'error_message', x.error_message,
        'reports', (
          select coalesce(
            jsonb_agg(
              jsonb_build_object(
                'event_type', m.event_type, 'event_data', m.event_data, 'at', m.occurred_at
              )
              order by m.occurred_at, m.id
            ),
            '[]'
          )
          from dripdrop.message_reports as m
          where m.step_execution_id = x.id
        )
      )
      order by x.id
    ),
    '[]'
  )
  from dripdrop.step_executions as x
  left join dripdrop.steps as s on s.id = x.step_id
  left join dripdrop.channel_adapters as a on a.id = x.adapter_id
  where x.enrollment_id = _exported_messages.enrollment_id
$$;

comment on function dripdrop._exported_messages(uuid) is
  'The messages of an enrolment, with their content and what was reported of them.';

create or replace function dripdrop._exported_consent(
  tenant_key text,
  subscriber_type text,
  subscriber_id text
)
returns jsonb
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select jsonb_build_object(
    'subscriptions', (
      select coalesce(
        jsonb_agg(
          jsonb_build_object('topic', t.key, 'state', r.state, 'source', r.source, 'at', r.at)
          order by r.at, r.id
        ),
        '[]'
      )
      from dripdrop.consent_records as r
      join dripdrop.topics as t on t.id = r.topic_id
      where r.subscriber_id = _exported_consent.subscriber_id
        and r.subscriber_type = _exported_consent.subscriber_type
        and r.tenant_key is not distinct from _exported_consent.tenant_key
    ),
    'suppressions', (
      select coalesce(
        jsonb_agg(
          jsonb_build_object(
            'channel', h.channel, 'recipient', a.address, 'topic', h.topic, 'action', h.action,
            'reason', h.reason, 'source', h.source, 'expires_at', h.expires_at, 'at', h.at
          )
          order by h.at, h.id
        ),
        '[]'
      )
      from dripdrop._addresses_of(
        _exported_consent.tenant_key, _exported_consent.subscriber_type,
        _exported_consent.subscriber_id
      ) as a
      join dripdrop.suppression_history as h
        on h.channel = a.channel
        and h.recipient_normalized = any (array[a.address, dripdrop._erased(a.address)])
      where h.tenant_key is not distinct from _exported_consent.tenant_key
    )
  )
$$;

comment on function dripdrop._exported_consent(text, text, text) is
  'What a subscriber has said about topics, and what became of the suppressions of their '
  'addresses.';

-- raises  ZD201 bad argument, ZD207 bad tenant key
create or replace function dripdrop.export_subscriber(
  tenant_key text,
  subscriber_type text,
  subscriber_id anycompatible
)
returns jsonb
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform dripdrop._check_tenant_key(tenant_key);
  perform dripdrop._check_subscriber(subscriber_type, subscriber_id::text);
  return jsonb_build_object(
    'subscriber_type', subscriber_type,
    'subscriber_id', subscriber_id::text,
    'exported_at', dripdrop._now(),
    'enrollments', (
      select coalesce(
        jsonb_agg(
          jsonb_build_object(
            'id', e.id,
            'sequence', q.key,
            'entry_key', e.entry_key,
            'state', e.state,
            'exit_reason', (e.enrollment).exit_reason,
            'data', (e.enrollment).data,
            'metadata', (e.enrollment).metadata,
            'started_at', e.started_at,
            'paused_at', (e.enrollment).paused_at,
            'completed_at', (e.enrollment).completed_at,
            'cancelled_at', (e.enrollment).cancelled_at,
            'messages', dripdrop._exported_messages(e.id)
          )
          order by e.id
        ),
        '[]'
      )
      from dripdrop._enrollments_of(subscriber_type, subscriber_id::text) as e
      join dripdrop.sequences as q on q.id = e.sequence_id
      where e.tenant_key is not distinct from export_subscriber.tenant_key
    ),
    'events', (
      select coalesce(
        jsonb_agg(
          jsonb_build_object(
            'event_key', v.event_key, 'event_type', v.event_type, 'event_id', v.event_id,
            'event_data', v.event_data, 'enrollment_id', v.enrollment_id, 'at', v.occurred_at
          )
          order by v.occurred_at, v.id
        ),
        '[]'
      )
      from dripdrop.events as v
      where v.subscriber_id = export_subscriber.subscriber_id::text
        and v.subscriber_type = export_subscriber.subscriber_type
        and v.tenant_key is not distinct from export_subscriber.tenant_key
    )
  ) || dripdrop._exported_consent(tenant_key, subscriber_type, subscriber_id::text);
end
$$;

comment on function dripdrop.export_subscriber(text, text, anycompatible) is
  'All that is kept of a subscriber in one document: {subscriber_type, subscriber_id, exported_at, '
  'enrollments, each with its messages, events, subscriptions, suppressions}.';
