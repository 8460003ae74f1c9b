-- What nobody has looked at for days is not blasted out: marketing is held unless its step says
-- otherwise. Whoever has to get a message gets it late.
create or replace function dripdrop._on_stale(config jsonb)
returns text
language sql
immutable
parallel safe
return coalesce(
  config ->> 'on_stale', case config ->> 'kind' when 'transactional' then 'send' else 'hold' end
);

comment on function dripdrop._on_stale(jsonb) is
  'What happens to a stale message of a step: send, skip or hold.';

create or replace function dripdrop._stale_after(config jsonb)
returns interval
language sql
immutable
parallel safe
return coalesce(
  (config ->> 'stale_after')::interval,
  case when dripdrop._on_stale(config) <> 'send' then interval '3 days' end
);

comment on function dripdrop._stale_after(jsonb) is
  'How long overdue a message of a step is still of use; null for ever.';
