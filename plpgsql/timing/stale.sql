create or replace function dripdrop._stale_after(config jsonb)
returns interval
language sql
immutable
parallel safe
return (config ->> 'stale_after')::interval;

comment on function dripdrop._stale_after(jsonb) is
  'How long overdue a message of a step is still of use; null for ever.';
