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
  detail text,
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
      x.id, x.tenant_key, x.enrollment_id, x.step_id, x.state, x.scheduled_for, x.due_at,
      x.awaited_event, x.hooks, x.adapter_id, x.recipient,
      x.payload is not null or x.state = 'queued' as decided
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
      s.hooks,
      s.timing ->> 'on_timeout' as on_timeout,
      exists (
        select from dripdrop.conditions as c where c.sequence_id = q.id
      ) as has_ways_out,
      exists (select from dripdrop.conditions as c where c.step_id = s.id) as has_conditions,
      (s.config ->> 'stale_after')::interval as stale_after,
      q.active as sequence_active,
      dripdrop._as_sender(
        a, named.adapter_id, 1, s.tenant_key, s.channel, _gates.at
      ) as sender,
      shared.senders
    from dripdrop.steps as s
    join dripdrop.sequence_versions as v on v.id = s.sequence_version_id
    join dripdrop.sequences as q on q.id = v.sequence_id
    cross join lateral (
      select coalesce(
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
      ) as adapter_id
      offset 0
    ) as named
    left join dripdrop.channel_adapters as a on a.id = named.adapter_id
    cross join lateral (
      select
        case
          when s.channel_adapter_id is null
          then dripdrop._shared_senders(s.config, q.metadata, s.tenant_key, s.channel, _gates.at)
        end as senders
      offset 0
    ) as shared
    where s.id in (select x.step_id from execution as x)
  ),
  fact as (
    select
      x.id,
      x.scheduled_for,
      s.hooks <> '{}' and not coalesce(x.hooks, '{}') ?& s.hooks as hooks_unanswered,
      x.awaited_event,
      x.due_at,
      s.on_timeout,
      found.way_out,
      found.obstacle,
      x.state = 'rendered'
      and x.adapter_id is distinct from (chosen.sender).adapter_id as sender_changed,
      e.state as enrollment_state,
      s.active as step_active,
      s.sequence_active,
      s.stale_after,
      s.config ->> 'on_stale' as on_stale,
      s.channel,
      address.recipient,
      (chosen.sender).adapter_id,
      (chosen.sender).name as adapter_name,
      (chosen.sender).fault as sender_fault,
      (chosen.sender).rests as sender_rests,
      (chosen.sender).resting_until,
      (chosen.sender).resting_reason,
      exists (
        select from dripdrop.suppressions as p
        where p.recipient_normalized = address.recipient
          and p.channel = s.channel
          and (p.tenant_key = x.tenant_key or p.tenant_key is null)
      ) as suppressed
    from execution as x
    join dripdrop.enrollments as e on e.id = x.enrollment_id
    join step as s on s.id = x.step_id
    -- A step without a rotation has one sender for all its messages.
    cross join lateral (
      select
        case
          when s.senders is null then s.sender
          else dripdrop._drawn_sender(s.senders, x.id, case when x.decided then x.adapter_id end)
        end as sender
      offset 0
    ) as chosen
    -- At the fence the address is the one the message was decided for, and none other.
    cross join lateral (
      select
        case
          when x.state = 'rendered' then x.recipient
          else dripdrop._recipient(s.channel, s.config, e.data)
        end as recipient
      offset 0
    ) as address
    -- What the application said is asked once, when the message is decided.
    cross join lateral (
      select
        case
          when s.has_ways_out and _gates.which <> 'fence'
          then dripdrop._way_out(e, x.hooks, x.step_id, _gates.at)
        end as way_out,
        case
          when s.has_conditions and _gates.which <> 'fence'
          then dripdrop._obstacle(x.step_id, e, x.hooks, _gates.at)
        end as obstacle
      offset 0
    ) as found
  )
  select
    f.id, g.place, g.gate, g.action, g.reason, g.detail, g.until, f.adapter_id, f.recipient
  from fact as f
  cross join lateral (
    values
    (
      20, 'pause', true,
      case when f.enrollment_state = 'paused' then 'hold' end,
      'enrollment_paused', null::text, null::timestamptz
    ),
    (
      30, 'enrollment', true,
      case when f.enrollment_state in ('completed', 'cancelled') then 'cancel' end,
      'enrollment_ended', null, null
    ),
    (
      40, 'sequence', true,
      case when not f.sequence_active then 'exit' end,
      'sequence_inactive', null, null
    ),
    -- Before whatever leads on to the next step, whose way may depend on the answers.
    (
      50, 'hooks', false,
      case when f.hooks_unanswered then 'ask' end,
      'waiting_for_hooks', null, _gates.at + interval '15 minutes'
    ),
    (
      60, 'step', true,
      case when not f.step_active then 'skip' end,
      'step_inactive', null, null
    ),
    (
      70, 'event', false,
      case
        when f.awaited_event is null then null
        when f.due_at > _gates.at or f.due_at is null then 'wait'
        when f.on_timeout = 'exit' then 'exit'
        else 'skip'
      end,
      case
        when f.due_at > _gates.at or f.due_at is null then 'waiting_for_event'
        else 'event_timeout'
      end,
      f.awaited_event, f.due_at
    ),
    (
      80, 'stale', true,
      case
        when _gates.at - f.scheduled_for > f.stale_after and f.on_stale in ('skip', 'hold')
        then f.on_stale
      end,
      'stale', null, null
    ),
    (
      90, 'exit', false,
      (f.way_out).action,
      (f.way_out).reason, (f.way_out).detail, null
    ),
    (
      100, 'conditions', false,
      (f.obstacle).action,
      (f.obstacle).reason, (f.obstacle).detail, null
    ),
    (
      110, 'recipient', false,
      case
        when _gates.which <> 'fence' and not dripdrop._is_recipient(f.channel, f.recipient)
        then 'skip'
      end,
      case when f.recipient is null then 'no_recipient' else 'invalid_recipient' end, null, null
    ),
    (
      120, 'suppression', true,
      case when f.suppressed then 'skip' end,
      'suppressed', null, null
    ),
    (
      150, 'sender', true,
      case when f.sender_fault is not null then 'fail' when f.sender_changed then 'defer' end,
      coalesce(f.sender_fault, 'sender_changed'), f.adapter_name,
      case when f.sender_fault is null then _gates.at end
    ),
    -- Resuming wakes what waits; a day is for what nobody resumes but gives another sender.
    (
      160, 'sender_rest', true,
      case when f.sender_rests then 'defer' end,
      coalesce(f.resting_reason, 'adapter_resting'), f.adapter_name,
      coalesce(f.resting_until, _gates.at + interval '1 day')
    ),
    (
      200, 'send', false,
      'send',
      null, null, null
    )
  ) as g (place, gate, at_fence, action, reason, detail, until)
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
    g.execution_id, g.gate, g.action, g.reason, g.detail, g.until, g.adapter_id, g.recipient
  from dripdrop._gates(_decide.executions, _decide.at, 'closed') as g
  order by g.execution_id, g.place
$$;

comment on function dripdrop._decide(uuid[], timestamptz) is 'What is to happen to each execution.';
