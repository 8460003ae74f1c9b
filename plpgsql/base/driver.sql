-- A daemon says of which version it is, in the transaction in which it claims. After an upgrade, or
-- its revert, it is of another one: what it holds it may still record, but it takes nothing more.
-- Nobody else has to say anything.
--
-- raises  ZD125 the daemon is of another version
create or replace function dripdrop._check_driver()
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
  if nullif(current_setting('dripdrop.driver_version', true), '') <> dripdrop.version() then
    raise exception 'the schema is of version "%", the daemon of "%"',
      dripdrop.version(), current_setting('dripdrop.driver_version') using
      errcode = 'ZD125',
      hint = format(
        'Install version %s of the package dripdrop-postgres, and start it again.',
        dripdrop.version()
      );
  end if;
end
$$;

comment on function dripdrop._check_driver() is
  'Refuses work to a daemon that says in dripdrop.driver_version that it is of another version.';
