-- Stops that have no execution at hand meet the claims twice, and hold up nobody in between.
--
-- When a stop is called it says what it is about (_hold), for which nobody waits: as long as its
-- transaction is open, claims leave such messages where they are, and all others go on.
--
-- When it commits, a deferred trigger takes a slot alone that claim_sends() shares and does not
-- wait for. Either the claim commits first, and the message has left; or the stop does, and the
-- claim's gates see it. A slot is taken for as long as a commit takes, however long the transaction
-- was open, so that it may be wide; their number bounds the locks of a claim.

-- Advisory locks are one space for the whole database;
-- the classes keep ours apart from the application's.
create or replace function dripdrop._stop_class()
returns int
language sql
immutable
parallel safe
return hashtext('dripdrop.stop') & 2147483647;

comment on function dripdrop._stop_class() is
  'The class of the advisory locks by which stops that commit exclude claims.';

create or replace function dripdrop._hold_class()
returns int
language sql
immutable
parallel safe
return hashtext('dripdrop.hold') & 2147483647;

comment on function dripdrop._hold_class() is
  'The class of the advisory locks that say what stops are about that have not committed.';

-- The slots: of everything, of a tenant's switches, of a sender, and 256 each for the recipients of
-- a tenant and the subscribers of a topic. Two that fall together cost a claim another look, and
-- nothing else.
create or replace function dripdrop._everything_slot()
returns int
language sql
immutable
parallel safe
return 0;

comment on function dripdrop._everything_slot() is 'The slot of what stops every tenant.';

create or replace function dripdrop._tenant_slot(tenant_key text)
returns int
language sql
immutable
parallel safe
return (hashtextextended(coalesce(tenant_key, ''), 256) & 2147483647)::int;

comment on function dripdrop._tenant_slot(text) is
  'The slot of whatever a tenant switches: a sequence, a step, sending, a domain.';

create or replace function dripdrop._sender_slot(adapter_id uuid)
returns int
language sql
immutable
parallel safe
return (uuid_hash_extended(adapter_id, 256) & 2147483647)::int;

comment on function dripdrop._sender_slot(uuid) is
  'The slot of a sender that is switched, paused or made to rest.';

create or replace function dripdrop._recipient_slot(tenant_key text, recipient text)
returns int
language sql
immutable
parallel safe
return (
  hashtextextended(coalesce(tenant_key, ''), hashtext(recipient) & 255) & 2147483647
)::int;

comment on function dripdrop._recipient_slot(text, text) is
  'The slot of a recipient that a tenant, or null for all of them, suppresses.';

create or replace function dripdrop._subscriber_slot(
  topic_id uuid,
  subscriber_type text,
  subscriber_id text
)
returns int
language sql
immutable
parallel safe
return (
  uuid_hash_extended(topic_id, hashtext(subscriber_type || ':' || subscriber_id) & 255)
  & 2147483647
)::int;

comment on function dripdrop._subscriber_slot(uuid, text, text) is
  'The slot of a subscriber who opts out of a topic.';

-- locks   the slot, waiting for the claims that share it, until the transaction ends
create or replace function dripdrop._exclude_claims(slot int)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  select pg_advisory_xact_lock(dripdrop._stop_class(), slot)
$$;

comment on function dripdrop._exclude_claims(int) is
  'Takes a slot alone: no message passes the fence whose claim must share it.';

-- What a stop is about, by name. Tenant null is the global scope, or everybody, as the stop has it.
create or replace function dripdrop._held_thing(kind text, tenant_key text, name text)
returns int
language sql
immutable
parallel safe
return (
  hashtextextended(
    coalesce(name, ''), hashtextextended(coalesce(tenant_key, ''), hashtext(kind))
  ) & 2147483647
)::int;

comment on function dripdrop._held_thing(text, text, text) is
  'The number of what an uncommitted stop is about: everything, a tenant, sequence, step, channel, '
  'sender, recipient or subscriber.';

-- Nobody waits here, stops not for each other either. One transaction names a hundred things at
-- most, so that an import does not use up the server's locks: what else it is about may leave until
-- it commits.
--
-- locks   what is named, shared, until the transaction ends
create or replace function dripdrop._hold(things int[])
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_class constant int := dripdrop._hold_class();
begin
  if cardinality(things) > 100 - (
    select count(*)
    from pg_locks as l
    where l.pid = pg_backend_pid()
      and l.locktype = 'advisory'
      and l.classid::bigint = v_class
  ) then
    return;
  end if;
  perform pg_advisory_xact_lock_shared(v_class, t.number)
  from unnest(things) as t (number);
end
$$;

comment on function dripdrop._hold(int[]) is
  'Has claims leave alone what a stop is about for as long as its transaction is open.';

-- Of the messages a claim has in hand, those that nobody is stopping at this moment. The claim asks
-- its gates afterwards, with eyes opened after the slots were shared.
--
-- locks   the slots of the messages, shared, without waiting
create or replace function dripdrop._free_of_stops(executions uuid[])
returns uuid[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_class int := dripdrop._stop_class();
  v_things int[];
  v_held uuid[] := array[]::uuid[];
begin
  if not pg_try_advisory_xact_lock_shared(v_class, dripdrop._everything_slot()) then
    return array[]::uuid[];
  end if;
  v_things := array(
    select l.objid::bigint::int
    from pg_locks as l
    where l.locktype = 'advisory'
      and l.classid::bigint = dripdrop._hold_class()
      and l.pid <> pg_backend_pid()
      and l.database = (select d.oid from pg_database as d where d.datname = current_database())
  );
  if cardinality(v_things) > 0 then
    v_held := dripdrop._under_open_stops(executions, v_things);
  end if;
  return array(
    select x.id
    from dripdrop.step_executions as x
    left join dripdrop._topics_of(executions) as t on t.step_id = x.step_id
    left join dripdrop.enrollments as e
      on e.id = case when t.topic_id is not null then x.enrollment_id end
    where x.id = any (executions)
      and x.id <> all (v_held)
      and pg_try_advisory_xact_lock_shared(v_class, dripdrop._tenant_slot(x.tenant_key))
      and (
        x.adapter_id is null
        or pg_try_advisory_xact_lock_shared(v_class, dripdrop._sender_slot(x.adapter_id))
      )
      and (
        x.recipient is null
        or pg_try_advisory_xact_lock_shared(v_class, dripdrop._recipient_slot(null, x.recipient))
        and (
          x.tenant_key is null
          or pg_try_advisory_xact_lock_shared(
            v_class, dripdrop._recipient_slot(x.tenant_key, x.recipient)
          )
        )
      )
      and (
        t.topic_id is null
        or pg_try_advisory_xact_lock_shared(
          v_class, dripdrop._subscriber_slot(t.topic_id, e.subscriber_type, e.subscriber_id)
        )
      )
  );
end
$$;

comment on function dripdrop._free_of_stops(uuid[]) is
  'The messages that no stop under way is about; the claim that asks excludes such stops until it '
  'commits.';

create or replace function dripdrop._topics_of(executions uuid[])
returns table (step_id uuid, topic_id uuid)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select s.id, t.id
  from (
    select distinct x.step_id
    from dripdrop.step_executions as x
    where x.id = any (executions)
  ) as m
  join dripdrop.steps as s on s.id = m.step_id
  join dripdrop.topics as t
    on t.key = s.config ->> 'topic' and t.tenant_key is not distinct from s.tenant_key
$$;

comment on function dripdrop._topics_of(uuid[]) is
  'The topics of steps that messages are of; steps without one are left out.';

create or replace function dripdrop._under_open_stops(executions uuid[], things int[])
returns uuid[]
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(array_agg(x.id), '{}')
  from dripdrop.step_executions as x
  join dripdrop.enrollments as e on e.id = x.enrollment_id
  join dripdrop.steps as s on s.id = x.step_id
  join dripdrop.sequence_versions as v on v.id = s.sequence_version_id
  join dripdrop.sequences as q on q.id = v.sequence_id
  cross join lateral (select substr(x.recipient, strpos(x.recipient, '@')) as domain) as d
  where x.id = any (executions)
    and array[
      dripdrop._held_thing('everything', null, null),
      dripdrop._held_thing('tenant', x.tenant_key, null),
      dripdrop._held_thing('sequence', x.tenant_key, q.key),
      dripdrop._held_thing('step', null, s.id::text),
      dripdrop._held_thing('channel', x.tenant_key, x.channel),
      dripdrop._held_thing('sender', null, x.adapter_id::text),
      dripdrop._held_thing('recipient', x.tenant_key, x.recipient),
      dripdrop._held_thing('recipient', null, x.recipient),
      dripdrop._held_thing('recipient', x.tenant_key, d.domain),
      dripdrop._held_thing('recipient', null, d.domain),
      dripdrop._held_thing(
        'subscriber', x.tenant_key,
        concat_ws(':', s.config ->> 'topic', e.subscriber_type, e.subscriber_id)
      )
    ] && things
$$;

comment on function dripdrop._under_open_stops(uuid[], int[]) is
  'The messages that uncommitted stops are about.';

-- The slot of a pause, for its commit and for that of its end.
create or replace function dripdrop._pause_slot(pause dripdrop.sending_pauses)
returns int
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select case (pause).scope
    when 'everything' then dripdrop._everything_slot()
    when 'adapter' then dripdrop._sender_slot(dripdrop._paused_adapter(pause))
    else dripdrop._tenant_slot((pause).tenant_key)
  end
$$;

comment on function dripdrop._pause_slot(dripdrop.sending_pauses) is
  'The slot that a pause takes when it commits, and its end as well.';

create or replace function dripdrop._paused_adapter(pause dripdrop.sending_pauses)
returns uuid
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select a.id
  from dripdrop.channel_adapters as a
  where (pause).scope = 'adapter'
    and a.name = (pause).subject
    and a.tenant_key is not distinct from (pause).tenant_key
$$;

comment on function dripdrop._paused_adapter(dripdrop.sending_pauses) is
  'The sender that a pause is about, or null.';

create or replace function dripdrop._stop_of(stop text, written jsonb)
returns table (slot int, thing int)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select
    dripdrop._tenant_slot(written ->> 'tenant_key'),
    dripdrop._held_thing('sequence', written ->> 'tenant_key', written ->> 'key')
  where stop = 'sequences'
  union all
  select
    dripdrop._tenant_slot(written ->> 'tenant_key'),
    dripdrop._held_thing('step', null, written ->> 'id')
  where stop = 'steps'
  union all
  select
    dripdrop._sender_slot(a.id::uuid),
    dripdrop._held_thing('sender', null, a.id)
  from (
    values
    ('channel_adapters', written ->> 'id'),
    ('adapter_rests', written ->> 'adapter_id')
  ) as a (stop, id)
  where a.stop = _stop_of.stop
  union all
  select
    dripdrop._pause_slot(p),
    case
      when p.scope = 'adapter'
      then dripdrop._held_thing('sender', null, dripdrop._paused_adapter(p)::text)
      else dripdrop._held_thing(p.scope, p.tenant_key, p.subject)
    end
  from jsonb_populate_record(null::dripdrop.sending_pauses, written) as p
  where stop = 'sending_pauses'
$$;

comment on function dripdrop._stop_of(text, jsonb) is
  'The slot that a row takes by which something is stopped, and the number of what it is about.';

create or replace function dripdrop._row_excludes_claims()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_slot int;
  v_thing int;
begin
  select s.slot, s.thing into v_slot, v_thing
  from dripdrop._stop_of(tg_table_name, to_jsonb(new)) as s;
  if tg_when = 'AFTER' then
    perform dripdrop._exclude_claims(v_slot);
    return null;
  end if;
  perform dripdrop._hold(array[v_thing]);
  return new;
end
$$;

comment on function dripdrop._row_excludes_claims() is
  'Trigger: what is switched, paused or made to rest holds its messages, and excludes claims when '
  'it commits.';

-- What is written to stop something: a switch that is thrown, or a row that says so.
do $$
declare
  v_stop record;
begin
  for v_stop in
    select
      t.name, t.event,
      case when t.event like 'update%' then 'when (old.active is distinct from new.active)' end
      as condition
    from (
      values
      ('sequences', 'update of active'),
      ('steps', 'update of active'),
      ('channel_adapters', 'update of active'),
      ('adapter_rests', 'insert'),
      ('sending_pauses', 'insert')
    ) as t (name, event)
  loop
    execute format(
      'create or replace trigger %I before %s on dripdrop.%I for each row %s
      execute function dripdrop._row_excludes_claims()',
      v_stop.name || '_hold_messages', v_stop.event, v_stop.name, v_stop.condition
    );
    execute format(
      'drop trigger if exists %I on dripdrop.%I',
      v_stop.name || '_exclude_claims', v_stop.name
    );
    execute format(
      'create constraint trigger %I after %s on dripdrop.%I deferrable initially deferred
      for each row %s execute function dripdrop._row_excludes_claims()',
      v_stop.name || '_exclude_claims', v_stop.event, v_stop.name, v_stop.condition
    );
  end loop;
end
$$;
