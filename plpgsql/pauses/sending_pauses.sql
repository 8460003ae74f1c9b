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

-- locks   the pause; enrolments and their executions that it holds, skipping what is locked; with
--         the commit the slot of the pause, waiting for ticks under way that hold what it is about
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
    perform dripdrop._wake_by_pause(v_pause);
    return next v_pause;
  end if;
end
$$;

comment on function dripdrop.resume_sending(text, text, text) is
  'Lifts a pause of sending and returns it, or no row if there was none. What it held is due now, '
  'unless another pause holds it too; what is overdue meets the stale policy of its step.';

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

-- Not sequences.active, which ends the journeys of those who come due.
--
-- locks, raises  as pause_sending()
create or replace function dripdrop.hold_sequence(
  tenant_key text,
  sequence text,
  reason text default null
)
returns dripdrop.sending_pauses
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
  select p.*
  from dripdrop.pause_sending(
    hold_sequence.tenant_key, 'sequence', hold_sequence.sequence, hold_sequence.reason
  ) as p
$$;

comment on function dripdrop.hold_sequence(text, text, text) is
  'Switches a sequence off until resume_sequence() without losing anybody: people still enter, who '
  'comes due waits. The same as pause_sending() of the sequence.';

-- locks, raises  as resume_sending()
create or replace function dripdrop.resume_sequence(tenant_key text, sequence text)
returns setof dripdrop.sending_pauses
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
  select p.*
  from dripdrop.resume_sending(
    resume_sequence.tenant_key, 'sequence', resume_sequence.sequence
  ) as p
$$;

comment on function dripdrop.resume_sequence(text, text) is
  'Lets a sequence that is held go on, and returns the pause, or no row if it was not held. Who '
  'came due meanwhile is due now.';
