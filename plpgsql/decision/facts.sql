-- What holds for all messages of a step, looked up once: a batch has many people and few steps. At
-- the fence the application's conditions are not asked again.
create or replace function dripdrop._step_facts(steps uuid[], at timestamptz, at_fence boolean)
returns table (
  id uuid,
  tenant_key text,
  channel text,
  address_form text,
  recipient_key text,
  config jsonb,
  hooks text[],
  active boolean,
  sequence_active boolean,
  sequence_key text,
  exclusive boolean,
  time_zone text,
  send_window jsonb,
  stale_after interval,
  on_stale text,
  relative jsonb,
  retry_for interval,
  on_timeout text,
  verified_only boolean,
  topic text,
  topic_id uuid,
  opt_in boolean,
  exit_rules dripdrop.conditions[],
  conditions dripdrop.conditions[],
  events text[],
  senders dripdrop._sender[],
  sender dripdrop._sender,
  sending_pause text,
  limited boolean
)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select
    s.id, s.tenant_key, s.channel, c.address_form, c.recipient_key, s.config, s.hooks, s.active,
    q.active, q.key,
    q.exclusive_group is not null and not at_fence,
    coalesce(q.time_zone, dripdrop._default_time_zone(s.tenant_key)),
    nullif(
      coalesce(s.config -> 'send_window', dripdrop._send_window(s.tenant_key, s.channel)), 'false'
    ),
    dripdrop._stale_after(s.config),
    dripdrop._on_stale(s.config),
    case when s.timing ->> 'type' = 'relative' and not at_fence then s.timing end,
    coalesce((s.config ->> 'retry_for')::interval, c.retry_for),
    s.timing ->> 'on_timeout',
    coalesce((s.config ->> 'require_verified_recipient')::boolean, false),
    s.config ->> 'topic', t.id, t.opt_in,
    asked.exit_rules, asked.conditions, asked.events,
    case when single.sender is null then sending.senders end,
    single.sender,
    dripdrop._sending_pause(s.tenant_key, q.key, s.channel, (single.sender).adapter_id),
    single.sender is null or dripdrop._has_limits(s, a)
  from dripdrop.steps as s
  join dripdrop.sequence_versions as v on v.id = s.sequence_version_id
  join dripdrop.sequences as q on q.id = v.sequence_id
  left join dripdrop.channels as c on c.channel = s.channel
  left join dripdrop.topics as t
    on t.key = s.config ->> 'topic' and t.tenant_key is not distinct from s.tenant_key
  left join lateral dripdrop._conditions_to_check(s.id, q.id) as asked on not at_fence
  cross join lateral (
    select dripdrop._senders_of(
      s.channel_adapter_id, s.config, q.metadata, s.tenant_key, s.channel, _step_facts.at
    ) as senders
    offset 0
  ) as sending
  cross join lateral (
    select case when cardinality(sending.senders) = 1 then sending.senders[1] end as sender
    offset 0
  ) as single
  left join dripdrop.channel_adapters as a on a.id = (single.sender).adapter_id
  where s.id = any (_step_facts.steps)
$$;

comment on function dripdrop._step_facts(uuid[], timestamptz, boolean) is
  'What the gates are asked about that is the same for all messages of a step. senders: those who '
  'share them, or null where there is one sender.';

-- Each fact is found by the folder it belongs to; here they come together. asked_by: decision,
-- fence, where the address is the one that the message was decided for, or explain, which shows
-- faults as well. Windows are looked at once per step and zone.
create or replace function dripdrop._facts(executions uuid[], at timestamptz, asked_by text)
returns setof dripdrop._fact
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  with
  execution as materialized (select m.* from dripdrop._message_facts(executions, _facts.at) as m),
  step as materialized (
    select s.*
    from dripdrop._step_facts(
      array(select distinct x.step_id from execution as x), _facts.at, asked_by = 'fence'
    ) as s
  ),
  shut as materialized (
    select z.id as step_id, z.time_zone, w.opens_at, w.jitter, w.hours
    from (
      select distinct
        s.id, s.tenant_key, s.send_window,
        dripdrop._time_zone(e.data, s.config, s.time_zone) as time_zone
      from step as s
      join execution as x on x.step_id = s.id
      join dripdrop.enrollments as e on e.id = x.enrollment_id
      where s.send_window is not null
    ) as z
    cross join lateral dripdrop._shut_window(
      z.send_window, z.time_zone, z.tenant_key, _facts.at
    ) as w
  )
  select
    x.id as execution_id, _facts.at as at, s.address_form as address_form, x.due_at as due_at,
    dripdrop._delay(
      x.expected_at, s.stale_after, s.send_window,
      dripdrop._time_zone(e.data, s.config, s.time_zone), s.tenant_key, _facts.at
    ) as late,
    concat_ws(' ', fault.stage, fault.sqlstate, fault.message) as fault,
    fault.until as fault_until,
    case
      when s.senders is null then s.sending_pause
      else dripdrop._sending_pause(s.tenant_key, s.sequence_key, s.channel, by.adapter_id)
    end as sending_pause, e.state as enrollment_state, s.sequence_active as sequence_active,
    s.active as step_active,
    s.hooks <> '{}' and not coalesce(x.hooks, '{}') ?& s.hooks as hooks_unanswered,
    hook.reason as hooks_reason, hook.detail as hooks_detail, hook.until as hooks_until,
    s.stale_after as stale_after, s.on_stale as on_stale,
    -- Those that name no function have just been asked.
    e.ask_at is not null and exists (
      select from dripdrop.sequences as q
      cross join lateral dripdrop._rule_functions(q)
      where q.id = e.sequence_id
    ) as rules_unanswered,
    found.exit_action as exit_action, found.exit_reason as exit_reason,
    found.exit_detail as exit_detail, x.awaited_event as awaited_event,
    coalesce(x.due_at <= _facts.at, false) as timed_out,
    s.on_timeout as on_timeout,
    case when timeless.is_so then 'value_missing' else found.failure end as failure,
    case when timeless.is_so then s.relative ->> 'relative_to' else found.failed_condition end
      as failed_condition, address.recipient as recipient,
    s.verified_only and coalesce(e.data ->> 'recipient_verified_at', '') in ('', 'false')
      as unverified,
    consent.suppression as suppression, s.topic as topic, s.opt_in as opt_in,
    consent.state as consent, found.rival as rival,
    shut.opens_at + shut.jitter * ((hashtextextended(x.id::text, 0) & 1048575) / 1048576.0)
      as opens_at,
    shut.hours as hours, by.adapter_id as adapter_id, by.name as sender, by.fault as sender_fault,
    (x.state = 'rendered' or asked_by = 'fence') and x.adapter_id is distinct from by.adapter_id
      as sender_changed,
    by.rests as sender_rests, by.resting_until as resting_until,
    by.resting_reason as resting_reason, by.circuit_until as circuit_until,
    by.circuit_reason as circuit_reason, by.host as host, s.retry_for as retry_for,
    s.limited as limited
  from execution as x
  join dripdrop.enrollments as e on e.id = x.enrollment_id
  join step as s on s.id = x.step_id
  left join shut
    on shut.step_id = x.step_id
    and shut.time_zone = dripdrop._time_zone(e.data, s.config, s.time_zone)
  left join dripdrop.faults as fault
    on fault.execution_id = x.id and fault.until > _facts.at and asked_by = 'explain'
  cross join lateral (
    select
      s.relative is not null
      and dripdrop._time_in_data(
        s.relative, e.data, dripdrop._time_zone(e.data, s.config, s.time_zone)
      ) is null as is_so
    offset 0
  ) as timeless
  cross join lateral dripdrop._hook_trouble(x.circuit_id, x.hook_failures) as hook
  cross join lateral dripdrop._message_sender(
    s.sender, s.senders, x.id, x.kept_adapter_id, x.host, _facts.at
  ) as by
  cross join lateral (
    select
      case
        when x.state = 'rendered' or asked_by = 'fence' then x.recipient
        else dripdrop._recipient(s.address_form, s.recipient_key, s.config, e.data)
      end as recipient
    offset 0
  ) as address
  cross join lateral dripdrop._consent(
    x.tenant_key, s.channel, address.recipient, s.topic, s.topic_id, e.subscriber_type,
    e.subscriber_id, _facts.at
  ) as consent
  cross join lateral dripdrop._condition_facts(
    s.exit_rules, s.conditions, s.events, s.exclusive, e, x.hooks, x.step_id, _facts.at
  ) as found
$$;

comment on function dripdrop._facts(uuid[], timestamptz, text) is
  'What the gates of each message are asked about.';

-- What was rendered goes to the address that it was decided for, and keeps its sender if it can.
create or replace function dripdrop._message_facts(executions uuid[], at timestamptz)
returns table (
  id uuid,
  tenant_key text,
  enrollment_id uuid,
  step_id uuid,
  state text,
  expected_at timestamptz,
  due_at timestamptz,
  awaited_event text,
  hooks jsonb,
  hook_failures jsonb,
  circuit_id uuid,
  adapter_id uuid,
  kept_adapter_id uuid,
  recipient text,
  host text
)
language sql
stable
parallel safe
begin atomic
  select
    x.id, x.tenant_key, x.enrollment_id, x.step_id, x.state,
    x.scheduled_for + coalesce(
      dripdrop._waited(x.waited, x.waits_for, x.reason_at, _message_facts.at), '0'
    ),
    x.due_at,
    x.awaited_event, x.hooks, x.hook_failures, x.circuit_id, x.adapter_id,
    case when x.payload is not null or x.state = 'queued' then x.adapter_id end,
    x.recipient,
    case
      when x.payload is not null
        and (select c.own_hosts from dripdrop.channels as c where c.channel = x.channel)
      then dripdrop._own_host(x.payload)
    end
  from dripdrop.step_executions as x
  where x.id = any(executions);
end;

comment on function dripdrop._message_facts(uuid[], timestamptz) is
  'What the gates want to know of executions. expected_at: since when they are late, less what '
  'they have waited for limits.';
