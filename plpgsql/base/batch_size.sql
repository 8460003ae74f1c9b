create or replace function dripdrop._check_batch_size(batch_size int)
returns void
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if coalesce(batch_size not between 1 and 100000, true) then
    raise exception 'batch_size % is not from 1 to 100000', batch_size using
      errcode = 'ZD201', column = 'batch_size', hint = 'Leave it out for a sensible size.';
  end if;
end
$$;

comment on function dripdrop._check_batch_size(int) is
  'Raises ZD201 on a batch of nothing or of everything.';
