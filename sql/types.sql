-- What one due execution is to have done to it, as _decide() says and _carry_out() does.
create type dripdrop._decision as (
  execution_id uuid,
  gate text,
  action text,
  reason text,
  detail text,
  until timestamptz,
  adapter_id uuid,
  recipient text,
  limited boolean,
  line_id uuid,
  waits_for text
);

comment on type dripdrop._decision is
  'A gate''s word on one execution: send, ask, defer, hold, skip, cancel, exit, complete or fail.';

-- Where a move leaves what it has no word on as it is: scheduled_for, reason, event_id.
create type dripdrop._new_time as (
  execution_id uuid,
  scheduled_for timestamptz,
  due_at timestamptz,
  waits_for text,
  reason text,
  event_id uuid
);

comment on type dripdrop._new_time is
  'Another time for one scheduled execution, or the event that it waited for.';

-- What a sender reports about one claimed execution: one element of complete_sends(results).
create type dripdrop._send_result as (
  execution uuid,
  fence int,
  outcome text,
  code text,
  detail text,
  hard boolean,
  retry_after float8,
  provider_message_id text,
  out_message_id text,
  response jsonb,
  stage text,
  left_after float8
);

comment on type dripdrop._send_result is 'One element of the results that complete_sends() takes.';

-- What a renderer reports about one claimed execution: one element of complete_renders(results).
create type dripdrop._render_result as (
  execution uuid,
  fence int,
  message bigint,
  payload jsonb,
  code text,
  detail text
);

comment on type dripdrop._render_result is
  'One element of the results that complete_renders() takes.';

-- A migration between two versions, its arguments checked once for its preview and for itself.
create type dripdrop._migration as (
  sequence_id uuid,
  from_version_id uuid,
  to_version_id uuid,
  mode text,
  step_map jsonb
);

comment on type dripdrop._migration is 'Which people move from which version to which other one.';

-- What a caller of hooks reports about one claimed execution: one element of
-- complete_hooks(results).
create type dripdrop._hook_result as (
  execution uuid,
  fence int,
  message bigint,
  values jsonb,
  enrollment uuid,
  ask_at timestamptz
);

comment on type dripdrop._hook_result is 'One element of the results that complete_hooks() takes.';

-- A value that an execution waits for, or the goals and exit rules of an enrolment, and how it is
-- come by; error: why it cannot be. place: what is asked together stands in one place.
create type dripdrop._wanted_hook as (
  place bigint,
  execution_id uuid,
  enrollment_id uuid,
  message_id bigint,
  key text,
  kind text,
  hook jsonb,
  error text
);

comment on type dripdrop._wanted_hook is 'One hook that claim_hooks() found wanting.';

-- One hook to call, for an execution or for the goals and exit rules of an enrolment.
create type dripdrop._hook_call as (
  execution_id uuid,
  enrollment_id uuid,
  fence int,
  message_id bigint,
  ask_at timestamptz,
  tenant_key text,
  key text,
  kind text,
  hook jsonb,
  variables jsonb
);

comment on type dripdrop._hook_call is 'One row that claim_hooks() returns.';

-- What conditions and exit rules say about an enrolment, and why.
create type dripdrop._finding as (
  action text,
  reason text,
  detail text
);

comment on type dripdrop._finding is 'What follows from a condition: action, reason and detail.';

-- What is known about one message when its gates are asked, one row of _facts(): the list of gates
-- reads nothing else. late: since when it should have left. Null is what nobody asked for.
create type dripdrop._fact as (
  execution_id uuid,
  at timestamptz,
  address_form text,
  due_at timestamptz,
  late interval,
  fault text,
  fault_until timestamptz,
  sending_pause text,
  enrollment_state text,
  sequence_active boolean,
  step_active boolean,
  hooks_unanswered boolean,
  hooks_reason text,
  hooks_detail text,
  hooks_until timestamptz,
  stale_after interval,
  on_stale text,
  rules_unanswered boolean,
  exit_action text,
  exit_reason text,
  exit_detail text,
  awaited_event text,
  timed_out boolean,
  on_timeout text,
  failure text,
  failed_condition text,
  recipient text,
  unverified boolean,
  suppression text,
  topic text,
  opt_in boolean,
  consent text,
  rival text,
  opens_at timestamptz,
  hours text,
  adapter_id uuid,
  sender text,
  sender_fault text,
  sender_changed boolean,
  sender_rests boolean,
  resting_until timestamptz,
  resting_reason text,
  circuit_until timestamptz,
  circuit_reason text,
  host text,
  retry_for interval,
  limited boolean
);

comment on type dripdrop._fact is 'What the gates of one message are asked about.';

-- Where a step leads: found without a step is the end.
create type dripdrop._route as (
  step_id uuid,
  found boolean
);

comment on type dripdrop._route is 'The next step, or the end.';

-- One limit on one message.
create type dripdrop._limit as (
  execution_id uuid,
  tenant_key text,
  scope text,
  owner_id uuid,
  subject text,
  max_count int,
  per interval,
  time_zone text,
  counter_id uuid
);

comment on type dripdrop._limit is
  'One limit on one message: what is counted, how many, in what time.';

-- A message that asks a limit. number: how many of those to come that one has let through with it.
-- blocked: whether the message has to wait, in the line of this limit.
create type dripdrop._place as (
  execution_id uuid,
  counter_id uuid,
  number int,
  blocked boolean
);

comment on type dripdrop._place is 'Where a message stands with one of its limits.';

-- A sender that a step may use, as it stands now. fault: why it cannot be used at all.
create type dripdrop._sender as (
  adapter_id uuid,
  name text,
  weight float8,
  fault text,
  rests boolean,
  resting_until timestamptz,
  resting_reason text,
  circuit_until timestamptz,
  circuit_reason text,
  probe_id uuid
);

comment on type dripdrop._sender is 'One sender that a step may use.';

-- What one answer, or its absence, says about the server that was asked. says: ok (it answered),
-- away (it cannot be reached, or refuses us), asked (it wants us to wait), slow (no answer in
-- time), or nothing (it was not asked after all).
create type dripdrop._signal as (
  adapter_id uuid,
  http_hook_id uuid,
  host text,
  execution_id uuid,
  claimed_at timestamptz,
  says text,
  code text,
  detail text,
  retry_after float8
);

comment on type dripdrop._signal is 'What one answer says about a server.';

-- How many of the answers say so, and by_execution what each says; the rest is of the worst one.
create type dripdrop._asked_server as (
  adapter_id uuid,
  http_hook_id uuid,
  host text,
  answers bigint,
  faults bigint,
  asked bigint,
  slow bigint,
  retry_after float8,
  code text,
  detail text,
  execution_id uuid,
  by_execution jsonb
);

comment on type dripdrop._asked_server is 'What the answers of a batch say about a server.';

-- One row of claim_renders().
create type dripdrop._render_claim as (
  execution_id uuid,
  fence int,
  message_id bigint,
  tenant_key text,
  channel text,
  template_hash text,
  template jsonb,
  mailboxes text array,
  variables jsonb,
  unsubscribe jsonb
);

comment on type dripdrop._render_claim is 'One row of claim_renders().';

-- One row of status().
create type dripdrop._status as (
  part text,
  name text,
  tenant_key text,
  number bigint,
  since timestamptz,
  detail text
);

comment on type dripdrop._status is 'One row of status().';

-- One row of startup_check().
create type dripdrop._problem as (
  problem text,
  detail text,
  hint text,
  blocks boolean
);

comment on type dripdrop._problem is 'One row of startup_check().';

-- One row of explain().
create type dripdrop._explanation as (
  phase text,
  step text,
  occurrence int,
  at timestamptz,
  place int,
  gate text,
  open boolean,
  reason text,
  detail text,
  until timestamptz,
  next_action text,
  next_at timestamptz
);

comment on type dripdrop._explanation is 'One row of explain().';

-- One row of simulate().
create type dripdrop._moment as (
  at timestamptz,
  step_key text,
  channel text,
  action text,
  reason text,
  recipient text
);

comment on type dripdrop._moment is 'One row of simulate().';

-- What is to be suppressed: a row of suppressions before it is one.
create type dripdrop._suppression as (
  tenant_key text,
  channel text,
  recipient text,
  topic text,
  reason text,
  source text,
  metadata jsonb,
  expires_at timestamptz
);

comment on type dripdrop._suppression is 'One suppression that is to be written.';

-- What list_enrollments() says about one enrolment: with the key of its sequence, which those who
-- may not read tables know it by.
create type dripdrop.enrollment as (
  id uuid,
  sequence text,
  version int,
  subscriber_type text,
  subscriber_id text,
  entry_key text,
  state text,
  exit_reason text,
  data jsonb,
  metadata jsonb,
  started_at timestamptz,
  paused_at timestamptz,
  completed_at timestamptz,
  cancelled_at timestamptz,
  updated_at timestamptz
);

comment on type dripdrop.enrollment is
  'One enrolment of somebody: in which version of which sequence, and what became of it.';

-- What list_messages() says about one message.
create type dripdrop.message as (
  execution_id uuid,
  enrollment_id uuid,
  subscriber_type text,
  subscriber_id text,
  entry_key text,
  sequence text,
  step text,
  occurrence int,
  channel text,
  sender text,
  recipient text,
  state text,
  reason text,
  reason_at timestamptz,
  scheduled_for timestamptz,
  due_at timestamptz,
  claimed_at timestamptz,
  ended_at timestamptz,
  provider_message_id text,
  error_message text
);

comment on type dripdrop.message is
  'One message of somebody: of which step it is, what became of it, and why.';

-- What enroll_many(on_error) says about one element of its list: the enrolment or, as the fields of
-- an error, why there is none.
create type dripdrop.enrolled as (
  place int,
  subscriber_type text,
  subscriber_id text,
  entry_key text,
  enrollment_id uuid,
  state text,
  sqlstate text,
  message text,
  field text,
  hint text
);

comment on type dripdrop.enrolled is
  'One element of a list of subscribers: its enrolment, or why it has none.';
