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
      x.awaited_event, x.hooks, x.adapter_id, x.recipient
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
      coalesce((s.config ->> 'require_verified_recipient')::boolean, false) as verified_only,
      s.config ->> 'topic' as topic,
      t.id as topic_id,
      t.opt_in,
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
    left join dripdrop.topics as t
      on t.key = s.config ->> 'topic' and t.tenant_key is not distinct from s.tenant_key
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
      (
        select concat(
          p.reason,
          case when p.recipient_normalized like '@%' then ' of ' || p.recipient_normalized end,
          ' about ' || p.topic,
          case when p.tenant_key is null then ', for every tenant' end
        )
        from dripdrop._suppressions_of(
          x.tenant_key, s.channel, address.recipient, s.topic, _gates.at
        ) as p
        order by dripdrop._severity(p.reason) desc, p.id
        limit 1
      ) as suppression,
      s.verified_only
      and coalesce(e.data ->> 'recipient_verified_at', '') in ('', 'false') as unverified,
      s.topic,
      s.opt_in,
      consent.state as consent
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
    cross join lateral (
      select
        case
          when s.topic is null then null
          when _gates.which = 'fence'
          then dripdrop._consent_at_fence(s.topic_id, e.subscriber_type, e.subscriber_id)
          else (
            select u.state
            from dripdrop.subscriptions as u
            where u.subscriber_id = e.subscriber_id
              and u.subscriber_type = e.subscriber_type
              and u.topic_id = s.topic_id
          )
        end as state
      offset 0
    ) as consent
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
      115, 'verification', false,
      case when f.unverified then 'skip' end,
      'unverified_recipient', null, null
    ),
    (
      120, 'suppression', true,
      case when f.suppression is not null then 'skip' end,
      'suppressed', f.suppression, null
    ),
    -- A topic that is gone counts as one that nobody subscribed to.
    (
      125, 'topic', true,
      case
        when f.topic is null then null
        when f.consent = 'changing' then 'defer'
        when f.consent = 'unsubscribed' then 'skip'
        when f.opt_in is not false and f.consent is null then 'skip'
      end,
      case f.consent
        when 'changing' then 'consent_changing'
        when 'unsubscribed' then 'opted_out'
        else 'not_subscribed'
      end,
      f.topic,
      case when f.consent = 'changing' then _gates.at end
    ),
    (
      150, 'sender', true,
      case when f.adapter_usable is not true then 'fail' when f.sender_changed then 'defer' end,
      case
        when f.adapter_id is null then 'no_adapter'
        when f.adapter_usable is not true then 'adapter_inactive'
        else 'sender_changed'
      end,
      null,
      case when f.adapter_usable then _gates.at end
    ),
    (
      160, 'sender_rest', true,
      case when f.resting_until > _gates.at then 'defer' end,
      coalesce(f.resting_reason, 'adapter_resting'), null, f.resting_until
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
