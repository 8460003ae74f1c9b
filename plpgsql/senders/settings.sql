-- The driver reads these before it opens an account. type is text, integer, boolean or object; a
-- value is one of choices, or matches pattern.
create or replace function dripdrop.provider_settings()
returns table (
  kind text,
  field text,
  type text,
  choices text[],
  pattern text,
  hint text,
  secret boolean,
  required boolean,
  destination boolean
)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
  select
    f.kind, f.field, case f.type when 'switch' then 'object' else f.type end, f.choices, f.pattern,
    coalesce(f.hint, f.description), f.secret, f.required, f.destination
  from dripdrop.providers() as p
  join dripdrop.fields as f on f.kind = p.channel || '.' || p.provider
  order by f.kind, f.place
$$;

comment on function dripdrop.provider_settings() is
  'What a sender of each kind (channel.provider) says about itself: type, choices or pattern, a '
  'hint, whether it is secret, required, or part of where the credentials go.';

create or replace function dripdrop._unknown_setting_hint(kind text, field text)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select concat_ws(
    ' ',
    case
      when nearest.secret then format('Seal "%s" with "dripdrop seal".', nearest.field)
      when nearest.field is not null then format('Write "%s" instead.', nearest.field)
    end,
    format('The fields are %s.', (
      select regexp_replace(
        string_agg(f.field, ', ' order by f.place), ', ([a-z0-9_]+)$', E' and \\1'
      )
      from dripdrop.fields as f
      where f.kind = _unknown_setting_hint.kind and not f.secret
    ))
  )
  from (values (1)) as one
  left join lateral (
    select f.field, f.secret
    from dripdrop.fields as f
    where f.kind = _unknown_setting_hint.kind
      and dripdrop._likeness(f.field, lower(_unknown_setting_hint.field)) >= 0.5
    order by dripdrop._likeness(f.field, lower(_unknown_setting_hint.field)) desc, f.place
    limit 1
  ) as nearest on true
$$;

comment on function dripdrop._unknown_setting_hint(text, text) is
  'What to say to whoever wrote a field that a sender of a kind does not have: the nearest, and '
  'all.';

-- Required is asked for only where nothing is sealed: what is sealed may hold it. No value is
-- shown.
create or replace function dripdrop._setting_problems(kind text, config jsonb, sealed boolean)
returns table (field text, problem text, hint text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select
    f.field,
    case
      when f.missing then format('%s is missing', f.field)
      when s.choices is not null
      then format('%s is none of %s', f.field, array_to_string(s.choices, ', '))
      when s.type = 'text' and jsonb_typeof(_setting_problems.config -> f.field) = 'string'
      then format('%s is malformed', f.field)
      else format('%s is no %s', f.field, s.type)
    end,
    s.hint
  from dripdrop._field_faults(_setting_problems.kind, _setting_problems.config) as f
  join dripdrop.provider_settings() as s
    on s.kind = _setting_problems.kind and s.field = f.field
  where not (f.missing and _setting_problems.sealed)
  union all
  select
    'security', 'the login would leave without TLS',
    'Choose starttls or tls, or set allow_plain to true for a server on this machine.'
  where _setting_problems.config ->> 'security' = 'none'
    and _setting_problems.config ->> 'username' <> ''
    and _setting_problems.config -> 'allow_plain' is distinct from 'true'
    and exists (
      select from dripdrop.fields as f
      where f.kind = _setting_problems.kind and f.field = 'allow_plain'
    )
$$;

comment on function dripdrop._setting_problems(text, jsonb, boolean) is
  'What keeps a config from working for a provider, field by field.';
