-- raises  ZD113 key taken, ZD201 bad argument, ZD207 bad tenant key
create or replace function dripdrop.create_topic(
  tenant_key text,
  key text,
  name text,
  description text default null,
  opt_in boolean default false
)
returns dripdrop.topics
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_topic dripdrop.topics;
begin
  perform dripdrop._check_tenant_key(tenant_key);
  perform dripdrop._check_key(key, 'key', 'topic key');
  perform dripdrop._check_title(name, 'name');
  perform dripdrop._check_text(description, 'description', 10000);
  if coalesce(btrim(name), '') = '' then
    raise exception 'a topic needs a name' using
      errcode = 'ZD201', column = 'name', hint = 'What subscribers read, for example ''Offers''.';
  end if;
  if opt_in is null then
    raise exception 'opt_in is not true or false' using
      errcode = 'ZD201', column = 'opt_in', hint = 'True for a topic one must subscribe to.';
  end if;

  insert into dripdrop.topics (tenant_key, key, name, description, opt_in)
  values (
    create_topic.tenant_key, create_topic.key, create_topic.name, create_topic.description,
    create_topic.opt_in
  )
  on conflict do nothing
  returning * into v_topic;
  if v_topic.id is null then
    raise exception 'there is a topic % already', dripdrop._quoted(key) using
      errcode = 'ZD113', column = 'key', hint = 'list_topics() shows the topics of a tenant.';
  end if;
  return v_topic;
end
$$;

comment on function dripdrop.create_topic(text, text, text, text, boolean) is
  'Adds a topic that steps name as their config''s topic. opt_in: it goes only to those who '
  'subscribed to it, else to all who have not opted out.';

-- raises  ZD131 unknown topic, ZD201 bad argument
create or replace function dripdrop.update_topic(
  tenant_key text,
  key text,
  name text default null,
  description text default null,
  opt_in boolean default null
)
returns dripdrop.topics
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_topic dripdrop.topics;
begin
  perform dripdrop._check_title(name, 'name');
  perform dripdrop._check_text(description, 'description', 10000);
  if btrim(name) = '' then
    raise exception 'a topic needs a name' using
      errcode = 'ZD201', column = 'name', hint = 'What subscribers read, for example ''Offers''.';
  end if;
  update dripdrop.topics as t
  set name = coalesce(update_topic.name, t.name),
      description = coalesce(update_topic.description, t.description),
      opt_in = coalesce(update_topic.opt_in, t.opt_in)
  where t.id = dripdrop._topic_id(update_topic.tenant_key, update_topic.key)
  returning t.* into v_topic;
  return v_topic;
end
$$;

comment on function dripdrop.update_topic(text, text, text, text, boolean) is
  'Changes what a topic is called or whether one must subscribe to it; null leaves a value as it '
  'is.';

create or replace function dripdrop._user_of_topic(topic dripdrop.topics)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select u.name
  from (
    select 1 as place, 'step ' || dripdrop._quoted(s.key) as name
    from dripdrop.steps as s
    where s.config ->> 'topic' = (_user_of_topic.topic).key
      and s.tenant_key is not distinct from (_user_of_topic.topic).tenant_key
    union all
    select 2, 'frequency cap ' || dripdrop._quoted(c.key)
    from dripdrop.frequency_caps as c
    where c.topic = (_user_of_topic.topic).key
      and c.tenant_key is not distinct from (_user_of_topic.topic).tenant_key
    union all
    -- Not by whose it is.
    (
      select 3, 'what subscribers said'
      from dripdrop.consent_records as r
      where r.topic_id = (_user_of_topic.topic).id
      limit 1
    )
    union all
    (
      select 4, 'a suppression'
      from dripdrop.suppressions as p
      where p.topic = (_user_of_topic.topic).key
        and p.tenant_key is not distinct from (_user_of_topic.topic).tenant_key
      limit 1
    )
  ) as u
  order by u.place
  limit 1
$$;

comment on function dripdrop._user_of_topic(dripdrop.topics) is
  'Something that needs a topic, or null.';

-- raises  ZD124 it is still used, ZD131 unknown topic
create or replace function dripdrop.delete_topic(tenant_key text, key text)
returns dripdrop.topics
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_topic dripdrop.topics;
  v_user text;
begin
  select t.* into v_topic
  from dripdrop.topics as t
  where t.id = dripdrop._topic_id(delete_topic.tenant_key, delete_topic.key)
  for update;
  v_user := dripdrop._user_of_topic(v_topic);
  if v_user is not null then
    raise exception 'topic % is used by %', dripdrop._quoted(key), v_user using
      errcode = 'ZD124', column = 'key',
      hint = 'Whoever has opted out of it is not to be asked again; update_topic() changes it.';
  end if;
  delete from dripdrop.topics as t where t.id = v_topic.id;
  return v_topic;
end
$$;

comment on function dripdrop.delete_topic(text, text) is
  'Deletes a topic that nothing is about and that nobody has said anything about, and returns it.';

create or replace function dripdrop.list_topics(tenant_key text)
returns setof dripdrop.topics
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
  select t.*
  from dripdrop.topics as t
  where t.tenant_key is not distinct from list_topics.tenant_key
  order by t.key
$$;

comment on function dripdrop.list_topics(text) is 'The topics of exactly this tenant, by key.';

-- The gravest suppression is the one that is shown.
create or replace function dripdrop._consent(
  tenant_key text,
  channel text,
  recipient text,
  topic text,
  topic_id uuid,
  subscriber_type text,
  subscriber_id text,
  at timestamptz
)
returns table (suppression text, state text)
language sql
stable
parallel safe
begin atomic
  select
    (
      select concat(
        p.reason,
        case when p.recipient_normalized like '@%' then ' of ' || p.recipient_normalized end,
        ' about ' || p.topic,
        case when p.tenant_key is null then ', for every tenant' end
      )
      from dripdrop._suppressions_of(
        _consent.tenant_key, _consent.channel, _consent.recipient, _consent.topic, _consent.at
      ) as p
      order by dripdrop._severity(p.reason) desc, p.id
      limit 1
    ),
    u.state
  from (values (1)) as one
  left join dripdrop.subscriptions as u
    on u.subscriber_id = _consent.subscriber_id
    and u.subscriber_type = _consent.subscriber_type
    and u.topic_id = _consent.topic_id;
end;

comment on function dripdrop._consent(
  text, text, text, text, uuid, text, text, timestamptz
) is
  'The suppression that stops a message, in words, and what its subscriber said about its topic.';

-- No message is touched here, so that those of enrolments that begin meanwhile are stopped too: the
-- gate at the fence sees the opt-out once it has committed.
--
-- locks   the subscription; to opt out, with the commit the subscriber's slot, waiting for claims
--         that are under way
-- raises  ZD131 unknown topic, ZD201 bad argument, ZD207 bad tenant key
create or replace function dripdrop.set_subscription(
  tenant_key text,
  subscriber_type text,
  subscriber_id anycompatible,
  topic text,
  state text,
  source text
)
returns dripdrop.subscriptions
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform dripdrop._check_tenant_key(tenant_key);
  if coalesce(subscriber_type, '') = '' or coalesce(subscriber_id::text, '') = '' then
    raise exception 'a subscriber needs a type and an id' using
      errcode = 'ZD201', column = 'subscriber_id',
      hint = 'For example subscriber_type => ''User'', subscriber_id => ''42''.';
  end if;
  if octet_length(subscriber_type) > 500 or octet_length(subscriber_id::text) > 500 then
    raise exception 'subscriber_type or subscriber_id is longer than 500 bytes' using
      errcode = 'ZD201', column = 'subscriber_id', hint = 'Pass what enroll() is called with.';
  end if;
  if state is null or state not in ('subscribed', 'unsubscribed') then
    raise exception 'state % is unknown', dripdrop._quoted(state) using
      errcode = 'ZD201', column = 'state', hint = 'Use subscribed or unsubscribed.';
  end if;
  return dripdrop._set_subscription(
    tenant_key, subscriber_type, subscriber_id::text, topic, state, source
  );
end
$$;

comment on function dripdrop.set_subscription(text, text, anycompatible, text, text, text) is
  'A subscriber opts in to a topic (subscribed) or out of it (unsubscribed); source says where. '
  'An opt-out stops the messages about this topic that have not left. Saying it again '
  'changes nothing; each change is kept in consent_records. subscriber_type and subscriber_id: at '
  'most 500 bytes each.';

-- raises  ZD131 unknown topic
create or replace function dripdrop._topic_id(tenant_key text, topic text)
returns uuid
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_id uuid;
begin
  select t.id into v_id
  from dripdrop.topics as t
  where t.key = _topic_id.topic and t.tenant_key is not distinct from _topic_id.tenant_key;
  if not found then
    raise exception 'topic % not found', dripdrop._quoted(topic) using
      errcode = 'ZD131', column = 'topic', hint = 'list_topics() shows the topics of a tenant.';
  end if;
  return v_id;
end
$$;

comment on function dripdrop._topic_id(text, text) is 'The id of a topic of the tenant, or ZD131.';

-- An opt-out is later than all that it let pass.
--
-- locks, raises  as set_subscription()
create or replace function dripdrop._set_subscription(
  tenant_key text,
  subscriber_type text,
  subscriber_id text,
  topic text,
  state text,
  source text
)
returns dripdrop.subscriptions
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := dripdrop._now();
  v_topic uuid;
  v_subscription dripdrop.subscriptions;
begin
  if coalesce(btrim(source), '') = '' then
    raise exception 'a source is needed' using
      errcode = 'ZD201', column = 'source',
      hint = 'Where it was said, for example ''signup form''.';
  end if;
  v_topic := dripdrop._topic_id(tenant_key, topic);
  if state = 'unsubscribed' then
    perform dripdrop._hold(array[
      dripdrop._held_thing(
        'subscriber', tenant_key, concat_ws(':', topic, subscriber_type, subscriber_id)
      )
    ]);
    v_now := greatest(
      v_now, dripdrop._last_claimed(tenant_key, subscriber_type, subscriber_id)
    );
  end if;
  insert into dripdrop.subscriptions as u (
    tenant_key, topic_id, subscriber_type, subscriber_id, state, source, at
  )
  values (
    _set_subscription.tenant_key, v_topic, _set_subscription.subscriber_type,
    _set_subscription.subscriber_id, _set_subscription.state, _set_subscription.source, v_now
  )
  on conflict on constraint subscriptions_one_per_topic do update
  set state = excluded.state,
      source = excluded.source,
      at = excluded.at
  where u.state <> excluded.state
  returning u.* into v_subscription;
  if found then
    insert into dripdrop.consent_records (
      tenant_key, topic_id, subscriber_type, subscriber_id, state, source, at
    )
    values (
      v_subscription.tenant_key, v_subscription.topic_id, v_subscription.subscriber_type,
      v_subscription.subscriber_id, v_subscription.state, v_subscription.source, v_subscription.at
    );
  else
    select u.* into v_subscription
    from dripdrop.subscriptions as u
    where u.subscriber_id = _set_subscription.subscriber_id
      and u.subscriber_type = _set_subscription.subscriber_type
      and u.topic_id = v_topic;
  end if;
  return v_subscription;
end
$$;

comment on function dripdrop._set_subscription(text, text, text, text, text, text) is
  'Keeps what a subscriber says about a topic, and each change of it.';

create or replace function dripdrop._last_claimed(
  tenant_key text,
  subscriber_type text,
  subscriber_id text
)
returns timestamptz
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select max(x.claimed_at) + interval '1 microsecond'
  from dripdrop._enrollments_of(_last_claimed.subscriber_type, _last_claimed.subscriber_id) as e
  join dripdrop.step_executions as x on x.enrollment_id = e.id
  where e.tenant_key is not distinct from _last_claimed.tenant_key
$$;

comment on function dripdrop._last_claimed(text, text, text) is
  'Just after the last message to a subscriber passed the fence.';

-- What left while the transaction was open was let pass as well.
create or replace function dripdrop._opt_out_excludes_claims()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_at timestamptz;
begin
  perform dripdrop._exclude_claims(
    dripdrop._subscriber_slot(new.topic_id, new.subscriber_type, new.subscriber_id)
  );
  v_at := dripdrop._last_claimed(new.tenant_key, new.subscriber_type, new.subscriber_id);
  if v_at > new.at then
    update dripdrop.subscriptions as u
    set at = v_at
    where u.id = new.id and u.state = 'unsubscribed' and u.at = new.at;
    if found then
      update dripdrop.consent_records as r
      set at = v_at
      where r.subscriber_id = new.subscriber_id
        and r.subscriber_type = new.subscriber_type
        and r.topic_id = new.topic_id
        and r.state = 'unsubscribed'
        and r.at = new.at;
    end if;
  end if;
  return null;
end
$$;

comment on function dripdrop._opt_out_excludes_claims() is
  'Trigger: an opt-out excludes claims when it commits, and is later than all that it let pass.';

drop trigger if exists subscriptions_exclude_claims on dripdrop.subscriptions;
create constraint trigger subscriptions_exclude_claims
after insert or update of state on dripdrop.subscriptions
deferrable initially deferred
for each row
when (new.state = 'unsubscribed')
execute function dripdrop._opt_out_excludes_claims();

create or replace function dripdrop.get_subscriptions(
  tenant_key text,
  subscriber_type text,
  subscriber_id anycompatible
)
returns table (
  topic text,
  name text,
  description text,
  subscribed boolean,
  state text,
  source text,
  at timestamptz
)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
  select
    t.key, t.name, t.description, coalesce(u.state = 'subscribed', not t.opt_in), u.state, u.source,
    u.at
  from dripdrop.topics as t
  left join dripdrop.subscriptions as u
    on u.subscriber_id = get_subscriptions.subscriber_id::text
    and u.subscriber_type = get_subscriptions.subscriber_type
    and u.topic_id = t.id
  where t.tenant_key is not distinct from get_subscriptions.tenant_key
  order by t.key
$$;

comment on function dripdrop.get_subscriptions(text, text, anycompatible) is
  'Every topic of the tenant: whether messages about it reach the subscriber, and what the '
  'subscriber said about it, where and when, if anything.';
