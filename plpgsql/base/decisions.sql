-- The only place where a decision is put together: what is left out is null.
create or replace function dripdrop._as_decision(
  execution_id uuid,
  gate text,
  action text,
  reason text default null,
  detail text default null,
  until timestamptz default null,
  adapter_id uuid default null,
  recipient text default null,
  limited boolean default false,
  line_id uuid default null,
  waits_for text default null
)
returns dripdrop._decision
language sql
immutable
parallel safe
return row(
  execution_id, gate, action, reason, detail, until, adapter_id, recipient, limited, line_id,
  waits_for
)::dripdrop._decision;

comment on function dripdrop._as_decision(
  uuid, text, text, text, text, timestamptz, uuid, text, boolean, uuid, text
) is
  'A decision about an execution.';
