-- What says something last has the word: the defaults, what holds for all tenants, the sender's
-- tenant, the sender itself. false switches the thresholds off, and a more specific object on.
create or replace function dripdrop._thresholds(tenant_key text, config jsonb)
returns jsonb
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select case
    when coalesce(_thresholds.config -> 'thresholds', own.thresholds, general.thresholds) = 'false'
    then null
    else dripdrop._presets('thresholds')
    || coalesce(nullif(general.thresholds, 'false'), '{}')
    || coalesce(nullif(own.thresholds, 'false'), '{}')
    || coalesce(_thresholds.config -> 'thresholds', '{}')
  end
  from (values (1)) as one
  left join dripdrop.tenant_settings as general on general.tenant_key is null
  left join dripdrop.tenant_settings as own on own.tenant_key = _thresholds.tenant_key
$$;

comment on function dripdrop._thresholds(text, jsonb) is
  'The thresholds of a sender, or null when they are off.';

-- A message counts once, whatever is reported of it, and also when it bounced before it was
-- accepted.
create or replace function dripdrop._count_bounces(
  adapter_id uuid,
  since timestamptz,
  at timestamptz,
  out complaints int,
  out hard int,
  out soft int,
  out not_sent int
)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select
    count(distinct b.message) filter (where b.event_type = 'complained'),
    count(distinct b.message) filter (where b.event_type = 'bounced' and b.hard),
    count(distinct b.message) filter (where b.event_type = 'bounced' and not b.hard),
    count(distinct b.message) filter (where b.event_type = 'bounced' and b.not_sent)
  from (
    select
      m.event_type,
      coalesce(m.step_execution_id, m.id) as message,
      coalesce(m.event_data ->> 'hard' = 'true', false) as hard,
      m.step_execution_id is not null and not exists (
        select from dripdrop.message_events as s
        where s.step_execution_id = m.step_execution_id and s.event_type = 'sent'
      ) as not_sent
    from dripdrop.message_reports as m
    where m.adapter_id = _count_bounces.adapter_id
      and m.occurred_at between _count_bounces.since and _count_bounces.at
      and m.event_type in ('bounced', 'complained')
  ) as b
$$;

comment on function dripdrop._count_bounces(uuid, timestamptz, timestamptz) is
  'How many messages of a sender were complained about or bounced in a time, and how many of those '
  'that bounced were never accepted.';

-- Bounces and complaints are few, so they are counted first. A rate is reached by at most so many
-- messages as they divide by it, so no more are read, however long the history.
create or replace function dripdrop._breach(
  adapter_id uuid,
  thresholds jsonb,
  since timestamptz,
  at timestamptz
)
returns table (reason text, rate numeric, detail jsonb)
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_complaint_rate numeric := (thresholds ->> 'complaint_rate')::numeric;
  v_bounce_rate numeric := (thresholds ->> 'bounce_rate')::numeric;
  v_soft_rate numeric := (thresholds ->> 'soft_bounce_rate')::numeric;
  v_min_sample int := (thresholds ->> 'min_sample')::int;
  v_bad record;
  v_enough bigint;
  v_messages numeric;
begin
  select c.* into v_bad
  from dripdrop._count_bounces(adapter_id, since, at) as c;
  v_enough := floor(
    greatest(
      v_bad.complaints / v_complaint_rate,
      v_bad.hard / v_bounce_rate,
      v_bad.soft / v_soft_rate
    )
  );
  if coalesce(v_enough, 0) < v_min_sample then
    return;
  end if;

  v_messages := v_bad.not_sent + (
    select count(*)
    from (
      select
      from dripdrop.message_events as m
      where m.adapter_id = _breach.adapter_id
        and m.occurred_at between _breach.since and _breach.at
        and m.event_type = 'sent'
      limit v_enough + 1
    ) as sent
  );
  if v_messages < v_min_sample then
    return;
  end if;
  return query
  select
    b.reason,
    round(b.bad / v_messages, 6),
    jsonb_build_object(
      'messages', v_messages, 'complaints', v_bad.complaints, 'hard_bounces', v_bad.hard,
      'soft_bounces', v_bad.soft, 'since', _breach.since
    )
  from (
    values
    (1, 'complaint_threshold', v_bad.complaints, v_complaint_rate),
    (2, 'bounce_threshold', v_bad.hard, v_bounce_rate),
    (3, 'bounce_threshold', v_bad.soft, v_soft_rate)
  ) as b (place, reason, bad, threshold)
  where b.bad >= b.threshold * v_messages
  order by b.place
  limit 1;
end
$$;

comment on function dripdrop._breach(uuid, jsonb, timestamptz, timestamptz) is
  'The first threshold that a sender has reached with what happened in a time, if any.';

-- What led to a rest counts no more after it, so that a sender recovers: its rates begin anew.
create or replace function dripdrop._breaches(at timestamptz)
returns table (adapter_id uuid, reason text, rate numeric, detail jsonb, until timestamptz)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select
    a.id, b.reason, b.rate, b.detail,
    _breaches.at + (t.thresholds ->> 'pause')::interval
  from dripdrop.channel_adapters as a
  cross join lateral dripdrop._thresholds(a.tenant_key, a.config) as t (thresholds)
  cross join lateral (
    select max(coalesce(r.ended_at, r.until)) as ended_at
    from dripdrop.adapter_rests as r
    -- A pause has counted nothing, whatever reason it was given.
    where r.adapter_id = a.id and r.detail ? 'messages'
  ) as last_rest
  cross join lateral dripdrop._breach(
    a.id,
    t.thresholds,
    greatest(_breaches.at - (t.thresholds ->> 'window')::interval, last_rest.ended_at),
    _breaches.at
  ) as b
  where a.active
    and not dripdrop._is_resting(a.health_state, a.resting_until, _breaches.at)
    and t.thresholds is not null
$$;

comment on function dripdrop._breaches(timestamptz) is
  'The senders whose rates are too high, with the worst of them, and until when they are to rest.';

-- A sender that rests is looked at again when it sends again.
--
-- locks   of senders that are to rest: the adapters, skipping what is locked; with the commit their
--         slots
create or replace function dripdrop.check_thresholds()
returns table (
  tenant_key text,
  adapter_id uuid,
  name text,
  reason text,
  rate numeric,
  detail jsonb,
  until timestamptz
)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_now timestamptz := dripdrop._now();
  v_adapter dripdrop.channel_adapters;
  v_breach record;
begin
  for v_breach in
    select b.* from dripdrop._breaches(v_now) as b order by b.adapter_id
  loop
    begin
      select a.* into v_adapter
      from dripdrop.channel_adapters as a
      where a.id = v_breach.adapter_id
      for no key update skip locked;
      -- Another check, or an operator, may have been quicker or be at it: the next looks again.
      continue when not found
        or dripdrop._is_resting(v_adapter.health_state, v_adapter.resting_until, v_now);
      v_adapter := dripdrop._rest(
        v_adapter, v_breach.until, v_breach.reason, v_breach.detail, v_now
      );
    exception
      when others or assert_failure then
        raise warning 'sender "%" cannot be let rest: %', v_adapter.name, left(sqlerrm, 200) using
          errcode = sqlstate, hint = 'It is tried again by the next check; the others rest.';
        continue;
    end;
    return query
    select
      v_adapter.tenant_key, v_adapter.id, v_adapter.name, v_breach.reason, v_breach.rate,
      v_breach.detail, v_breach.until;
  end loop;
end
$$;

comment on function dripdrop.check_thresholds() is
  'Lets senders rest whose bounces or complaints have reached a threshold, and returns them, with '
  'the rate and what was counted. The daemon calls it about once a minute.';
