-- The gates a message passes, in order: this list alone says what happens to a due execution, from
-- nothing but the facts about it. The first gate with an action has the word, and the last one
-- always has: send. at_fence: asked again before the message leaves. waits_for: what ends it. A
-- new gate is one row here and, where it needs them, facts: a column of _fact, found by _facts().
create or replace function dripdrop._gates_of(fact dripdrop._fact)
returns table (
  place int,
  gate text,
  at_fence boolean,
  action text,
  reason text,
  detail text,
  until timestamptz,
  waits_for text
)
language sql
stable
parallel safe
begin atomic
  select 5, 'fault', false, case when (fact).fault_until is not null then 'hold' end,
    'row_fault', (fact).fault, (fact).fault_until, null
  union all
  select 10, 'sending', true, case when (fact).sending_pause is not null then 'hold' end,
    'sending_paused', (fact).sending_pause, null, 'pause'
  union all
  select 20, 'pause', true, case when (fact).enrollment_state = 'paused' then 'hold' end,
    'enrollment_paused', null, null, 'enrollment'
  union all
  select 30, 'enrollment', true,
    case when (fact).enrollment_state in ('completed', 'cancelled') then 'cancel' end,
    'enrollment_ended', null, null, null
  union all
  select 40, 'sequence', true, case when not (fact).sequence_active then 'exit' end,
    'sequence_inactive', null, null, null
  union all
  -- Before whatever leads on to the next step, whose way may depend on the answers.
  select 50, 'hooks', false, case when (fact).hooks_unanswered then 'ask' end,
    coalesce((fact).hooks_reason, 'waiting_for_hooks'), (fact).hooks_detail,
    coalesce((fact).hooks_until, (fact).at + interval '15 minutes'),
    case when (fact).hooks_until is null then 'hook' else 'circuit' end
  union all
  select 60, 'step', true, case when not (fact).step_active then 'skip' end,
    'step_inactive', null, null, null
  union all
  select 80, 'stale', true,
    case when (fact).late > (fact).stale_after then nullif((fact).on_stale, 'send') end,
    'stale', 'late by ' || date_trunc('second', (fact).late), null, 'release'
  union all
  select 90, 'exit', true,
    coalesce((fact).exit_action, case when (fact).rules_unanswered then 'defer' end),
    case when (fact).exit_action is null then 'waiting_for_rules' else (fact).exit_reason end,
    (fact).exit_detail,
    case when (fact).exit_action is null then (fact).at + interval '15 minutes' end, 'rules'
  union all
  select 95, 'event', false,
    case
      when (fact).awaited_event is null then null
      when not (fact).timed_out then 'wait'
      else case (fact).on_timeout when 'exit' then 'exit' else 'skip' end
    end,
    case when (fact).timed_out then 'event_timeout' else 'waiting_for_event' end,
    (fact).awaited_event, (fact).due_at, 'event'
  union all
  select 100, 'conditions', false, case when (fact).failure is not null then 'skip' end,
    (fact).failure, (fact).failed_condition, null, null
  union all
  select 110, 'recipient', false,
    case when not dripdrop._is_address((fact).address_form, (fact).recipient) then 'skip' end,
    case when (fact).recipient is null then 'no_recipient' else 'invalid_recipient' end,
    null, null, null
  union all
  select 115, 'verification', false, case when (fact).unverified then 'skip' end,
    'unverified_recipient', null, null, null
  union all
  select 120, 'suppression', true, case when (fact).suppression is not null then 'skip' end,
    'suppressed', (fact).suppression, null, null
  union all
  -- A topic that is gone counts as one that nobody subscribed to.
  select 125, 'topic', true,
    case
      when (fact).topic is null or (fact).consent = 'subscribed' then null
      when (fact).consent = 'unsubscribed' or (fact).opt_in is not false then 'skip'
    end,
    case (fact).consent when 'unsubscribed' then 'opted_out' else 'not_subscribed' end,
    (fact).topic, null, null
  union all
  select 130, 'frequency', false, case when (fact).rival is not null then 'defer' end,
    'exclusive_group', (fact).rival, null, 'rival'
  union all
  select 140, 'window', true, case when (fact).opens_at is not null then 'defer' end,
    'outside_window', (fact).hours, (fact).opens_at, null
  union all
  select 150, 'sender', true,
    case when (fact).sender_fault is not null then 'hold'
      when (fact).sender_changed then 'defer' end,
    coalesce((fact).sender_fault, 'sender_changed'), (fact).sender,
    case when (fact).sender_fault is null then (fact).at end,
    case when (fact).sender_fault is not null then 'sender' end
  union all
  select 160, 'sender_rest', true, case when (fact).sender_rests then 'defer' end,
    coalesce((fact).resting_reason, 'adapter_resting'), (fact).sender, (fact).resting_until, 'rest'
  union all
  -- What waits for a server is due when it is back; a URL of its own is tried for a while.
  select 165, 'circuit', true,
    case
      when (fact).circuit_until is null then null
      when (fact).host is null then 'hold'
      when (fact).late > (fact).retry_for then 'fail'
      else 'defer'
    end,
    'circuit_open', concat_ws(': ', (fact).sender, (fact).circuit_reason), (fact).circuit_until,
    case when (fact).host is null then 'circuit' end
  union all
  -- Shown by explain(): whether anybody takes up what is due, the next try, and the limits, which
  -- _admit() asks of a whole batch.
  select n.place, n.gate, false, null, null, null, null, null
  from (values (167, 'daemon'), (168, 'retry'), (170, 'capacity')) as n (place, gate)
  union all
  select 200, 'send', false, 'send', null, null, null, null;
end;

comment on function dripdrop._gates_of(dripdrop._fact) is
  'The gates of a message in order, by the facts about it; action is null where a gate is open.';
