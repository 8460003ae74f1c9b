-- Nothing is stopped here: the gate at the fence sees the suppression once it has committed.
--
-- locks   the recipient's slot, waiting for claims that are under way, then the suppression; for a
--         domain the slot that stops all claims
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
-- locks, raises  as suppress(), the slots in ascending order
create or replace function dripdrop.suppress_many(tenant_key text, suppressions jsonb)
returns setof dripdrop.suppressions
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := dripdrop._now();
  v_entries jsonb;
begin
  perform dripdrop._check_json_list(suppressions, 'suppressions');
  perform dripdrop._check_tenant_key(tenant_key);
  perform dripdrop._check_suppressions(tenant_key, suppressions);
  begin
    if exists (
      select from jsonb_to_recordset(suppressions) as s (expires_at timestamptz)
      where s.expires_at <= v_now
    ) then
      raise exception 'expires_at is not in the future' using
        errcode = 'ZD201', column = 'expires_at', hint = 'Leave it out for a suppression for good.';
    end if;
  exception
    when data_exception then
      raise exception 'expires_at is not a time' using
        errcode = 'ZD201', column = 'expires_at', detail = sqlerrm,
        hint = 'For example 2026-12-24T18:00:00Z.';
  end;

  select jsonb_agg(
    s.suppression || jsonb_build_object('tenant_key', suppress_many.tenant_key) order by s.place
  )
  into v_entries
  from jsonb_array_elements(suppressions) with ordinality as s (suppression, place);
  return query select p.* from dripdrop._suppress(coalesce(v_entries, '[]'), v_now) as p;
end
$$;

comment on function dripdrop.suppress_many(text, jsonb) is
  'Suppresses a list of {channel, recipient, reason = manual, source, metadata, topic, '
  'expires_at}, as suppress() does one.';

-- With the slots taken nobody else writes these rows, so what they were can be read first. Of all
-- that is said about an address the worst is quoted, and it lasts as long as anyone wants it to:
-- neither a later nor an earlier word can make it less.
create or replace function dripdrop._suppress(entries jsonb, at timestamptz)
returns setof dripdrop.suppressions
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
begin
  perform pg_advisory_xact_lock(dripdrop._stop_class(), slot.number)
  from (
    select distinct dripdrop._suppression_slot(s.channel, s.recipient) as number
    from jsonb_to_recordset(entries) as s (channel text, recipient text)
    order by number
  ) as slot;

  return query
  with
  entry as materialized (
    select
      row_number() over () as place,
      s.tenant_key,
      s.channel,
      s.recipient,
      dripdrop._normalized(s.channel, s.recipient) as recipient_normalized,
      s.topic,
      coalesce(s.reason, 'manual') as reason,
      s.source,
      coalesce(nullif(s.metadata, 'null'), '{}') as metadata,
      s.expires_at
    from jsonb_to_recordset(entries) as s (
      tenant_key text, channel text, recipient text, topic text, reason text, source text,
      metadata jsonb, expires_at timestamptz
    )
  ),
  former as materialized (
    select distinct p.*
    from entry as n
    join dripdrop.suppressions as p
      on p.recipient_normalized = n.recipient_normalized
      and p.channel = n.channel
      and p.tenant_key is not distinct from n.tenant_key
      and p.topic is not distinct from n.topic
    where p.expires_at > _suppress.at or p.expires_at is null
  ),
  said as (
    select
      n.place, n.tenant_key, n.channel, n.recipient, n.recipient_normalized, n.topic, n.reason,
      n.source, n.metadata, n.expires_at
    from entry as n
    union all
    select
      0, p.tenant_key, p.channel, p.recipient, p.recipient_normalized, p.topic, p.reason,
      p.source, p.metadata, p.expires_at
    from former as p
  ),
  written as (
    insert into dripdrop.suppressions as p (
      tenant_key, channel, recipient, recipient_normalized, topic, reason, source, metadata,
      expires_at, inserted_at, updated_at
    )
    select distinct on (d.recipient_normalized, d.channel, d.tenant_key, d.topic)
      d.tenant_key, d.channel, d.recipient, d.recipient_normalized, d.topic, d.reason, d.source,
      d.metadata,
      nullif(
        max(coalesce(d.expires_at, 'infinity')) over (
          partition by d.recipient_normalized, d.channel, d.tenant_key, d.topic
        ),
        'infinity'
      ),
      _suppress.at, _suppress.at
    from said as d
    order by
      d.recipient_normalized, d.channel, d.tenant_key, d.topic, dripdrop._severity(d.reason) desc,
      d.place desc
    on conflict on constraint suppressions_one_per_recipient do update
    set reason = excluded.reason,
        source = excluded.source,
        metadata = excluded.metadata,
        expires_at = excluded.expires_at,
        updated_at = excluded.updated_at
    returning p.*
  ),
  noted as (
    insert into dripdrop.suppression_history (
      tenant_key, suppression_id, action, channel, recipient_normalized, topic, reason, source,
      expires_at, at
    )
    select
      w.tenant_key, w.id, case w.words when 1 then 'suppressed' else 'changed' end, w.channel,
      w.recipient_normalized, w.topic, w.reason, w.source, w.expires_at, _suppress.at
    from (
      select
        v.*,
        row_number() over word as words,
        (
          lag(v.reason) over word, lag(v.source) over word, lag(v.metadata) over word,
          lag(v.expires_at) over word
        ) is distinct from (v.reason, v.source, v.metadata, v.expires_at) as differs
      from (
        select p.*, true as is_written from written as p
        union all
        select p.*, false from former as p
      ) as v
      window word as (partition by v.id order by v.is_written)
    ) as w
    where w.is_written and (w.words = 1 or w.differs)
  )
  select w.* from written as w;
end
$$;

comment on function dripdrop._suppress(jsonb, timestamptz) is
  'Writes suppressions of any tenants, and their history.';

create or replace function dripdrop._suppress(
  tenant_key text,
  channel text,
  recipient text,
  reason text,
  source text,
  metadata jsonb,
  at timestamptz
)
returns dripdrop.suppressions
language sql
set search_path = pg_catalog, pg_temp
as $$
  select p.*
  from dripdrop._suppress(
    jsonb_build_array(jsonb_build_object(
      'tenant_key', _suppress.tenant_key,
      'channel', _suppress.channel,
      'recipient', _suppress.recipient,
      'reason', _suppress.reason,
      'source', _suppress.source,
      'metadata', _suppress.metadata
    )),
    _suppress.at
  ) as p
$$;

comment on function dripdrop._suppress(text, text, text, text, text, jsonb, timestamptz) is
  'Writes one suppression for good.';

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

-- A claim takes the slots of addresses, not of domains: a domain stops all claims for a moment.
create or replace function dripdrop._suppression_slot(channel text, recipient text)
returns int
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select case
    when channel = 'email' and dripdrop._normalized(channel, recipient) like '@%'
    then dripdrop._switch_slot()
    else dripdrop._recipient_slot(dripdrop._normalized(channel, recipient))
  end
$$;

comment on function dripdrop._suppression_slot(text, text) is
  'The slot that a change of a suppression takes.';

-- Somebody answers for it: a suppression is often a promise, or the law.
--
-- locks   the recipient's slot, then the suppression
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
  v_suppression dripdrop.suppressions;
begin
  perform dripdrop._check_tenant_key(tenant_key);
  perform dripdrop._check_suppressions(
    tenant_key,
    jsonb_build_array(jsonb_build_object('channel', channel, 'recipient', recipient))
  );
  if coalesce(btrim(removed_by), '') = '' then
    raise exception 'who removes the suppression is needed' using
      errcode = 'ZD201', column = 'removed_by', hint = 'A person, for example kim@example.com.';
  end if;
  if coalesce(btrim(why), '') = '' then
    raise exception 'why the suppression is removed is needed' using
      errcode = 'ZD201', column = 'why', hint = 'For example ''asked for it by phone''.';
  end if;

  perform pg_advisory_xact_lock(
    dripdrop._stop_class(), dripdrop._suppression_slot(channel, recipient)
  );
  delete from dripdrop.suppressions as p
  where p.recipient_normalized
    = dripdrop._normalized(unsuppress.channel, unsuppress.recipient)
    and p.channel = unsuppress.channel
    and p.tenant_key is not distinct from unsuppress.tenant_key
    and p.topic is not distinct from unsuppress.topic
  returning p.* into v_suppression;
  if not found then
    raise exception '"%" is not suppressed for %', recipient, channel using
      errcode = 'ZD130',
      hint = 'list_suppressions() shows the suppressions of a tenant, each with its topic; that '
        'of a domain is removed as @example.com.';
  end if;

  insert into dripdrop.suppression_history (
    tenant_key, suppression_id, action, channel, recipient_normalized, topic, reason, source,
    expires_at, removed_by, why
  )
  values (
    v_suppression.tenant_key, v_suppression.id, 'unsuppressed', v_suppression.channel,
    v_suppression.recipient_normalized, v_suppression.topic, v_suppression.reason,
    v_suppression.source, v_suppression.expires_at, unsuppress.removed_by, unsuppress.why
  );
  return v_suppression;
end
$$;

comment on function dripdrop.unsuppress(text, text, text, text, text, text) is
  'Removes a suppression of exactly this tenant, address or domain, and topic, and returns it; '
  'suppression_history keeps who did it and why.';
