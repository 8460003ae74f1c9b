-- Nothing is stopped here: the gate at the fence sees the suppression once it has committed.
--
-- locks   the suppression; with the commit the recipient's slot, for a domain the tenant's, waiting
--         for claims that are under way
-- raises  ZD131 unknown topic, ZD201 bad argument, ZD202 unknown channel, ZD207 bad tenant key
create or replace function dripdrop.suppress(
  tenant_key text,
  channel text,
  recipient text,
  reason text default 'manual',
  source text default null,
  metadata jsonb default '{}',
  topic text default null,
  expires_at timestamptz default null
)
returns dripdrop.suppressions
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_suppression dripdrop.suppressions;
begin
  select p.* into v_suppression
  from dripdrop.suppress_many(
    suppress.tenant_key,
    jsonb_build_array(jsonb_build_object(
      'channel', suppress.channel,
      'recipient', suppress.recipient,
      'reason', suppress.reason,
      'source', suppress.source,
      'metadata', suppress.metadata,
      'topic', suppress.topic,
      'expires_at', suppress.expires_at
    ))
  ) as p;
  return v_suppression;
end
$$;

comment on function dripdrop.suppress(
  text, text, text, text, text, jsonb, text, timestamptz
) is
  'Nothing more goes to this address over this channel; tenant null means for every tenant. '
  'recipient: an address or, for email, a domain as @example.com, without its subdomains. topic: '
  'only messages about it. expires_at: until then. Again keeps the worse reason (complaint, '
  'unsubscribe, bounce, provider_block, manual) and the later end.';

-- For imports: one statement for all of them, none if one of them is wrong.
--
-- locks, raises  as suppress(), the suppressions and the slots in the order of slots
create or replace function dripdrop.suppress_many(tenant_key text, suppressions jsonb)
returns setof dripdrop.suppressions
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform dripdrop._check_json_list(suppressions, 'suppressions');
  perform dripdrop._check_tenant_key(tenant_key);
  perform dripdrop._check_suppressions(tenant_key, suppressions);
  return query
  select p.*
  from dripdrop._write_suppressions(
    array(
      select s::dripdrop._suppression
      from (
        select
          suppress_many.tenant_key, n.channel, n.recipient, n.topic, coalesce(n.reason, 'manual'),
          n.source, coalesce(nullif(n.metadata, 'null'), '{}'), n.expires_at
        from jsonb_to_recordset(suppressions) as n (
          channel text, recipient text, topic text, reason text, source text, metadata jsonb,
          expires_at timestamptz
        )
      ) as s
    ),
    dripdrop._now()
  ) as p;
end
$$;

comment on function dripdrop.suppress_many(text, jsonb) is
  'Suppresses a list of {channel, recipient, reason = manual, source, metadata, topic, '
  'expires_at}, as suppress() does one.';

-- Neither a later nor an earlier word can make a suppression less.
--
-- locks   the suppressions, in the order of their slots, which they take with the commit
create or replace function dripdrop._write_suppressions(
  suppressions dripdrop._suppression[],
  at timestamptz
)
returns setof dripdrop.suppressions
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform dripdrop._hold(array(
    select distinct dripdrop._held_thing(
      'recipient', s.tenant_key, dripdrop._address(c.address_form, s.recipient)
    )
    from unnest(suppressions) as s
    join dripdrop.channels as c on c.channel = s.channel
  ));
  return query
  insert into dripdrop.suppressions as p (
    tenant_key, channel, recipient, recipient_normalized, topic, reason, source, metadata,
    expires_at, inserted_at, updated_at
  )
  select
    w.tenant_key, w.channel, w.recipient, w.recipient_normalized, w.topic, w.reason, w.source,
    w.metadata, w.expires_at, _write_suppressions.at, _write_suppressions.at
  from dripdrop._worst_suppressions(suppressions) as w
  order by
    dripdrop._suppression_slot(w.tenant_key, w.recipient_normalized), w.recipient_normalized,
    w.channel, w.tenant_key, w.topic
  on conflict on constraint suppressions_one_per_recipient do update
  set (reason, source, metadata, expires_at, updated_at) = (
    select
      case when c.stays then p.reason else excluded.reason end,
      case when c.stays then p.source else excluded.source end,
      case when c.stays then p.metadata else excluded.metadata end,
      case
        when p.expires_at <= _write_suppressions.at then excluded.expires_at
        else nullif(
          greatest(
            coalesce(p.expires_at, 'infinity'), coalesce(excluded.expires_at, 'infinity')
          ),
          'infinity'
        )
      end,
      _write_suppressions.at
    from (
      select
        coalesce(p.expires_at > _write_suppressions.at, true)
        and dripdrop._severity(p.reason) > dripdrop._severity(excluded.reason) as stays
    ) as c
  )
  returning p.*;
end
$$;

comment on function dripdrop._write_suppressions(dripdrop._suppression[], timestamptz) is
  'Writes suppressions of any tenants, and their history.';

-- The worse reason is the one that is kept.
create or replace function dripdrop._severity(reason text)
returns int
language sql
immutable
parallel safe
return array_position(
  '{manual,provider_block,bounce,unsubscribe,complaint}'::text[], reason
);

comment on function dripdrop._severity(text) is
  'How much a reason for a suppression weighs, 1 to 5; null for an unknown one.';

-- Of all that is said about an address the worst is quoted, and it lasts as long as anyone wants it
-- to.
create or replace function dripdrop._worst_suppressions(suppressions dripdrop._suppression[])
returns table (
  tenant_key text,
  channel text,
  recipient text,
  recipient_normalized text,
  topic text,
  reason text,
  source text,
  metadata jsonb,
  expires_at timestamptz
)
language sql
immutable
begin atomic
  select distinct on (n.normalized, s.channel, s.tenant_key, s.topic)
    s.tenant_key, s.channel, s.recipient, n.normalized, s.topic, s.reason, s.source, s.metadata,
    nullif(
      max(coalesce(s.expires_at, 'infinity')) over (
        partition by n.normalized, s.channel, s.tenant_key, s.topic
      ),
      'infinity'
    )
  from unnest(suppressions) with ordinality as s
  join dripdrop.channels as c on c.channel = s.channel
  cross join lateral (
    select dripdrop._address(c.address_form, s.recipient) as normalized
  ) as n
  order by
    n.normalized, s.channel, s.tenant_key, s.topic, dripdrop._severity(s.reason) desc,
    s.ordinality desc;
end;

comment on function dripdrop._worst_suppressions(dripdrop._suppression[]) is
  'One suppression for each recipient, channel, tenant and topic: the worst, with the latest end.';

-- What a server's answer suppresses waits for no application that has the same address in hand: it
-- is refused, and recorded later.
--
-- raises  55P03 somebody else is writing this suppression
create or replace function dripdrop._suppress_bounce(
  tenant_key text,
  channel text,
  recipient text,
  metadata jsonb,
  at timestamptz
)
returns dripdrop.suppressions
language sql
set search_path = pg_catalog, pg_temp
set lock_timeout = '100ms'
as $$
  select p.*
  from dripdrop._write_suppressions(
    array(
      select s::dripdrop._suppression
      from (
        select
          _suppress_bounce.tenant_key, _suppress_bounce.channel, _suppress_bounce.recipient,
          null::text as topic, 'bounce', 'provider', _suppress_bounce.metadata,
          null::timestamptz as expires_at
      ) as s
    ),
    _suppress_bounce.at
  ) as p
$$;

comment on function dripdrop._suppress_bounce(text, text, text, jsonb, timestamptz) is
  'Suppresses the recipient of a hard bounce.';

-- A claim shares the slots of addresses, not of domains.
create or replace function dripdrop._suppression_slot(tenant_key text, recipient_normalized text)
returns int
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select case
    when recipient_normalized not like '@%'
    then dripdrop._recipient_slot(tenant_key, recipient_normalized)
    when tenant_key is null then dripdrop._everything_slot()
    else dripdrop._tenant_slot(tenant_key)
  end
$$;

comment on function dripdrop._suppression_slot(text, text) is
  'The slot that a suppression takes when it commits.';

create or replace function dripdrop._suppression_excludes_claims()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform dripdrop._exclude_claims(
    dripdrop._suppression_slot(new.tenant_key, new.recipient_normalized)
  );
  return null;
end
$$;

comment on function dripdrop._suppression_excludes_claims() is
  'Trigger: a suppression excludes claims when it commits.';

drop trigger if exists suppressions_exclude_claims on dripdrop.suppressions;
create constraint trigger suppressions_exclude_claims
after insert or update on dripdrop.suppressions
deferrable initially deferred
for each row
execute function dripdrop._suppression_excludes_claims();

-- A suppression that is repeated with nothing new is not logged.
create or replace function dripdrop._log_suppression()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_is_new boolean := tg_op = 'INSERT';
begin
  if tg_op = 'UPDATE' then
    v_is_new := coalesce(old.expires_at <= new.updated_at, false);
    if not v_is_new
      and (old.reason, old.source, old.metadata, old.expires_at)
      is not distinct from (new.reason, new.source, new.metadata, new.expires_at)
    then
      return null;
    end if;
  end if;
  insert into dripdrop.suppression_history (
    tenant_key, suppression_id, action, channel, recipient_normalized, topic, reason, source,
    expires_at, at
  )
  values (
    new.tenant_key, new.id, case when v_is_new then 'suppressed' else 'changed' end, new.channel,
    new.recipient_normalized, new.topic, new.reason, new.source, new.expires_at, new.updated_at
  );
  return null;
end
$$;

comment on function dripdrop._log_suppression() is
  'Trigger: keeps the history of suppressions.';

create or replace trigger suppressions_are_noted
after insert or update on dripdrop.suppressions
for each row
execute function dripdrop._log_suppression();

-- Somebody answers for it: a suppression is often a promise, or the law.
--
-- locks   the suppression
-- raises  ZD130 no such suppression, ZD201 bad argument, ZD202 unknown channel
create or replace function dripdrop.unsuppress(
  tenant_key text,
  channel text,
  recipient text,
  removed_by text,
  why text,
  topic text default null
)
returns dripdrop.suppressions
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_address text;
  v_suppression dripdrop.suppressions;
begin
  perform dripdrop._check_tenant_key(tenant_key);
  perform dripdrop._check_suppressions(
    tenant_key,
    jsonb_build_array(jsonb_build_object('channel', channel, 'recipient', recipient))
  );
  v_address := dripdrop._normalized(channel, recipient);
  if coalesce(btrim(removed_by), '') = '' then
    raise exception 'who removes the suppression is needed' using
      errcode = 'ZD201', column = 'removed_by', hint = 'A person, for example kim@example.com.';
  end if;
  if coalesce(btrim(why), '') = '' then
    raise exception 'why the suppression is removed is needed' using
      errcode = 'ZD201', column = 'why', hint = 'For example ''asked for it by phone''.';
  end if;

  -- Said again after it was erased, there are two.
  with
  gone as (
    delete from dripdrop.suppressions as p
    where p.recipient_normalized = any (array[v_address, dripdrop._erased(v_address)])
      and p.channel = unsuppress.channel
      and p.tenant_key is not distinct from unsuppress.tenant_key
      and p.topic is not distinct from unsuppress.topic
    returning p.*
  ),
  noted as (
    insert into dripdrop.suppression_history (
      tenant_key, suppression_id, action, channel, recipient_normalized, topic, reason, source,
      expires_at, removed_by, why
    )
    select
      g.tenant_key, g.id, 'unsuppressed', g.channel, g.recipient_normalized, g.topic, g.reason,
      g.source, g.expires_at, unsuppress.removed_by, unsuppress.why
    from gone as g
  )
  select g.* into v_suppression
  from gone as g
  order by g.recipient_normalized = v_address desc
  limit 1;
  if not found then
    raise exception '% is not suppressed for %', dripdrop._quoted(recipient), channel using
      errcode = 'ZD130',
      hint = 'list_suppressions() shows the suppressions of a tenant, each with its topic; that '
        'of a domain is removed as @example.com.';
  end if;
  return v_suppression;
end
$$;

comment on function dripdrop.unsuppress(text, text, text, text, text, text) is
  'Removes a suppression of exactly this tenant, address or domain, and topic, and returns it; '
  'suppression_history keeps who did it and why.';
