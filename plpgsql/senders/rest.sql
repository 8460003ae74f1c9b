-- Without resting_until a resting sender is paused until somebody resumes it.
create or replace function dripdrop._is_resting(
  health_state text,
  resting_until timestamptz,
  at timestamptz
)
returns boolean
language sql
immutable
parallel safe
return coalesce(resting_until > at, health_state = 'resting', false);

comment on function dripdrop._is_resting(text, timestamptz, timestamptz) is
  'Whether a sender rests at a time.';

-- The one way in which operators and thresholds let a sender rest. Another rest takes the place of
-- the one it is in.
--
-- locks   nothing new: callers hold the adapter; with the commit the slot of the sender
create or replace function dripdrop._rest(
  adapter dripdrop.channel_adapters,
  until timestamptz,
  reason text,
  detail jsonb,
  at timestamptz
)
returns dripdrop.channel_adapters
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_state text := adapter.health_state;
begin
  update dripdrop.adapter_rests as r
  set ended_at = _rest.at,
      ended_by = session_user
  where r.adapter_id = adapter.id
    and r.ended_at is null
    and (r.until is null or r.until > _rest.at);

  -- What a pause without an end put in the place of its health state is not what it was.
  if v_state = 'resting' and adapter.resting_until is null then
    v_state := (
      select r.health_state
      from dripdrop.adapter_rests as r
      where r.adapter_id = adapter.id and r.until is null
      order by r.started_at desc, r.id desc
      limit 1
    );
  end if;
  insert into dripdrop.adapter_rests (
    tenant_key, adapter_id, reason, detail, health_state, started_at, until
  )
  values (
    adapter.tenant_key, adapter.id, _rest.reason, _rest.detail, v_state, _rest.at, _rest.until
  );

  update dripdrop.channel_adapters as a
  set health_state = case when _rest.until is null then 'resting' else v_state end,
      resting_until = _rest.until,
      resting_reason = _rest.reason,
      updated_at = _rest.at
  where a.id = adapter.id
  returning a.* into adapter;
  return adapter;
end
$$;

comment on function dripdrop._rest(
  dripdrop.channel_adapters, timestamptz, text, jsonb, timestamptz
) is 'Lets a sender rest, and writes down why.';

-- A stop: it waits for claims that are under way, and once it has committed nothing more passes the
-- fence through this sender.
--
-- locks   the adapter; with the commit the slot of the sender, waiting for claims under way
-- raises  ZD107 unknown adapter, ZD201 bad argument
create or replace function dripdrop.pause_adapter(
  tenant_key text,
  adapter_id uuid,
  until timestamptz default null,
  reason text default 'manual'
)
returns dripdrop.channel_adapters
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := dripdrop._now();
  v_adapter dripdrop.channel_adapters;
begin
  perform dripdrop._check_text(reason, 'reason');
  if coalesce(btrim(reason), '') = '' then
    raise exception 'a pause needs a reason' using
      errcode = 'ZD201', column = 'reason', hint = 'Leave it out for "manual".';
  end if;
  if not isfinite(until) or until <= v_now then
    raise exception '% is not a time to come', until using
      errcode = 'ZD201', column = 'until', hint = 'Leave it out to pause until resume_adapter().';
  end if;
  v_adapter := dripdrop._rest(
    dripdrop._lock_adapter(tenant_key, adapter_id), until, reason, '{}', v_now
  );
  v_adapter.credentials := null;
  return v_adapter;
end
$$;

comment on function dripdrop.pause_adapter(text, uuid, timestamptz, text) is
  'Lets nothing more leave through a sender, until a time or until resume_adapter(); what is due '
  'waits, or goes through another sender of its rotation.';

-- What waited for the sender is due now: how much of it may leave is for the limits to say.
--
-- locks   executions, skipping what is locked, and the adapter
-- raises  ZD107 unknown adapter
create or replace function dripdrop.resume_adapter(tenant_key text, adapter_id uuid)
returns dripdrop.channel_adapters
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := dripdrop._now();
  v_adapter dripdrop.channel_adapters := dripdrop._lock_adapter(tenant_key, adapter_id);
begin
  if v_adapter.health_state = 'resting' then
    v_adapter.health_state := (
      select r.health_state
      from dripdrop.adapter_rests as r
      where r.adapter_id = v_adapter.id and r.until is null
      order by r.started_at desc, r.id desc
      limit 1
    );
  end if;
  update dripdrop.adapter_rests as r
  set ended_at = v_now,
      ended_by = session_user
  where r.adapter_id = v_adapter.id
    and r.ended_at is null
    and (r.until is null or r.until > v_now);
  update dripdrop.channel_adapters as a
  set health_state = v_adapter.health_state,
      resting_until = null,
      resting_reason = null,
      updated_at = v_now
  where a.id = v_adapter.id
  returning a.* into v_adapter;
  -- Whoever resumes a sender says that its server is back, too.
  update dripdrop.sender_states as c
  set state = 'closed',
      probe_id = null,
      changed_at = v_now,
      ended_at = v_now
  where c.adapter_id = v_adapter.id and c.ended_at is null;
  perform dripdrop._wake_behind_sender(v_adapter.id, v_now);
  v_adapter.credentials := null;
  return v_adapter;
end
$$;

comment on function dripdrop.resume_adapter(text, uuid) is
  'Ends a sender''s pause or rest, closes its circuit, and makes due what waited for it.';

-- raises  ZD107 unknown adapter
create or replace function dripdrop._lock_adapter(tenant_key text, adapter_id uuid)
returns dripdrop.channel_adapters
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_adapter dripdrop.channel_adapters;
begin
  select a.* into v_adapter
  from dripdrop.channel_adapters as a
  where a.id = _lock_adapter.adapter_id
    and a.tenant_key is not distinct from _lock_adapter.tenant_key
  for no key update;
  if not found then
    raise exception 'adapter "%" not found', adapter_id using
      errcode = 'ZD107', hint = 'Ids are looked up within the tenant that is named first.';
  end if;
  return v_adapter;
end
$$;

comment on function dripdrop._lock_adapter(text, uuid) is
  'An adapter of exactly this tenant, locked, or ZD107.';

-- locks   executions, skipping what is locked
create or replace function dripdrop._wake_behind_sender(adapter_id uuid, at timestamptz)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  select dripdrop._wake_by_rest(
    _wake_behind_sender.adapter_id,
    coalesce(array_agg(distinct r.sender_id), '{}'),
    coalesce(array_agg(distinct r.step_id), '{}'),
    _wake_behind_sender.at
  )
  from (
    select s.id as step_id, w.adapter_id as sender_id
    from dripdrop.steps as s
    join dripdrop.sequence_versions as v on v.id = s.sequence_version_id
    join dripdrop.sequences as q on q.id = v.sequence_id
    cross join lateral (
      select array_agg(n.adapter_id) as senders
      from dripdrop._who_sends(
        s.channel_adapter_id, s.config, q.metadata, s.tenant_key, s.channel
      ) as n
      where n.sends
    ) as shared
    cross join unnest(shared.senders) as w (adapter_id)
    -- Few steps name it, and only of those it need be asked.
    where strpos(concat(s.config, q.metadata), _wake_behind_sender.adapter_id::text) > 0
      and _wake_behind_sender.adapter_id = any (shared.senders)
  ) as r
$$;

comment on function dripdrop._wake_behind_sender(uuid, timestamptz) is
  'Makes due what waits for a sender, or for another one of its rotations, to end its rest.';
