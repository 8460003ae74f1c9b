-- The widest pause that covers a sender's messages of a sequence. Asked once per step, so that the
-- switch costs a message nothing.
create or replace function dripdrop._sending_pause(
  tenant_key text,
  sequence text,
  channel text,
  adapter_id uuid
)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select concat_ws(' ', p.scope, p.subject) || coalesce(': ' || p.reason, '')
  from dripdrop.sending_pauses as p
  left join dripdrop.channel_adapters as a on a.id = _sending_pause.adapter_id
  where case p.scope
    when 'everything' then true
    when 'adapter' then p.subject = a.name and p.tenant_key is not distinct from a.tenant_key
    else
      p.tenant_key is not distinct from _sending_pause.tenant_key
      and case p.scope
        when 'tenant' then true
        when 'sequence' then p.subject = _sending_pause.sequence
        when 'channel' then p.subject = _sending_pause.channel
      end
  end
  order by array_position(array['everything', 'tenant', 'sequence', 'channel', 'adapter'], p.scope)
  limit 1
$$;

comment on function dripdrop._sending_pause(text, text, text, uuid) is
  'The pause of sending that holds such messages, in words, or null.';

-- raises  ZD201 bad scope or subject, ZD207 bad tenant key
create or replace function dripdrop._check_sending_scope(
  tenant_key text,
  scope text,
  subject text
)
returns void
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  perform dripdrop._check_tenant_key(tenant_key);
  if scope is null or scope not in ('everything', 'tenant', 'sequence', 'channel', 'adapter') then
    raise exception 'scope % is unknown', dripdrop._quoted(scope) using
      errcode = 'ZD201', column = 'scope',
      hint = 'Use everything, tenant, sequence, channel or adapter.';
  end if;
  if scope = 'everything' and tenant_key is not null then
    raise exception 'everything is more than a tenant' using
      errcode = 'ZD201', column = 'tenant_key',
      hint = 'Pass null to pause all tenants, or the scope tenant to pause this one.';
  end if;
  if (scope in ('sequence', 'channel', 'adapter')) <> (subject is not null) then
    raise exception 'scope % % a subject', dripdrop._quoted(scope),
      case when subject is null then 'needs' else 'has not' end using
      errcode = 'ZD201', column = 'subject',
      hint = 'The key of a sequence, the name of a channel or of an adapter; for everything and '
        'tenant there is none.';
  end if;
end
$$;

comment on function dripdrop._check_sending_scope(text, text, text) is
  'Raises unless a scope, its tenant and its subject go together.';

-- The kill switch. Nothing is looked for and nothing is touched but one row, so it takes as long
-- with a million messages under way as with none. Either a claim commits first, and its messages
-- have left; or this does, and the gates at the fence see it.
--
-- locks   the pause; with the commit the slot of what it is about, waiting for claims under way
-- raises  ZD101 unknown sequence, ZD107 unknown adapter, ZD201 bad scope or subject,
--         ZD202 unknown channel, ZD207 bad tenant key
create or replace function dripdrop.pause_sending(
  tenant_key text,
  scope text default 'tenant',
  subject text default null,
  reason text default null
)
returns dripdrop.sending_pauses
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_pause dripdrop.sending_pauses;
begin
  perform dripdrop._check_text(reason, 'reason');
  perform dripdrop._check_sending_scope(tenant_key, scope, subject);
  if scope = 'channel' then
    perform dripdrop._check_channel(subject);
  end if;
  if scope = 'sequence' and not exists (
    select from dripdrop.sequences as q
    where q.tenant_key is not distinct from pause_sending.tenant_key
      and q.key = pause_sending.subject
  ) then
    raise exception 'sequence % not found', dripdrop._quoted(subject) using
      errcode = 'ZD101', hint = 'Keys are looked up within the tenant that is named first.';
  end if;
  if scope = 'adapter' and not exists (
    select from dripdrop.channel_adapters as a
    where a.tenant_key is not distinct from pause_sending.tenant_key
      and a.name = pause_sending.subject
  ) then
    raise exception 'adapter % not found', dripdrop._quoted(subject) using
      errcode = 'ZD107',
      hint = 'Names are looked up within the tenant that is named first; a global adapter is '
        'paused with null, for every tenant.';
  end if;

  insert into dripdrop.sending_pauses (tenant_key, scope, subject, reason, paused_by)
  values (
    pause_sending.tenant_key,
    pause_sending.scope,
    pause_sending.subject,
    pause_sending.reason,
    session_user
  )
  on conflict on constraint sending_pauses_one_per_scope do nothing;
  select p.* into v_pause
  from dripdrop.sending_pauses as p
  where p.tenant_key is not distinct from pause_sending.tenant_key
    and p.scope = pause_sending.scope
    and p.subject is not distinct from pause_sending.subject;
  return v_pause;
end
$$;

comment on function dripdrop.pause_sending(text, text, text, text) is
  'The kill switch: from its commit on nothing leaves that has not left, until resume_sending(). '
  'scope: everything (tenant_key null: all tenants), tenant, sequence, channel or adapter; '
  'subject: which of the last three. Pausing twice is the same as once.';

-- locks   the pause, then what it holds, skipping what is locked; with the commit the slot of the
--         pause, waiting for ticks under way that hold what it is about
-- raises  ZD201 bad scope or subject, ZD207 bad tenant key
create or replace function dripdrop.resume_sending(
  tenant_key text,
  scope text default 'tenant',
  subject text default null
)
returns setof dripdrop.sending_pauses
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_pause dripdrop.sending_pauses;
begin
  perform dripdrop._check_sending_scope(tenant_key, scope, subject);
  delete from dripdrop.sending_pauses as p
  where p.tenant_key is not distinct from resume_sending.tenant_key
    and p.scope = resume_sending.scope
    and p.subject is not distinct from resume_sending.subject
  returning p.* into v_pause;
  if found then
    perform dripdrop._release_paused(v_pause);
    return next v_pause;
  end if;
end
$$;

comment on function dripdrop.resume_sending(text, text, text) is
  'Lifts a pause of sending and returns it, or no row if there was none. What it held is due now, '
  'unless another pause holds it too; what is overdue meets the stale policy of its step.';

-- What is held until something else has happened: a pause of sending was lifted, a sender was made
-- or switched on, a circuit has closed. Of each step and sender one message is decided anew; if it
-- is not held again for one of these, all like it are due. Whoever may keep its transaction open
-- touches nothing but its own tenant's. What is locked at this moment is left to the next
-- reconcile().
--
-- locks   executions and their enrolments, skipping what is locked
create or replace function dripdrop._release_held(
  at timestamptz,
  reasons text[],
  every_tenant boolean,
  tenant_key text default null
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  v_held uuid[];
begin
  with held as materialized (
    select x.id, x.step_id, x.adapter_id, x.circuit_id
    from dripdrop.step_executions as x
    where x.due_at is null and x.ended_at is null
      and x.state = 'scheduled'
      and x.reason = any (reasons)
      and (every_tenant or x.tenant_key is not distinct from _release_held.tenant_key)
  ),
  sample as materialized (
    select distinct on (h.step_id, h.adapter_id, h.circuit_id) h.*
    from held as h
    order by h.step_id, h.adapter_id, h.circuit_id, h.id
  ),
  free as materialized (
    select m.step_id, m.adapter_id, m.circuit_id
    from dripdrop._decide(array(select m.id from sample as m), _release_held.at) as d
    join sample as m on m.id = d.execution_id
    where d.action <> 'hold' or d.reason <> all (reasons)
  )
  select array_agg(h.id)
  into v_held
  from held as h
  join free as f
    on f.step_id = h.step_id
    and f.adapter_id is not distinct from h.adapter_id
    and f.circuit_id is not distinct from h.circuit_id;

  v_held := array(
    select x.id
    from dripdrop.step_executions as x
    join dripdrop.enrollments as e on e.id = x.enrollment_id
    where x.id = any (v_held)
    for no key update of e, x skip locked
  );
  update dripdrop.step_executions as x
  set due_at = _release_held.at,
      circuit_id = null,
      reason = 'resumed',
      reason_at = _release_held.at,
      updated_at = _release_held.at
  where x.id = any (v_held)
    and x.due_at is null
    and x.state = 'scheduled'
    and x.reason = any (reasons);
end
$$;

comment on function dripdrop._release_held(timestamptz, text[], boolean, text) is
  'Makes due what was held for one of some reasons, and is held no more.';

create or replace function dripdrop._release_all_held(at timestamptz)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  select dripdrop._release_held(at, dripdrop._hold_reasons(), true)
$$;

comment on function dripdrop._release_all_held(timestamptz) is
  'Makes due whatever was held and is held no more.';

create or replace function dripdrop._release_paused(pause dripdrop.sending_pauses)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  select dripdrop._release_held(
    dripdrop._now(),
    array['sending_paused'],
    (pause).scope = 'everything' or ((pause).scope = 'adapter' and (pause).tenant_key is null),
    (pause).tenant_key
  )
$$;

comment on function dripdrop._release_paused(dripdrop.sending_pauses) is
  'Makes due what a pause held and none holds any more.';

-- Whoever resumes must find everything that is held. A tick holds under the slot of the pause, or
-- not at all: what is being resumed at this moment is due as before, and looked at again.
--
-- locks   the slots of the pauses, shared, without waiting
create or replace function dripdrop._held_surely(decisions dripdrop._decision[], at timestamptz)
returns dripdrop._decision[]
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  v_class int := dripdrop._stop_class();
  v_sure uuid[];
begin
  if not exists (select from unnest(decisions) as d where d.reason = 'sending_paused') then
    return decisions;
  end if;
  v_sure := array(
    select x.id
    from unnest(decisions) as d
    join dripdrop.step_executions as x on x.id = d.execution_id
    where d.reason = 'sending_paused'
      and pg_try_advisory_xact_lock_shared(v_class, dripdrop._everything_slot())
      and pg_try_advisory_xact_lock_shared(v_class, dripdrop._tenant_slot(x.tenant_key))
      and (
        d.adapter_id is null
        or pg_try_advisory_xact_lock_shared(v_class, dripdrop._sender_slot(d.adapter_id))
      )
  );
  return array(
    select d from unnest(decisions) as d where d.reason is distinct from 'sending_paused'
    union all
    select d from dripdrop._decide(v_sure, _held_surely.at) as d where d.reason = 'sending_paused'
  );
end
$$;

comment on function dripdrop._held_surely(dripdrop._decision[], timestamptz) is
  'The decisions of a tick, without those to hold what is being resumed.';

create or replace function dripdrop._release_at_commit()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform dripdrop._exclude_claims(dripdrop._pause_slot(old));
  perform dripdrop._release_paused(old);
  return null;
end
$$;

comment on function dripdrop._release_at_commit() is
  'Trigger: the end of a pause releases what was held since, when it commits.';

drop trigger if exists sending_pauses_release on dripdrop.sending_pauses;
create constraint trigger sending_pauses_release
after delete on dripdrop.sending_pauses
deferrable initially deferred
for each row
execute function dripdrop._release_at_commit();

-- Who waited for want of a sender goes on as soon as there is one.
create or replace function dripdrop._release_for_a_sender()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform dripdrop._release_held(
    dripdrop._now(), dripdrop._hold_reasons(), new.tenant_key is null, new.tenant_key
  );
  return null;
end
$$;

comment on function dripdrop._release_for_a_sender() is
  'Trigger: a sender that comes, or is switched on, releases what its tenant holds.';

create or replace trigger channel_adapters_release_held
after insert or update of active, is_default on dripdrop.channel_adapters
for each row
when (new.active)
execute function dripdrop._release_for_a_sender();

-- explain(), the ledger and whoever releases agree on these.
create or replace function dripdrop._hold_reasons()
returns text[]
language sql
immutable
parallel safe
return array[
  'sending_paused', 'circuit_open', 'no_adapter', 'missing_channel_adapter',
  'adapter_channel_mismatch', 'adapter_inactive'
];

comment on function dripdrop._hold_reasons() is
  'Why messages are held that go on by themselves once it is over.';

create or replace function dripdrop.list_sending_pauses(tenant_key text)
returns setof dripdrop.sending_pauses
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
  select p.*
  from dripdrop.sending_pauses as p
  where p.tenant_key is not distinct from list_sending_pauses.tenant_key
    or p.scope = 'everything'
    or (p.scope = 'adapter' and p.tenant_key is null)
  order by p.paused_at, p.scope, p.subject
$$;

comment on function dripdrop.list_sending_pauses(text) is
  'The pauses that may hold a tenant''s messages: its own, that of everything, and those of global '
  'adapters.';
