-- Of one SQL function a caller has at most two calls under way, so that a slow one leaves places to
-- the others.
create or replace function dripdrop._free_places(kind text, hook jsonb, busy jsonb)
returns int
language sql
immutable
parallel safe
return case kind when 'http' then (hook ->> 'max_in_flight')::int else 2 end
  - coalesce((busy ->> (hook ->> 'id'))::int, 0);

comment on function dripdrop._free_places(text, jsonb, jsonb) is
  'How many calls of a hook a caller may begin, of whom so many are under way.';

-- raises  ZD201
create or replace function dripdrop._check_busy(busy jsonb)
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
  perform dripdrop._check_json(busy, 'busy');
  if jsonb_typeof(busy) is distinct from 'object'
    or exists (
      select from jsonb_each(busy) as b
      where b.key !~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
        or b.value::text !~ '^[0-9]{1,6}$'
    )
  then
    raise exception 'busy is not a count of calls by hook' using
      errcode = 'ZD201', column = 'busy',
      hint = 'Pass {"the id of a hook": how many of its calls are under way}.';
  end if;
end
$$;

comment on function dripdrop._check_busy(jsonb) is 'Raises ZD201 on what does not count calls.';

-- A function that all tenants share counts as another tenant's.
create or replace function dripdrop._calls_by_tenant(busy jsonb)
returns table (kind text, tenant_key text, calls int)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select h.kind, h.tenant_key, sum((busy ->> h.id::text)::int)::int
  from (
    select 'http' as kind, n.id, coalesce(n.tenant_key, '') as tenant_key
    from dripdrop.http_hooks as n
    where n.id in (select k.id::uuid from jsonb_object_keys(busy) as k (id))
    union all
    select 'sql', n.id, coalesce(n.tenant_key, '')
    from dripdrop.hooks as n
    where n.id in (select k.id::uuid from jsonb_object_keys(busy) as k (id))
  ) as h
  group by h.kind, h.tenant_key
$$;

comment on function dripdrop._calls_by_tenant(jsonb) is
  'How many calls of each tenant''s hooks a caller has under way.';

-- One tenant has half of all places at most: whoever comes next need not wait for its endpoints and
-- functions.
create or replace function dripdrop._places_per_tenant(kind text, busy jsonb, free int)
returns int
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select greatest((free + coalesce(sum(c.calls), 0) + 1) / 2, 1)::int
  from dripdrop._calls_by_tenant(busy) as c
  where c.kind = _places_per_tenant.kind
$$;

comment on function dripdrop._places_per_tenant(text, jsonb, int) is
  'How many calls of one tenant''s hooks of a kind a caller may have under way, who has so many '
  'places free.';

create or replace function dripdrop._full_hooks(busy jsonb, functions int, batch_size int)
returns uuid[]
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select array(
    select h.id
    from jsonb_each_text(busy) as b
    join dripdrop.http_hooks as h on h.id = b.key::uuid
    where b.value::int >= h.max_in_flight
    union all
    select h.id
    from dripdrop.hooks as h
    where functions <= 0 or (busy ->> h.id::text)::int >= 2
    union all
    select h.id
    from dripdrop._calls_by_tenant(busy) as c
    join dripdrop.http_hooks as h on coalesce(h.tenant_key, '') = c.tenant_key
    where c.kind = 'http' and c.calls >= dripdrop._places_per_tenant('http', busy, batch_size)
    union all
    select h.id
    from dripdrop._calls_by_tenant(busy) as c
    join dripdrop.hooks as h on coalesce(h.tenant_key, '') = c.tenant_key
    where c.kind = 'sql' and c.calls >= dripdrop._places_per_tenant('sql', busy, functions)
  )
$$;

comment on function dripdrop._full_hooks(jsonb, int, int) is
  'The hooks that have no place for a call.';

-- A place is handed out when each of its hooks has room for it, and there is a function''s place if
-- it asks functions: those are called one after the other. Where there is nothing to call, nothing
-- is needed.
create or replace function dripdrop._callable_places(
  wanted dripdrop._wanted_hook[],
  busy jsonb,
  functions int
)
returns bigint[]
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select array(
    select w.place
    from (
      select
        w.place,
        w.error is not null
        or (
          row_number() over (partition by w.hook ->> 'id' order by w.place)
          <= dripdrop._free_places(w.kind, w.hook, busy)
          and (
            w.kind <> 'sql'
            or functions
            >= dense_rank() over (partition by w.kind, w.error is null order by w.place)
            and dripdrop._places_per_tenant('sql', busy, functions) - coalesce(c.calls, 0)
            >= dense_rank() over (
              partition by w.kind, w.error is null, coalesce(h.tenant_key, '') order by w.place
            )
          )
        ) as fits
      from unnest(wanted) as w
      left join dripdrop.hooks as h on w.kind = 'sql' and h.id = (w.hook ->> 'id')::uuid
      left join dripdrop._calls_by_tenant(busy) as c
        on c.kind = 'sql' and c.tenant_key = coalesce(h.tenant_key, '') and w.kind = 'sql'
    ) as w
    group by w.place
    having bool_and(w.fits)
    order by w.place
  )
$$;

comment on function dripdrop._callable_places(dripdrop._wanted_hook[], jsonb, int) is
  'The places of what can be asked at once.';
