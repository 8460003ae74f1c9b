-- Of channels that have such links: marketing carries one, anything else only if its step says so.
create or replace function dripdrop._carries_unsubscribe(unsubscribe boolean, config jsonb)
returns boolean
language sql
immutable
parallel safe
return unsubscribe and coalesce(
  (config ->> 'unsubscribe')::boolean,
  config ->> 'kind' is distinct from 'transactional'
);

comment on function dripdrop._carries_unsubscribe(boolean, jsonb) is
  'Whether the messages of a step carry a link to unsubscribe, where there is an address for it.';

create or replace function dripdrop._unsubscribe_link(tenant_key text)
returns jsonb
language sql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select jsonb_build_object('url', link.url, 'mailto', link.mailto)
  from (
    select
      (array_agg(s.unsubscribe_url order by s.tenant_key nulls last)
        filter (where s.unsubscribe_url is not null))[1] as url,
      (array_agg(s.unsubscribe_mailto order by s.tenant_key nulls last)
        filter (where s.unsubscribe_mailto is not null))[1] as mailto
    from dripdrop.tenant_settings as s
    where s.tenant_key = _unsubscribe_link.tenant_key or s.tenant_key is null
  ) as link
  where link.url is not null
$$;

comment on function dripdrop._unsubscribe_link(text) is
  'Where the recipients of a tenant unsubscribe, {url, mailto}, or null.';

-- What would go out is a link that leads nowhere.
create or replace function dripdrop._links_nowhere(step dripdrop.steps)
returns boolean
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select exists (
    select from dripdrop.channels as c
    where c.channel = (step).channel
      and dripdrop._carries_unsubscribe(c.unsubscribe, (step).config)
      and strpos((step).template_content::text, 'unsubscribe_url') > 0
      and dripdrop._unsubscribe_link((step).tenant_key) is null
  )
$$;

comment on function dripdrop._links_nowhere(dripdrop.steps) is
  'Whether a template names the link to unsubscribe, and its messages have none.';

-- Once per step of a batch, and not at all where nobody has said where to unsubscribe.
create or replace function dripdrop._unsubscribe_links(executions uuid[])
returns jsonb
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
  if not exists (
    select from dripdrop.tenant_settings as t where t.unsubscribe_url is not null
  ) then
    return null;
  end if;
  return (
    select jsonb_object_agg(s.id, dripdrop._unsubscribe_link(s.tenant_key))
    from dripdrop.steps as s
    join dripdrop.channels as c on c.channel = s.channel
    where s.id in (
        select x.step_id
        from dripdrop.step_executions as x
        where x.id = any (_unsubscribe_links.executions)
      )
      and dripdrop._carries_unsubscribe(c.unsubscribe, s.config)
      and dripdrop._unsubscribe_link(s.tenant_key) is not null
  );
end
$$;

comment on function dripdrop._unsubscribe_links(uuid[]) is
  'Where the recipients of messages unsubscribe, by step, for the steps that carry a link.';

-- A message that somebody was written to. Its link may come back years later, so that nothing is
-- asked of its state; and where it is gone, what stands in the link is enough.
--
-- raises  ZD106 unknown execution, or one that has not gone to anybody, ZD202 unknown channel
create or replace function dripdrop._addressed_execution(
  tenant_key text,
  execution_id uuid,
  channel text,
  recipient text
)
returns dripdrop.step_executions
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_execution dripdrop.step_executions;
begin
  select x.* into v_execution
  from dripdrop.step_executions as x
  where x.id = _addressed_execution.execution_id
    and x.tenant_key is not distinct from _addressed_execution.tenant_key;
  if recipient is not null then
    perform dripdrop._check_channel(channel);
    v_execution.id := execution_id;
    v_execution.tenant_key := tenant_key;
    v_execution.channel := channel;
    v_execution.recipient := dripdrop._normalized(channel, recipient);
  end if;
  if v_execution.recipient is null then
    raise exception 'execution "%" not found', execution_id using
      errcode = 'ZD106',
      hint = 'Ids are looked up within the tenant that is named first, among what has a recipient.';
  end if;
  return v_execution;
end
$$;

comment on function dripdrop._addressed_execution(text, uuid, text, text) is
  'An execution of the tenant, with the address that is named or else its own, or ZD106.';

-- All at once and whatever their state: one that is reopened meanwhile would be met out of order.
--
-- locks   the subscriber's enrolments, in id order
create or replace function dripdrop._lock_subscriber(
  tenant_key text,
  subscriber_type text,
  subscriber_id text
)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  select
  from dripdrop.enrollments as e
  where e.id = any (array(
      select n.id
      from dripdrop._enrollments_of(
        _lock_subscriber.subscriber_type, _lock_subscriber.subscriber_id
      ) as n
      where n.tenant_key is not distinct from _lock_subscriber.tenant_key
    ))
  order by e.id
  for no key update
$$;

comment on function dripdrop._lock_subscriber(text, text, text) is
  'Locks all enrolments of a subscriber of the tenant.';

-- The subscriber's event wakes and ends what waits for it. Again is the same as once.
--
-- locks   nothing new: the caller holds the subscriber's enrolments
create or replace function dripdrop._log_unsubscribe(
  execution dripdrop.step_executions,
  enrollment dripdrop.enrollments,
  topics text[],
  source text,
  at timestamptz
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform dripdrop._record_events(
    array(
      select v::dripdrop.events
      from (
        select
          dripdrop._uuidv7() as id,
          execution.tenant_key,
          null::uuid as enrollment_id,
          enrollment.subscriber_type,
          enrollment.subscriber_id,
          'enrollment_event' as event_type,
          'unsubscribed' as event_key,
          concat_ws(':', 'unsubscribed', execution.id, o.topic) as event_id,
          jsonb_strip_nulls(jsonb_build_object(
            'channel', execution.channel,
            'topic', o.topic,
            'execution', execution.id,
            'source', _log_unsubscribe.source
          )) as event_data,
          _log_unsubscribe.at as occurred_at,
          _log_unsubscribe.at as inserted_at,
          nextval('dripdrop.calls') as call_number
        from unnest(topics) as o (topic)
        where enrollment.id is not null
        order by o.topic
      ) as v
    ),
    at
  );
  insert into dripdrop.message_reports (
    tenant_key, step_execution_id, adapter_id, channel, provider, provider_message_id,
    provider_event_id, event_type, event_data, occurred_at
  )
  select
    execution.tenant_key, execution.id, execution.adapter_id, execution.channel, 'dripdrop',
    execution.provider_message_id, concat_ws(':', 'unsubscribed', execution.id, o.topic),
    'unsubscribed',
    jsonb_strip_nulls(jsonb_build_object('topic', o.topic, 'source', _log_unsubscribe.source)),
    _log_unsubscribe.at
  from unnest(topics) as o (topic)
  on conflict do nothing;
end
$$;

comment on function dripdrop._log_unsubscribe(
  dripdrop.step_executions, dripdrop.enrollments, text[], text, timestamptz
) is
  'Records unsubscribing as an event of the subscriber and as one of the message.';

-- The event comes first, so that the sequences' own rules have the first word. Without a topic the
-- enrolment ends; with one it goes on with what it says about others. Again is the same as once.
-- A null among the topics is everything that goes over the channel.
--
-- locks   the subscriber's enrolments, then their executions, then the suppression and the
--         subscription; with the commit the slots of both
-- raises  ZD131 unknown topic, ZD201 bad source
create or replace function dripdrop._unsubscribe(
  execution dripdrop.step_executions,
  topics text[],
  source text
)
returns setof dripdrop.suppressions
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := dripdrop._now();
  v_enrollment dripdrop.enrollments;
begin
  perform dripdrop._check_text(source, 'source', 65536);
  perform dripdrop._topic_id(execution.tenant_key, o.topic)
  from unnest(topics) as o (topic)
  where o.topic is not null;
  select e.* into v_enrollment from dripdrop.enrollments as e where e.id = execution.enrollment_id;
  perform dripdrop._lock_subscriber(
    v_enrollment.tenant_key, v_enrollment.subscriber_type, v_enrollment.subscriber_id
  );
  perform dripdrop._log_unsubscribe(execution, v_enrollment, topics, source, v_now);
  if array_position(topics, null) is not null then
    perform dripdrop._end_enrollments(array[v_enrollment.id], 'cancelled', 'unsubscribed', v_now);
  end if;
  return query
  select p.*
  from dripdrop._write_suppressions(
    array(
      select s::dripdrop._suppression
      from (
        select
          execution.tenant_key, execution.channel, execution.recipient, o.topic, 'unsubscribe',
          _unsubscribe.source, jsonb_build_object('execution', execution.id),
          null::timestamptz as expires_at
        from unnest(topics) as o (topic)
      ) as s
    ),
    v_now
  ) as p;
  perform dripdrop._set_subscription(
    execution.tenant_key, v_enrollment.subscriber_type, v_enrollment.subscriber_id, o.topic,
    'unsubscribed', _unsubscribe.source
  )
  from unnest(topics) as o (topic)
  where o.topic is not null and v_enrollment.id is not null;
end
$$;

comment on function dripdrop._unsubscribe(dripdrop.step_executions, text[], text) is
  'Records that the recipient of a message unsubscribes from topics (null: from all), and does '
  'what follows.';

-- What the link in a message does. The address is the one the message went to, whatever the
-- subscriber's data says by now, and whatever was deleted. Of a topic that is gone nobody can leave
-- but by leaving it all.
--
-- locks   the subscriber's enrolments, then their executions, then the suppression and the
--         subscription; with the commit the slots of both
-- raises  ZD106 unknown execution, ZD131 unknown topic
create or replace function dripdrop.unsubscribe(
  tenant_key text,
  execution_id uuid,
  topic text default null,
  source text default 'one_click',
  everything boolean default false,
  channel text default null,
  recipient text default null,
  about text default null
)
returns dripdrop.suppressions
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_execution dripdrop.step_executions := dripdrop._addressed_execution(
    tenant_key, execution_id, channel, recipient
  );
  v_topic text;
  v_suppression dripdrop.suppressions;
begin
  if not unsubscribe.everything then
    v_topic := coalesce(
      unsubscribe.topic,
      (
        select t.key
        from dripdrop.topics as t
        where t.key = dripdrop._topic_of(v_execution.step_id, unsubscribe.about)
          and t.tenant_key is not distinct from v_execution.tenant_key
      )
    );
  end if;
  select p.* into v_suppression
  from dripdrop._unsubscribe(v_execution, array[v_topic], unsubscribe.source) as p;
  return v_suppression;
end
$$;

comment on function dripdrop.unsubscribe(
  text, uuid, text, text, boolean, text, text, text
) is
  'Unsubscribes the address that a message went to: from the topic that is named, else from that '
  'of its step, else from the channel, which also ends the enrolment; everything: from the '
  'channel, whatever the topic. channel, recipient and about, the topic: what the link says of the '
  'message, which may be gone. Returns the suppression.';

create or replace function dripdrop._topic_of(step_id uuid, about text)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(
    (select s.config ->> 'topic' from dripdrop.steps as s where s.id = _topic_of.step_id),
    case
      when not exists (select from dripdrop.steps as s where s.id = _topic_of.step_id)
      then _topic_of.about
    end
  )
$$;

comment on function dripdrop._topic_of(uuid, text) is
  'The topic of a step; where that is gone, what is said of it.';

-- raises  ZD106 unknown execution, ZD202 unknown channel
create or replace function dripdrop.subscription_page(
  tenant_key text,
  execution_id uuid,
  inout channel text default null,
  inout recipient text default null,
  about text default null,
  out suppressed boolean,
  out topic text,
  out topics jsonb
)
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_execution dripdrop.step_executions := dripdrop._addressed_execution(
    tenant_key, execution_id, channel, recipient
  );
  v_now timestamptz := dripdrop._now();
begin
  channel := v_execution.channel;
  recipient := v_execution.recipient;
  suppressed := exists (
    select from dripdrop._suppressions_of(
      v_execution.tenant_key, v_execution.channel, v_execution.recipient, null, v_now
    )
  );
  topic := dripdrop._topic_of(v_execution.step_id, about);
  select coalesce(
    jsonb_agg(
      jsonb_build_object(
        'key', t.key,
        'name', t.name,
        'description', t.description,
        'subscribed', coalesce(b.state = 'subscribed', not t.opt_in) and not exists (
          select from dripdrop._suppressions_of(
            v_execution.tenant_key, v_execution.channel, v_execution.recipient, t.key, v_now
          )
        )
      )
      order by t.name, t.key
    ),
    '[]'
  )
  into topics
  from dripdrop.topics as t
  left join dripdrop.enrollments as e on e.id = v_execution.enrollment_id
  left join dripdrop.subscriptions as b
    on b.topic_id = t.id
    and b.subscriber_id = e.subscriber_id
    and b.subscriber_type = e.subscriber_type
  where t.tenant_key is not distinct from v_execution.tenant_key;
end
$$;

comment on function dripdrop.subscription_page(text, uuid, text, text, text) is
  'What the page behind a message''s link shows: the address it went to, whether that is '
  'suppressed for the channel, the topic of its step, and the tenant''s topics as {key, name, '
  'description, subscribed}.';

-- What a complaint or an operator stopped stays stopped.
--
-- locks   the suppressions and the subscriptions; with the commit the slots of both
-- raises  ZD131 unknown topic
create or replace function dripdrop._join_again(
  execution dripdrop.step_executions,
  topics text[],
  source text
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_enrollment dripdrop.enrollments;
  v_topic text;
begin
  select e.* into v_enrollment
  from dripdrop.enrollments as e
  where e.id = (execution).enrollment_id;
  perform dripdrop._set_subscription(
    (execution).tenant_key, v_enrollment.subscriber_type, v_enrollment.subscriber_id, o.topic,
    'subscribed', _join_again.source
  )
  from unnest(topics) as o (topic)
  where v_enrollment.id is not null;
  foreach v_topic in array array(
    select p.topic
    from dripdrop.suppressions as p
    where p.tenant_key is not distinct from (execution).tenant_key
      and p.channel = (execution).channel
      and p.recipient_normalized = any (
        array[(execution).recipient, dripdrop._erased((execution).recipient)]
      )
      and p.topic = any (topics)
      and p.reason = 'unsubscribe'
  )
  loop
    begin
      perform dripdrop.unsuppress(
        (execution).tenant_key, (execution).channel, (execution).recipient,
        'the subscriber', _join_again.source, v_topic
      );
    exception
      when sqlstate 'ZD130' then
        null; -- a second click was faster
    end;
  end loop;
end
$$;

comment on function dripdrop._join_again(dripdrop.step_executions, text[], text) is
  'Subscribes whoever got a message to topics, and lifts what they had unsubscribed from by '
  'themselves.';

-- Whoever reads the mail may also come back, to what they left by themselves: what a complaint or
-- an operator stopped stays stopped. Only what differs is recorded.
--
-- locks   the subscriber's enrolments, then their executions, then the suppression and the
--         subscription; with the commit the slots of both
-- raises  ZD106 unknown execution, ZD201 bad argument, ZD131 unknown topic
create or replace function dripdrop.update_subscriptions(
  tenant_key text,
  execution_id uuid,
  topics jsonb,
  source text default 'page',
  channel text default null,
  recipient text default null
)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_execution dripdrop.step_executions;
  v_left text[];
  v_joined text[];
begin
  perform dripdrop._check_json(topics, 'topics');
  v_execution := dripdrop._addressed_execution(tenant_key, execution_id, channel, recipient);
  if jsonb_typeof(topics) is distinct from 'object' or exists (
    select from jsonb_each(topics) as w where jsonb_typeof(w.value) <> 'boolean'
  ) then
    raise exception 'topics is not an object of true and false' using
      errcode = 'ZD201', column = 'topics', hint = 'For example {"news": true, "offers": false}.';
  end if;
  select
    array_agg(w.key order by w.key) filter (where not w.value::boolean),
    array_agg(w.key order by w.key) filter (where w.value::boolean)
  into v_left, v_joined
  from jsonb_each(topics) as w
  left join jsonb_to_recordset(
    (dripdrop.subscription_page(tenant_key, execution_id, channel, recipient)).topics
  ) as now (key text, subscribed boolean)
    on now.key = w.key
  where now.subscribed is distinct from w.value::boolean;

  if v_left is not null then
    perform dripdrop._unsubscribe(v_execution, v_left, update_subscriptions.source);
  end if;
  perform dripdrop._join_again(v_execution, v_joined, update_subscriptions.source);
end
$$;

comment on function dripdrop.update_subscriptions(text, uuid, jsonb, text, text, text) is
  'Subscribes and unsubscribes the recipient of a message, by topic: {"news": true, "offers": '
  'false}. To subscribe lifts what unsubscribing suppressed, and nothing else. channel and '
  'recipient: where the message went, which may be gone.';
