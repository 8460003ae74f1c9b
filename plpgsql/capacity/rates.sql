-- What people write as a rate: "60/m", "2/24h", "10/minute", {"count": 60, "seconds": 60} and the
-- like. A limit that silently did nothing would be the worst of all, so nothing else is accepted.
--
-- raises  ZD209, with the path of the fault
create or replace function dripdrop._canonical_rate(rate jsonb, field text)
returns jsonb
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_text text[];
  v_unit int;
  v_count numeric;
  v_seconds numeric;
begin
  if rate = 'false' then
    return rate;
  end if;
  if jsonb_typeof(rate) = 'object' then
    v_count := dripdrop._number(coalesce(rate -> 'count', rate -> 'limit', rate -> 'max'));
    v_seconds := dripdrop._number(
      coalesce(rate -> 'seconds', rate -> 'window_seconds', rate -> 'period_seconds')
    );
  elsif jsonb_typeof(rate) = 'string' then
    v_text := regexp_match(
      btrim(rate #>> '{}'), '^([0-9]{1,9}) */ *([0-9]{0,6}) *([a-z]{1,10})$', 'i'
    );
    v_unit := case
      when v_text[3] ~* '^(s|sec|seconds?)$' then 1
      when v_text[3] ~* '^(m|min|minutes?)$' then 60
      when v_text[3] ~* '^(h|hr|hours?)$' then 3600
      when v_text[3] ~* '^(d|days?)$' then 86400
    end;
    v_count := v_text[1]::numeric;
    v_seconds := coalesce(nullif(v_text[2], '')::int, 1) * v_unit;
  end if;
  if (
    v_count between 1 and 1000000000 and v_count = floor(v_count)
    and v_seconds between 1 and 31536000
  ) is not true
  then
    raise exception 'rate % does not parse', dripdrop._quoted(rate #>> '{}') using
      errcode = 'ZD209', column = _canonical_rate.field,
      hint = 'Write "60/m", "2/24h", "10/minute", {"count": 60, "seconds": 60}, or false for none.';
  end if;
  return jsonb_build_object('count', v_count, 'seconds', v_seconds);
end
$$;

comment on function dripdrop._canonical_rate(jsonb, text) is
  'A rate in its stored form {"count", "seconds"}, or false.';

-- raises  ZD209, with the path of the fault
create or replace function dripdrop._canonical_rate_limits(rate_limits jsonb, field text)
returns jsonb
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_limit record;
  v_canonical jsonb := jsonb '{}';
begin
  perform dripdrop._check_document(
    rate_limits, 'rate_limits', _canonical_rate_limits.field || '.'
  );
  for v_limit in select * from jsonb_each(rate_limits) loop
    v_canonical := v_canonical || jsonb_build_object(
      v_limit.key,
      dripdrop._canonical_rate(
        v_limit.value, concat_ws('.', _canonical_rate_limits.field, v_limit.key)
      )
    );
  end loop;
  return v_canonical;
end
$$;

comment on function dripdrop._canonical_rate_limits(jsonb, text) is
  'Rates by scope in their stored form.';
