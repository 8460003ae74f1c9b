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
  recipient text,
  limited boolean,
  waits_for text
)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  with
  execution as materialized (
    select
      x.id, x.tenant_key, x.enrollment_id, x.step_id, x.state, x.scheduled_for, x.due_at,
      x.awaited_event, x.hooks, x.hook_failures, x.circuit_id, x.adapter_id, x.recipient,
      case when x.channel = 'webhook' then dripdrop._own_host(x.payload) end as host,
      x.payload is not null or x.state = 'queued' as decided
    from dripdrop.step_executions as x
    where x.id = any (executions)
  ),
  -- Once per step, not once per message: a batch has many people and few steps.
  step as materialized (
    select
      s.id,
      s.tenant_key,
      s.channel,
      s.config,
      s.active,
      s.hooks,
      s.timing ->> 'on_timeout' as on_timeout,
      dripdrop._ways_out(q.id) as ways_out,
      array(
        select c
        from dripdrop.conditions as c
        where c.step_id = s.id
        order by c.position, c.id
      ) as conditions,
      array(
        select c.config ->> 'event'
        from dripdrop.conditions as c
        where (c.step_id = s.id or c.sequence_id = q.id)
          and c.condition_type = 'event'
          and _gates.which <> 'fence'
      ) as events,
      coalesce((s.config ->> 'require_verified_recipient')::boolean, false) as verified_only,
      s.config ->> 'topic' as topic,
      t.id as topic_id,
      t.opt_in,
      (s.config ->> 'stale_after')::interval as stale_after,
      dripdrop._retry_for(s.channel, s.config) as retry_for,
      nullif(
        coalesce(s.config -> 'send_window', dripdrop._send_window(s.tenant_key, s.channel)), 'false'
      ) as send_window,
      coalesce(q.time_zone, dripdrop._default_time_zone(s.tenant_key)) as time_zone,
      dripdrop._sending_pause(s.tenant_key, q.key, s.channel, named.adapter_id) as sending_pause,
      q.active as sequence_active,
      q.exclusive_group is not null as exclusive,
      shared.senders is not null or dripdrop._has_limits(s, a) as limited,
      q.key as sequence_key,
      dripdrop._as_sender(
        a, circuit, named.adapter_id, 1, s.tenant_key, s.channel, _gates.at
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
    left join dripdrop.sender_states as circuit
      on circuit.adapter_id = a.id and circuit.host = '' and circuit.ended_at is null
    cross join lateral (
      select
        case
          when s.channel_adapter_id is null
          then dripdrop._shared_senders(s.config, q.metadata, s.tenant_key, s.channel, _gates.at)
        end as senders
      offset 0
    ) as shared
    left join dripdrop.topics as t
      on t.key = s.config ->> 'topic' and t.tenant_key is not distinct from s.tenant_key
    where s.id in (select x.step_id from execution as x)
  ),
  -- The windows that are closed, once per step and zone; steps without a window are not looked at.
  closed_window as materialized (
    select
      s.id as step_id,
      p.time_zone,
      w.opens_at,
      least(
        coalesce((s.send_window ->> 'jitter')::interval, interval '0'), w.closes_at - w.opens_at
      ) as jitter,
      dripdrop._describe_send_window(s.send_window, p.time_zone) as hours
    from step as s
    cross join lateral (
      select distinct dripdrop._time_zone(e.data, s.config, s.time_zone) as time_zone
      from execution as x
      join dripdrop.enrollments as e on e.id = x.enrollment_id
      where x.step_id = s.id
    ) as p
    cross join lateral dripdrop._next_window(
      s.send_window, p.time_zone, s.tenant_key, _gates.at
    ) as w
    where s.send_window is not null and w.opens_at > _gates.at
  ),
  fact as (
    select
      x.id,
      -- The time until a window opens is no delay of ours.
      case
        when s.send_window is not null and _gates.at - x.scheduled_for > s.stale_after
        then coalesce(
          dripdrop._window_opens(
            s.send_window,
            dripdrop._time_zone(e.data, s.config, s.time_zone),
            s.tenant_key,
            x.scheduled_for
          ),
          x.scheduled_for
        )
        else x.scheduled_for
      end as scheduled_for,
      case
        when s.senders is null then s.sending_pause
        else dripdrop._sending_pause(
          s.tenant_key, s.sequence_key, s.channel, (chosen.sender).adapter_id
        )
      end as sending_pause,
      case
        when w.opens_at is not null
        then w.opens_at + w.jitter * ((hashtextextended(x.id::text, 0) & 1048575) / 1048576.0)
      end as opens_at,
      w.hours,
      s.hooks <> '{}' and not coalesce(x.hooks, '{}') ?& s.hooks as hooks_unanswered,
      dripdrop._describe_failures(x.hook_failures) as hook_failures,
      behind.hook_circuit,
      behind.hook_circuit_until,
      e.ask_at is not null as rules_unanswered,
      x.awaited_event,
      x.due_at,
      s.on_timeout,
      found.way_out,
      found.obstacle,
      found.rival,
      s.limited,
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
      case
        when (chosen.sender).probe_id = x.id then null
        else coalesce((chosen.sender).circuit_until, elsewhere.until)
      end as circuit_until,
      coalesce((chosen.sender).circuit_reason, elsewhere.reason) as circuit_reason,
      elsewhere.host,
      s.retry_for,
      fault.message as fault,
      fault.until as fault_until,
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
    left join closed_window as w
      on w.step_id = x.step_id
      and w.time_zone = dripdrop._time_zone(e.data, s.config, s.time_zone)
    -- A step without a rotation has one sender for all its messages.
    cross join lateral (
      select
        case
          when s.senders is null then s.sender
          else dripdrop._drawn_sender(s.senders, x.id, case when x.decided then x.adapter_id end)
        end as sender
      offset 0
    ) as chosen
    -- Where the message has a URL of its own, so is the circuit.
    left join dripdrop.sender_states as elsewhere
      on elsewhere.adapter_id = (chosen.sender).adapter_id
      and elsewhere.host = x.host
      and elsewhere.ended_at is null
      and elsewhere.state <> 'closed'
      and elsewhere.until > _gates.at
      and elsewhere.probe_id is distinct from x.id
    left join lateral (
      select f.until, concat_ws(' ', f.stage, f.sqlstate, f.message) as message
      from dripdrop.faults as f
      where f.execution_id = x.id and f.until > _gates.at and _gates.which = 'all'
    ) as fault on true
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
    left join lateral (
      select format('hook "%s": %s', h.key, c.reason) as hook_circuit, c.until as hook_circuit_until
      from dripdrop.sender_states as c
      join dripdrop.http_hooks as h on h.id = c.http_hook_id
      where c.id = x.circuit_id and c.ended_at is null
    ) as behind on x.circuit_id is not null
    cross join lateral (
      select
        array(
          select v.key
          from unnest(s.events) as v (key)
          where exists (
            select from dripdrop.events as h
            where h.subscriber_id = e.subscriber_id and h.event_key = v.key
          )
        ) as events
      offset 0
    ) as happened
    -- What the application said is asked once, when the message is decided.
    cross join lateral (
      select
        case
          when cardinality(s.ways_out) > 0 and _gates.which <> 'fence'
          then dripdrop._way_out(
            s.ways_out, e, x.hooks, happened.events, x.step_id, _gates.at
          )
        end as way_out,
        case
          when cardinality(s.conditions) > 0 and _gates.which <> 'fence'
          then dripdrop._obstacle(
            s.conditions, e, x.hooks, happened.events, x.step_id, _gates.at
          )
        end as obstacle,
        case when s.exclusive and _gates.which <> 'fence' then dripdrop._rival(e) end as rival
      offset 0
    ) as found
  )
  select
    f.id, g.place, g.gate, g.action, g.reason, g.detail, g.until, f.adapter_id, f.recipient,
    f.limited, g.waits_for
  from fact as f
  cross join lateral (
    -- Shown, and asked by the stages themselves before they take a message up.
    select
      5, 'fault', false,
      case when f.fault_until is not null then 'hold' end,
      'row_fault', f.fault, f.fault_until, null::text
    union all
    select
      10, 'sending', true,
      case when f.sending_pause is not null then 'hold' end,
      'sending_paused', f.sending_pause, null::timestamptz, 'pause'
    union all
    select
      20, 'pause', true,
      case when f.enrollment_state = 'paused' then 'hold' end,
      'enrollment_paused', null::text, null::timestamptz, 'enrollment'
    union all
    select
      30, 'enrollment', true,
      case when f.enrollment_state in ('completed', 'cancelled') then 'cancel' end,
      'enrollment_ended', null::text, null::timestamptz, null::text
    union all
    select
      40, 'sequence', true,
      case when not f.sequence_active then 'exit' end,
      'sequence_inactive', null::text, null::timestamptz, null::text
    union all
    -- Before whatever leads on to the next step, whose way may depend on the answers.
    select
      50, 'hooks', false,
      case when f.hooks_unanswered then 'ask' end,
      case
        when f.hook_circuit is not null then 'circuit_open'
        when f.hook_failures is not null then 'hook_unavailable'
        else 'waiting_for_hooks'
      end,
      coalesce(f.hook_circuit, f.hook_failures),
      coalesce(f.hook_circuit_until, _gates.at + interval '15 minutes'),
      case when f.hook_circuit is not null then 'circuit' else 'hook' end
    union all
    select
      60, 'step', true,
      case when not f.step_active then 'skip' end,
      'step_inactive', null::text, null::timestamptz, null::text
    union all
    select
      80, 'stale', true,
      case
        when _gates.at - f.scheduled_for > f.stale_after and f.on_stale in ('skip', 'hold')
        then f.on_stale
      end,
      'stale', null::text, null::timestamptz, 'release'
    union all
    select
      90, 'exit', true,
      coalesce((f.way_out).action, case when f.rules_unanswered then 'defer' end),
      case when (f.way_out).action is null then 'waiting_for_rules' else (f.way_out).reason end,
      (f.way_out).detail,
      case when (f.way_out).action is null then _gates.at + interval '15 minutes' end,
      'rules'
    union all
    select
      95, 'event', false,
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
      f.awaited_event,
      f.due_at,
      'event'
    union all
    select
      100, 'conditions', false,
      (f.obstacle).action,
      (f.obstacle).reason, (f.obstacle).detail, null::timestamptz, null::text
    union all
    select
      110, 'recipient', false,
      case
        when _gates.which <> 'fence' and not dripdrop._is_recipient(f.channel, f.recipient)
        then 'skip'
      end,
      case when f.recipient is null then 'no_recipient' else 'invalid_recipient' end,
      null::text,
      null::timestamptz,
      null::text
    union all
    select
      115, 'verification', false,
      case when f.unverified then 'skip' end,
      'unverified_recipient', null::text, null::timestamptz, null::text
    union all
    select
      120, 'suppression', true,
      case when f.suppression is not null then 'skip' end,
      'suppressed', f.suppression, null::timestamptz, null::text
    union all
    -- A topic that is gone counts as one that nobody subscribed to.
    select
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
      case when f.consent = 'changing' then _gates.at end,
      null::text
    union all
    select
      130, 'frequency', false,
      case when f.rival is not null then 'defer' end,
      'exclusive_group', f.rival, null::timestamptz, 'rival'
    union all
    select
      140, 'window', true,
      case when f.opens_at is not null then 'defer' end,
      'outside_window', f.hours, f.opens_at, null::text
    union all
    select
      150, 'sender', true,
      case when f.sender_fault is not null then 'hold' when f.sender_changed then 'defer' end,
      coalesce(f.sender_fault, 'sender_changed'),
      f.adapter_name,
      case when f.sender_fault is null then _gates.at end,
      case when f.sender_fault is not null then 'sender' end
    union all
    select
      160, 'sender_rest', true,
      case when f.sender_rests then 'defer' end,
      coalesce(f.resting_reason, 'adapter_resting'), f.adapter_name, f.resting_until, 'rest'
    union all
    -- Its server is away: who waits for it is released when the circuit closes. A URL of the
    -- message's own is tried as long as what it was written for is worth it.
    select
      165, 'circuit', true,
      case
        when f.circuit_until is null then null
        when f.host is null then 'hold'
        when _gates.at - f.scheduled_for > f.retry_for then 'fail'
        else 'defer'
      end,
      'circuit_open',
      case
        when f.circuit_until is not null then concat_ws(': ', f.adapter_name, f.circuit_reason)
      end,
      f.circuit_until,
      case when f.host is null then 'circuit' end
    union all
    -- Shown by explain() while a message waits for its next try.
    select
      168, 'retry', false,
      null::text,
      null::text, null::text, null::timestamptz, null::text
    where _gates.which = 'all'
    union all
    -- Limits are asked of all messages of a batch together: _admit().
    select
      170, 'capacity', false,
      null::text,
      null::text, null::text, null::timestamptz, null::text
    union all
    select
      200, 'send', false,
      'send',
      null::text, null::text, null::timestamptz, null::text
  ) as g (place, gate, at_fence, action, reason, detail, until, waits_for)
  where _gates.which = 'all'
    or (g.action is not null and (g.at_fence or _gates.which = 'closed'))
$$;

comment on function dripdrop._gates(uuid[], timestamptz, text) is
  'The gates of each execution as they stand at a time; action is null where a gate is open.';

-- The first closed gate has the word, and the last one always has: send. Whatever ends a deferral
-- without an end wakes what waits for it; it is looked at again once a day all the same, for nobody
-- resumes a sender in whose place there is another.
create or replace function dripdrop._decide(executions uuid[], at timestamptz)
returns setof dripdrop._decision
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select distinct on (g.execution_id)
    g.execution_id, g.gate, g.action, g.reason, g.detail,
    case
      when g.action = 'defer' then coalesce(g.until, _decide.at + interval '1 day') else g.until
    end,
    g.adapter_id, g.recipient, g.limited, null::uuid,
    case when g.action in ('ask', 'defer', 'hold') then g.waits_for end
  from dripdrop._gates(_decide.executions, _decide.at, 'closed') as g
  order by g.execution_id, g.place
$$;

comment on function dripdrop._decide(uuid[], timestamptz) is 'What is to happen to each execution.';
