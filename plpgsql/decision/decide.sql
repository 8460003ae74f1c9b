-- The gates a message passes, in order: this is the only place that says what happens to a due
-- execution. tick() carries the first closed gate out, claim_sends() asks again at the fence,
-- explain() shows them all. A new gate is one row in the list below and, where it needs them,
-- facts in the joins above it.
--
-- which: closed (the last row, send, counts as closed),
-- fence (closed, and asked again at the fence) or all.
create or replace function dripdrop._gates(executions uuid[], at timestamptz, which text)
returns table (
  execution_id uuid,
  place int,
  gate text,
  action text,
  reason text,
  until timestamptz,
  adapter_id uuid,
  recipient text
)
language sql
stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
  with
  execution as materialized (
    select
      x.id, x.tenant_key, x.enrollment_id, x.step_id, x.state, x.scheduled_for, x.adapter_id,
      x.recipient
    from dripdrop.step_executions as x
    where x.id = any (executions)
  ),
  -- Once per step, not once per message: a batch has many people and few steps.
  step as materialized (
    select
      s.id,
      s.channel,
      s.config,
      s.active,
      (s.config ->> 'stale_after')::interval as stale_after,
      q.active as sequence_active,
      a.id as adapter_id,
      a.active and a.channel = s.channel as adapter_usable,
      a.resting_until,
      a.resting_reason
    from dripdrop.steps as s
    join dripdrop.sequence_versions as v on v.id = s.sequence_version_id
    join dripdrop.sequences as q on q.id = v.sequence_id
    left join dripdrop.channel_adapters as a on a.id = coalesce(
      s.channel_adapter_id,
      (q.metadata #>> array['channel_adapters', s.channel])::uuid,
      (
        select d.id
        from dripdrop.channel_adapters as d
        where d.tenant_key = s.tenant_key and d.channel = s.channel and d.is_default and d.active
      ),
      (
        select d.id
        from dripdrop.channel_adapters as d
        where d.tenant_key is null and d.channel = s.channel and d.is_default and d.active
      )
    )
    and (a.tenant_key = s.tenant_key or a.tenant_key is null)
    where s.id in (select x.step_id from execution as x)
  ),
  fact as (
    select
      x.id,
      x.scheduled_for,
      x.state = 'rendered' and x.adapter_id is distinct from s.adapter_id as sender_changed,
      e.state as enrollment_state,
      s.active as step_active,
      s.sequence_active,
      s.stale_after,
      s.config ->> 'on_stale' as on_stale,
      s.channel,
      address.recipient,
      s.adapter_id,
      s.adapter_usable,
      s.resting_until,
      s.resting_reason,
      exists (
        select from dripdrop.suppressions as p
        where p.recipient_normalized = address.recipient
          and p.channel = s.channel
          and (p.tenant_key = x.tenant_key or p.tenant_key is null)
      ) as suppressed
    from execution as x
    join dripdrop.enrollments as e on e.id = x.enrollment_id
    join step as s on s.id = x.step_id
    -- At the fence the address is the one the message was decided for, and none other.
    cross join lateral (
      select
        case
          when x.state = 'rendered' then x.recipient
          else dripdrop._recipient(s.channel, s.config, e.data)
        end as recipient
      offset 0
    ) as address
  )
  select f.id, g.place, g.gate, g.action, g.reason, g.until, f.adapter_id, f.recipient
  from fact as f
  cross join lateral (
    values
    (
      1, 'pause', true,
      case when f.enrollment_state = 'paused' then 'hold' end,
      'enrollment_paused', null::timestamptz
    ),
    (
      2, 'enrollment', true,
      case when f.enrollment_state in ('completed', 'cancelled') then 'cancel' end,
      'enrollment_ended', null
    ),
    (
      3, 'sequence', true,
      case when not f.sequence_active then 'exit' end,
      'sequence_inactive', null
    ),
    (
      4, 'step', true,
      case when not f.step_active then 'skip' end,
      'step_inactive', null
    ),
    (
      5, 'stale', true,
      case
        when _gates.at - f.scheduled_for > f.stale_after and f.on_stale in ('skip', 'hold')
        then f.on_stale
      end,
      'stale', null
    ),
    (
      6, 'recipient', false,
      case
        when _gates.which <> 'fence' and not dripdrop._is_recipient(f.channel, f.recipient)
        then 'skip'
      end,
      case when f.recipient is null then 'no_recipient' else 'invalid_recipient' end, null
    ),
    (
      7, 'suppression', true,
      case when f.suppressed then 'skip' end,
      'suppressed', null
    ),
    (
      8, 'sender', true,
      case when f.adapter_usable is not true then 'fail' when f.sender_changed then 'defer' end,
      case
        when f.adapter_id is null then 'no_adapter'
        when f.adapter_usable is not true then 'adapter_inactive'
        else 'sender_changed'
      end,
      case when f.adapter_usable then _gates.at end
    ),
    (
      9, 'sender_rest', true,
      case when f.resting_until > _gates.at then 'defer' end,
      coalesce(f.resting_reason, 'adapter_resting'), f.resting_until
    ),
    (
      10, 'send', false,
      'send',
      null, null
    )
  ) as g (place, gate, at_fence, action, reason, until)
  where _gates.which = 'all'
    or (g.action is not null and (g.at_fence or _gates.which = 'closed'))
$$;

comment on function dripdrop._gates(uuid[], timestamptz, text) is
  'The gates of each execution as they stand at a time; action is null where a gate is open.';

-- The first closed gate has the word, and the last one always has: send.
create or replace function dripdrop._decide(executions uuid[], at timestamptz)
returns setof dripdrop._decision
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select distinct on (g.execution_id)
    g.execution_id, g.gate, g.action, g.reason, null, g.until, g.adapter_id, g.recipient
  from dripdrop._gates(_decide.executions, _decide.at, 'closed') as g
  order by g.execution_id, g.place
$$;

comment on function dripdrop._decide(uuid[], timestamptz) is 'What is to happen to each execution.';

-- raises  ZD105 unknown enrolment
create or replace function dripdrop.explain(tenant_key text, enrollment_id uuid)
returns table (
  step text,
  place int,
  gate text,
  open boolean,
  reason text,
  until timestamptz,
  next_action text,
  next_at timestamptz
)
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := dripdrop._now();
  v_enrollment dripdrop.enrollments;
  v_execution dripdrop.step_executions;
  v_decision dripdrop._decision;
  v_at timestamptz;
begin
  select e.* into v_enrollment
  from dripdrop.enrollments as e
  where e.id = explain.enrollment_id
    and e.tenant_key is not distinct from explain.tenant_key;
  if not found then
    raise exception 'enrolment "%" not found', enrollment_id using
      errcode = 'ZD105', hint = 'Ids are looked up within the tenant that is named first.';
  end if;

  select x.* into v_execution
  from dripdrop.step_executions as x
  where x.enrollment_id = v_enrollment.id and x.ended_at is null
  order by x.scheduled_for, x.id
  limit 1;
  if not found then
    return query
    select
      null::text, 0, 'flow', false, coalesce(v_enrollment.exit_reason, v_enrollment.state),
      null::timestamptz, 'nothing', null::timestamptz;
    return;
  end if;

  -- A message that waits is judged as of the time it waits for.
  v_at := greatest(v_now, v_execution.due_at);
  v_decision := dripdrop._decide(array[v_execution.id], v_at);

  return query
  select
    s.key,
    g.place,
    g.gate,
    g.action is null,
    case when g.action is not null then g.reason end,
    case when g.action is not null then g.until end,
    case v_execution.state
      when 'scheduled' then v_decision.action
      when 'queued' then 'render'
      when 'rendered' then 'send'
      when 'sending' then 'record'
      else 'resolve'
    end,
    case
      when v_execution.state = 'sending' then v_execution.lease_until
      when v_decision.action = 'hold' then null
      else coalesce(case when v_execution.state = 'scheduled' then v_decision.until end, v_at)
    end
  from dripdrop._gates(array[v_execution.id], v_at, 'all') as g
  join dripdrop.steps as s on s.id = v_execution.step_id
  where g.gate <> 'send'
  order by g.place, g.gate;
end
$$;

comment on function dripdrop.explain(text, uuid) is
  'Why an enrolment''s next message waits: one row per gate, and what happens next, when. The same '
  'code decides.';
