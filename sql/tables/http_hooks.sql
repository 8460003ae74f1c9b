create table dripdrop.http_hooks (
  id uuid not null default dripdrop._uuidv7(),
  sequence_id uuid not null,
  tenant_key text,
  key text not null,
  name text not null,
  description text,
  method text not null default 'POST',
  url text not null,
  timeout_ms int not null default 5000,
  retry_count int not null default 2,
  retry_for interval not null default '1 hour',
  max_in_flight int not null default 8,
  auth_type text not null default 'none',
  auth_config bytea,
  headers jsonb not null default '{}',
  body_template text,
  response_path text,
  response_type text not null default 'json',
  active boolean not null default true,
  last_test_at timestamptz,
  last_test_result jsonb,
  inserted_at timestamptz not null default dripdrop._now(),
  updated_at timestamptz not null default dripdrop._now(),
  constraint http_hooks_pkey primary key (id),
  constraint http_hooks_of_a_sequence foreign key (sequence_id)
  references dripdrop.sequences (id) on delete cascade,
  constraint http_hooks_one_key_per_sequence unique (sequence_id, key),
  constraint http_hooks_key_is_a_slug check (key ~ '^[a-z0-9][a-z0-9_-]*$'),
  constraint http_hooks_method_is_known check (method in ('GET', 'POST', 'PUT', 'PATCH', 'DELETE')),
  constraint http_hooks_timeout_is_bounded check (timeout_ms between 1 and 30000),
  constraint http_hooks_retries_are_bounded check (retry_count between 0 and 5),
  constraint http_hooks_are_tried_for_a_time check (
    retry_for between interval '0' and interval '30 days'
  ),
  constraint http_hooks_places_are_bounded check (max_in_flight between 1 and 999),
  constraint http_hooks_auth_type_is_known check (
    auth_type in ('none', 'bearer', 'basic', 'header')
  ),
  constraint http_hooks_response_type_is_known check (
    response_type in ('json', 'text', 'number', 'boolean')
  )
);

comment on table dripdrop.http_hooks is
  'A value fetched over HTTP by the daemon before a step is decided or rendered.';
comment on column dripdrop.http_hooks.id is 'Time-ordered uuid.';
comment on column dripdrop.http_hooks.sequence_id is 'The sequence.';
comment on column dripdrop.http_hooks.tenant_key is 'The tenant of the sequence.';
comment on column dripdrop.http_hooks.key is 'The name of its value in templates and conditions.';
comment on column dripdrop.http_hooks.name is 'What people call it.';
comment on column dripdrop.http_hooks.description is 'What it is for.';
comment on column dripdrop.http_hooks.method is 'GET, POST, PUT, PATCH or DELETE.';
comment on column dripdrop.http_hooks.url is 'Liquid; https only.';
comment on column dripdrop.http_hooks.timeout_ms is 'Milliseconds per attempt, at most 30 000.';
comment on column dripdrop.http_hooks.retry_count is 'Attempts after the first, at most 5.';
comment on column dripdrop.http_hooks.retry_for is
  'How long it is asked again after an answer that may pass, before it fails closed.';
comment on column dripdrop.http_hooks.max_in_flight is
  'Calls that one worker has under way at a time, at most.';
comment on column dripdrop.http_hooks.auth_type is 'none, bearer, basic or header.';
comment on column dripdrop.http_hooks.auth_config is 'AES-256-GCM envelope made by the driver.';
comment on column dripdrop.http_hooks.headers is 'Static request headers.';
comment on column dripdrop.http_hooks.body_template is 'Liquid; null sends no body.';
comment on column dripdrop.http_hooks.response_path is
  'jsonpath to the value; null takes the whole answer.';
comment on column dripdrop.http_hooks.response_type is 'json, text, number or boolean.';
comment on column dripdrop.http_hooks.active is 'False fails closed.';
comment on column dripdrop.http_hooks.last_test_at is 'When it was last tried by hand.';
comment on column dripdrop.http_hooks.last_test_result is 'What that gave, redacted.';
comment on column dripdrop.http_hooks.inserted_at is 'When the row was made.';
comment on column dripdrop.http_hooks.updated_at is 'When the row last changed.';
