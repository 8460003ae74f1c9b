-- The hot table: every message is one row and four updates. Two rules keep those cheap.
-- No index mentions state: its changes would touch every index. due_at and ended_at stand in for it
-- and change once each, so that rendering and fencing are updates in place (HOT).
-- There is no foreign key to steps, which every new row would pay for: the trigger steps_of_a_draft
-- keeps a step that anyone was enrolled into from being deleted.
-- Autovacuum works by absolute thresholds: a share of a large history would mean never.
create table dripdrop.step_executions (
  id uuid not null default dripdrop._uuidv7(),
  tenant_key text,
  enrollment_id uuid not null,
  step_id uuid not null,
  occurrence int not null default 0,
  attempt_window int not null default 0,
  state text not null default 'scheduled',
  reason text,
  reason_at timestamptz,
  scheduled_for timestamptz not null,
  due_at timestamptz,
  waits_for text,
  awaited_event text,
  event_id uuid,
  line_id uuid,
  circuit_id uuid,
  defer_count int not null default 0,
  retry_count int not null default 0,
  failing_since timestamptz,
  excused_at timestamptz,
  waited interval,
  fence int not null default 0,
  maybe_sent_at timestamptz,
  lease_until timestamptz,
  claim uuid,
  place_of uuid,
  leave_by timestamptz,
  channel text not null,
  adapter_id uuid,
  recipient text,
  hooks jsonb,
  hook_failures jsonb,
  payload jsonb,
  response jsonb,
  provider_message_id text,
  out_message_id text,
  error_message text,
  metadata jsonb not null default '{}',
  claimed_at timestamptz,
  ended_at timestamptz,
  inserted_at timestamptz not null default dripdrop._now(),
  updated_at timestamptz not null default dripdrop._now(),
  constraint step_executions_pkey primary key (id),
  constraint step_executions_of_an_enrollment foreign key (enrollment_id)
  references dripdrop.enrollments (id) on delete cascade,
  constraint step_executions_one_per_occurrence unique (enrollment_id, step_id, occurrence),
  constraint step_executions_state_is_known check (state in (
    'scheduled', 'queued', 'rendered', 'sending', 'unknown', 'sent', 'failed', 'skipped',
    'cancelled'
  )),
  constraint step_executions_due_only_while_scheduled check (due_at is null or state = 'scheduled'),
  constraint step_executions_wait_for_what_is_known check (waits_for in (
    'event', 'enrollment', 'pause', 'hook', 'rules', 'release', 'rival', 'sender', 'rest',
    'circuit', 'limit'
  )),
  constraint step_executions_wait_only_while_scheduled check (
    coalesce(waits_for, awaited_event) is null or state = 'scheduled'
  ),
  constraint step_executions_held_wait_for_something check (
    due_at is not null or state <> 'scheduled' or waits_for is not null
  ),
  constraint step_executions_wait_for_a_named_event check (
    waits_for <> 'event' or awaited_event is not null
  ),
  constraint step_executions_wait_for_a_limit_in_its_line check (
    waits_for <> 'limit' or line_id is not null
  ),
  constraint step_executions_end_with_a_reason check (
    (state in ('sent', 'failed', 'skipped', 'cancelled')) = (ended_at is not null)
    and (ended_at is null or reason is not null)
  ),
  constraint step_executions_send_under_a_lease check (
    state <> 'sending' or lease_until is not null
  )
)
with (
  fillfactor = 60,
  autovacuum_vacuum_scale_factor = 0,
  autovacuum_vacuum_threshold = 20000,
  autovacuum_vacuum_insert_scale_factor = 0,
  autovacuum_vacuum_insert_threshold = 100000,
  autovacuum_analyze_scale_factor = 0.05
);

-- A rendered e-mail moves out of the row whole: compressed it would often stay, and every later
-- update would copy it.
alter table dripdrop.step_executions alter payload set storage external;

-- What waits in the line of a limit is not due by time.
create index step_executions_due on dripdrop.step_executions (due_at)
where due_at is not null and waits_for is distinct from 'limit';

-- What is under way: reconcile() reads it whole. What is held waits for something.
create index step_executions_in_flight on dripdrop.step_executions (id)
where due_at is null and ended_at is null and waits_for is null;

-- What is held, or put off after its sender was chosen, until something else is the case. waits_for
-- changes only together with due_at, so that it costs no update in place.
create index step_executions_held on dripdrop.step_executions (waits_for, adapter_id)
where waits_for in ('pause', 'sender', 'rest', 'circuit', 'release');

-- Who waits in the line of a limit, step by step.
create index step_executions_in_line
on dripdrop.step_executions (line_id, step_id, scheduled_for, id)
where waits_for = 'limit';

-- Who waits for a circuit to close.
create index step_executions_behind_a_circuit on dripdrop.step_executions (circuit_id, id)
where circuit_id is not null;

-- What is being sent through senders that take only so many at once, or to a URL of its own. Of
-- other messages the column stays null, which keeps their updates in place.
create index step_executions_taking_a_place on dripdrop.step_executions (place_of)
where place_of is not null;

-- What began to wait not long ago: reconcile() looks whether its event was missed.
create index step_executions_waiting on dripdrop.step_executions (inserted_at)
where awaited_event is not null and ended_at is null;

-- What fails for the time being: startup_check() lists what has for long. The column changes only
-- together with due_at.
create index step_executions_failing on dripdrop.step_executions (failing_since)
where failing_since is not null and ended_at is null;

-- What a sender has sent, and when: its rates of bounces and complaints are counted by it.
create index step_executions_by_adapter on dripdrop.step_executions (adapter_id, ended_at)
where ended_at is not null;

create index step_executions_by_provider_message
on dripdrop.step_executions (provider_message_id)
where provider_message_id is not null;

create index step_executions_by_out_message
on dripdrop.step_executions (out_message_id)
where out_message_id is not null;

comment on table dripdrop.step_executions is
  'One step for one enrolment: what is planned, under way and done, each with its reason.';
comment on column dripdrop.step_executions.id is 'Time-ordered uuid.';
comment on column dripdrop.step_executions.tenant_key is 'The tenant of the enrolment.';
comment on column dripdrop.step_executions.enrollment_id is 'The enrolment.';
comment on column dripdrop.step_executions.step_id is 'The step.';
comment on column dripdrop.step_executions.occurrence is
  'Counts from 0 when the enrolment comes to the step again.';
comment on column dripdrop.step_executions.attempt_window is 'Counts replays, from 0.';
comment on column dripdrop.step_executions.state is
  'scheduled, queued, rendered, sending, unknown, sent, failed, skipped or cancelled.';
comment on column dripdrop.step_executions.reason is
  'Why it is in this state: a gate''s reason, a provider''s code.';
comment on column dripdrop.step_executions.reason_at is 'Since when the reason holds.';
comment on column dripdrop.step_executions.scheduled_for is
  'When it is, or was, planned: staleness counts from here, less waited. A retry leaves it, and a '
  'deferral too but to the opening of a send window.';
comment on column dripdrop.step_executions.due_at is
  'When tick() looks at it: the planned time, or what it was put off to, of one that waits for a '
  'limit by estimate; null while it is held, under way or ended.';
comment on column dripdrop.step_executions.waits_for is
  'What makes it due before due_at, or at all: event, enrollment (resumed), pause (of sending, '
  'lifted), hook (answered), rules (answered), release (by an operator), rival (of its exclusive '
  'group, ended), sender (made or switched on), rest (of its sender, ended), circuit (closed), '
  'limit (room); null: nothing but the time.';
comment on column dripdrop.step_executions.awaited_event is
  'The key of the event it waits for; due_at is then the timeout, if there is one.';
comment on column dripdrop.step_executions.event_id is 'The event that set it off.';
comment on column dripdrop.step_executions.line_id is
  'The line of a limit, or of a sender, in which it waits or by which it is counted; null where '
  'nothing limits it.';
comment on column dripdrop.step_executions.circuit_id is
  'The circuit that it waits for: its sender''s server is away.';
comment on column dripdrop.step_executions.defer_count is 'How often it was deferred.';
comment on column dripdrop.step_executions.retry_count is
  'How many attempts failed for the time being.';
comment on column dripdrop.step_executions.failing_since is
  'The first of the attempts that failed for the time being; retry_for counts from here.';
comment on column dripdrop.step_executions.excused_at is
  'When an attempt last failed that was put down to its sender''s server.';
comment on column dripdrop.step_executions.waited is
  'How long it has waited for limits, its exclusive group and resting senders since it was '
  'planned: that is no lateness.';
comment on column dripdrop.step_executions.fence is
  'Grows with every claim and every stop; a result under an older fence is refused.';
comment on column dripdrop.step_executions.maybe_sent_at is
  'When it was claimed for an attempt that may have arrived though nobody knows; null if there was '
  'none before the last.';
comment on column dripdrop.step_executions.lease_until is
  'While sending: when the claim counts as lost; while queued: until when it is '
  'its renderer''s alone, null if it is in the queue.';
comment on column dripdrop.step_executions.claim is
  'The token of the claim that it was last handed out under.';
comment on column dripdrop.step_executions.place_of is
  'While sending: the sender, if it takes only so many at once or the URL is the message''s own.';
comment on column dripdrop.step_executions.leave_by is
  'While sending under a limit that counts what leaves: the last moment for it.';
comment on column dripdrop.step_executions.channel is 'The channel of the step.';
comment on column dripdrop.step_executions.adapter_id is 'The sender that was chosen.';
comment on column dripdrop.step_executions.recipient is
  'Whom it reaches, normalised; null where the channel has no address.';
comment on column dripdrop.step_executions.hooks is
  'What its hooks answered, by key: {"value": …} or {"error": …}; null before they were asked.';
comment on column dripdrop.step_executions.hook_failures is
  'What its hooks have failed with for the time being, by key: {"error", "count", "since"}.';
comment on column dripdrop.step_executions.payload is
  'The rendered message; a retry sends the same bytes.';
comment on column dripdrop.step_executions.response is
  'What the provider answered, shortened and redacted.';
comment on column dripdrop.step_executions.provider_message_id is
  'The provider''s id of the message.';
comment on column dripdrop.step_executions.out_message_id is
  'RFC 5322 Message-ID without angle brackets.';
comment on column dripdrop.step_executions.error_message is 'The last error, redacted.';
comment on column dripdrop.step_executions.metadata is
  'Notes of the engine. Nothing writes it yet.';
comment on column dripdrop.step_executions.claimed_at is 'When the fence was last passed.';
comment on column dripdrop.step_executions.ended_at is
  'When it reached sent, failed, skipped or cancelled.';
comment on column dripdrop.step_executions.inserted_at is 'When the row was made.';
comment on column dripdrop.step_executions.updated_at is 'When the row last changed.';
