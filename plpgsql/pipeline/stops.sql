-- Stops that have no execution at hand exclude claims by advisory locks. The stop takes its slot
-- alone, claim_sends() shares it and does not wait. Either the claim commits first, and the message
-- has left; or the stop does, and the claim's gates see it.

-- Advisory locks are one space for the whole database;
-- the class keeps ours apart from the application's.
create or replace function dripdrop._stop_class()
returns int
language sql
immutable
parallel safe
return hashtext('dripdrop.stop');

comment on function dripdrop._stop_class() is 'The class of the advisory locks of stops.';

-- Recipients share a fixed number of slots, which bounds the locks a claim holds.
create or replace function dripdrop._recipient_slot(recipient text)
returns int
language sql
immutable
parallel safe
return hashtext(recipient) & 1023;

comment on function dripdrop._recipient_slot(text) is
  'The slot, 0 to 1023, of a recipient that is being suppressed.';

create or replace function dripdrop._switch_slot()
returns int
language sql
immutable
parallel safe
return 1024;

comment on function dripdrop._switch_slot() is
  'The slot of whatever is being switched on or off: a sequence, a step, a sender.';

create or replace function dripdrop._exclude_claims()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform pg_advisory_xact_lock(dripdrop._stop_class(), dripdrop._switch_slot());
  return null;
end
$$;

comment on function dripdrop._exclude_claims() is
  'Trigger: while something is switched on or off, nothing passes the fence.';

create or replace trigger sequences_stop_claims
before update of active on dripdrop.sequences
for each statement
execute function dripdrop._exclude_claims();

create or replace trigger steps_stop_claims
before update of active on dripdrop.steps
for each statement
execute function dripdrop._exclude_claims();

create or replace trigger channel_adapters_stop_claims
before update of active on dripdrop.channel_adapters
for each statement
execute function dripdrop._exclude_claims();
