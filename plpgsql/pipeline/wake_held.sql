-- What waits until a pause is lifted, a sender made, switched on or back, or a circuit closed. Of
-- each step and sender one message is decided anew; if it would wait for none of these any more,
-- all like it are due. Whoever may keep its transaction open touches nothing but its own tenant's.
--
-- locks   enrolments and their executions, skipping what is locked
create or replace function dripdrop._wake_held(
  at timestamptz,
  waits_for text[],
  every_tenant boolean,
  tenant_key text default null
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_held uuid[];
begin
  with held as materialized (
    select x.id, x.step_id, x.adapter_id, x.circuit_id
    from dripdrop.step_executions as x
    where x.waits_for in ('pause', 'sender', 'circuit', 'rest')
      and x.waits_for = any (_wake_held.waits_for)
      and (every_tenant or x.tenant_key is not distinct from _wake_held.tenant_key)
      and not exists (
        select from dripdrop.faults as f where f.execution_id = x.id and f.until > _wake_held.at
      )
  ),
  sample as materialized (
    select distinct on (h.step_id, h.adapter_id, h.circuit_id) h.*
    from held as h
    order by h.step_id, h.adapter_id, h.circuit_id, h.id
  ),
  free as materialized (
    select m.step_id, m.adapter_id, m.circuit_id
    from unnest(
      dripdrop._would_go_on(
        array(select m.id from sample as m), _wake_held.waits_for, _wake_held.at
      )
    ) as g (id)
    join sample as m on m.id = g.id
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
    where x.id = any (v_held) and x.waits_for = any (_wake_held.waits_for)
    for no key update of e, x skip locked
  );
  perform dripdrop._halved('_make_due', v_held, 'decide', _wake_held.at);
end
$$;

comment on function dripdrop._wake_held(timestamptz, text[], boolean, text) is
  'Makes due what waits for one of these, and would wait for none of them if it were decided now.';

-- One that cannot be decided says nothing about those like it: they are due, and it is left out.
create or replace function dripdrop._would_go_on(
  executions uuid[],
  waits_for text[],
  at timestamptz
)
returns uuid[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_half int := cardinality(executions) / 2;
begin
  if cardinality(executions) = 0 or dripdrop._is_cut_off() then
    return array[]::uuid[];
  end if;
  return array(
    select d.execution_id
    from dripdrop._decide(executions, at) as d
    where coalesce(d.waits_for <> all (_would_go_on.waits_for), true)
  );
exception
  when query_canceled then
    perform dripdrop._note_slow(executions, 'decide', sqlerrm, at);
    return array[]::uuid[];
  when others or assert_failure then
    if v_half = 0 then
      perform dripdrop._note_fault(executions[1], 'decide', sqlstate, sqlerrm, at);
      return executions;
    end if;
    return dripdrop._would_go_on(executions[:v_half], waits_for, at)
      || dripdrop._would_go_on(executions[v_half + 1:], waits_for, at);
end
$$;

comment on function dripdrop._would_go_on(uuid[], text[], timestamptz) is
  'Those of these that would wait for none of these if they were decided now.';

create or replace function dripdrop._wake_by_pause(pause dripdrop.sending_pauses)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  select dripdrop._wake_held(
    dripdrop._now(),
    array['pause'],
    (pause).scope = 'everything' or ((pause).scope = 'adapter' and (pause).tenant_key is null),
    (pause).tenant_key
  )
$$;

comment on function dripdrop._wake_by_pause(dripdrop.sending_pauses) is
  'Makes due what a pause held and none holds any more.';

-- Whoever resumes must find everything that is held. A tick holds under the slot of the pause, or
-- not at all: what is being resumed at this moment is due as before, and looked at again.
--
-- locks   the slots of the pauses, shared, without waiting
create or replace function dripdrop._confirmed_holds(decisions dripdrop._decision[], at timestamptz)
returns dripdrop._decision[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_class int := dripdrop._stop_class();
  v_sure uuid[];
begin
  if not exists (select from unnest(decisions) as d where d.waits_for = 'pause') then
    return decisions;
  end if;
  v_sure := array(
    select x.id
    from unnest(decisions) as d
    join dripdrop.step_executions as x on x.id = d.execution_id
    where d.waits_for = 'pause'
      and pg_try_advisory_xact_lock_shared(v_class, dripdrop._everything_slot())
      and pg_try_advisory_xact_lock_shared(v_class, dripdrop._tenant_slot(x.tenant_key))
      and (
        d.adapter_id is null
        or pg_try_advisory_xact_lock_shared(v_class, dripdrop._sender_slot(d.adapter_id))
      )
  );
  return array(
    select d from unnest(decisions) as d where d.waits_for is distinct from 'pause'
    union all
    select d from dripdrop._decide(v_sure, _confirmed_holds.at) as d where d.waits_for = 'pause'
  );
end
$$;

comment on function dripdrop._confirmed_holds(dripdrop._decision[], timestamptz) is
  'The decisions of a tick, without those to hold what is being resumed.';

create or replace function dripdrop._wake_at_commit()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform dripdrop._exclude_claims(dripdrop._pause_slot(old));
  perform dripdrop._wake_by_pause(old);
  return null;
end
$$;

comment on function dripdrop._wake_at_commit() is
  'Trigger: the end of a pause releases what was held since, when it commits.';

drop trigger if exists sending_pauses_release on dripdrop.sending_pauses;
create constraint trigger sending_pauses_release
after delete on dripdrop.sending_pauses
deferrable initially deferred
for each row
execute function dripdrop._wake_at_commit();

-- Who waited for want of a sender goes on as soon as there is one.
create or replace function dripdrop._wake_by_sender()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform dripdrop._wake_held(
    dripdrop._now(), array['pause', 'sender', 'circuit'], new.tenant_key is null, new.tenant_key
  );
  return null;
end
$$;

comment on function dripdrop._wake_by_sender() is
  'Trigger: a sender that comes, or is switched on, releases what its tenant holds.';

create or replace trigger channel_adapters_wake_held
after insert or update of active, is_default on dripdrop.channel_adapters
for each row
when (new.active)
execute function dripdrop._wake_by_sender();
