-- A function that looks somebody up in silence would show nobody for a name that is misspelt.
--
-- raises  ZD201
create or replace function dripdrop._check_subscriber(subscriber_type text, subscriber_id text)
returns void
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if coalesce(subscriber_type, '') = '' or coalesce(subscriber_id, '') = '' then
    raise exception 'a subscriber needs a type and an id' using
      errcode = 'ZD201', column = 'subscriber_id',
      hint = 'For example subscriber_type => ''User'', subscriber_id => ''42''.';
  end if;
end
$$;

comment on function dripdrop._check_subscriber(text, text) is
  'Raises ZD201 where a subscriber is not named whole.';
