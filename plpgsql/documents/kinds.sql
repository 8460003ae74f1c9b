create or replace function dripdrop._kinds_by_type()
returns table (
  kind text, noun text, errcode text, example text, words text, text_hint text,
  settings boolean, switched boolean, blank boolean, open boolean
)
language sql
stable
parallel safe
begin atomic
  select
    'timing.' || t.name, 'a timing of type "' || t.name || '"', 'ZD203',
    'Write {"type": "immediate"}, {"type": "delay", "delay_amount": 3, "delay_unit": "days"}, '
    '{"type": "cron", "cron_expression": "0 9 * * MON"}, {"type": "event", "trigger_event": '
    '"order_completed"} or "in 3 days".',
    'timing', null, false, false, false, false
  from (
    values ('immediate'), ('delay'), ('cron'), ('interval'), ('relative'), ('event')
  ) as t (name)
  union all
  select
    'condition.' || t.name, 'a condition of type "' || t.name || '"', 'ZD208',
    'Write for example {"predicate": "$.enrollment.score > 70"}.',
    'condition', 'Write it in double quotes.', false, false, false, false
  from (
    values ('enrollment_data'), ('event'), ('hook'), ('predicate'), ('time_window')
  ) as t (name)
  union all
  select
    'template.' || c.channel, 'a template for ' || c.channel, 'ZD201',
    'The fields of a template for ' || c.channel || ' are ' || (
      select string_agg(f.field, ', ' order by f.place)
      from dripdrop.fields as f
      where f.kind = 'template.' || c.channel
    ) || '.',
    'template', 'Write it in double quotes.', false, false, false, false
  from dripdrop.channels as c;
end;

comment on function dripdrop._kinds_by_type() is
  'The kinds of timings and conditions, by their type, and of templates, by their channel.';

-- What holds for a whole kind of document: what messages call it, what refuses a bad one, an
-- example of it, whose words from elsewhere it knows, and what to say where a text should be.
-- settings: one hint lists all of them. switched: false switches it off. blank: null and an empty
-- text are as good as left out. open: other fields are the application's own.
create or replace function dripdrop._kinds()
returns table (
  kind text, noun text, errcode text, example text, words text, text_hint text,
  settings boolean, switched boolean, blank boolean, open boolean
)
language sql
stable
parallel safe
begin atomic
  values
  (
    'sequence', 'a sequence', 'ZD206', 'Pass {"key": …, "name": …, "steps": […]}.',
    'sequence', 'Write it in double quotes.', false, false, false, false
  ),
  (
    'sequence.config', 'config', 'ZD201', 'Pass an object, for example ''{}''.', null, null,
    true, false, false, false
  ),
  (
    'sequence.metadata', 'metadata', 'ZD201', 'Pass an object, for example ''{}''.', null, null,
    false, false, false, true
  ),
  (
    'step', 'a step', 'ZD201',
    'Write {"key": …, "channel": …, "timing": …, "template": …}.', 'step',
    'Write it in double quotes.', false, false, false, false
  ),
  (
    'step.config', 'config', 'ZD201', 'Pass an object, for example ''{"max_retries": 5}''.',
    'config', null, true, false, false, false
  ),
  (
    'transition', 'a transition', 'ZD206', 'Write {"to": "offer", "conditions": […]}.',
    'transition', null, false, false, false, false
  ),
  (
    'hook', 'a hook', 'ZD201', 'Write {"key": …, "url": …}.', 'hook',
    'Write it in double quotes.', false, false, true, false
  ),
  (
    'send_window', 'a send window', 'ZD201',
    'Write for example {"start": "08:00", "end": "21:00"}, or false for no window.', null, null,
    false, true, false, false
  ),
  (
    'thresholds', 'thresholds', 'ZD201',
    'For example {"bounce_rate": 0.05}; false switches them off.', null, null,
    true, true, false, false
  ),
  (
    'retention', 'retention', 'ZD201',
    'For example {"events": "90 days"}; null keeps things for ever.', null, null,
    false, false, false, false
  ),
  (
    'rate_limits', 'rate_limits', 'ZD209',
    'Write rates by scope, for example {"adapter": "60/m", "recipient": "2/24h"}.', null, null,
    false, false, false, false
  ),
  (
    'sender', 'a sender of a rotation', 'ZD201',
    'Write its name, or {"adapter": "Postmark", "weight": 3}.', null, null,
    false, false, false, false
  ),
  (
    'tenant_settings', 'the settings of a tenant', 'ZD201', 'Write {"time_zone": "Europe/Berlin"}.',
    null, null, false, false, false, false
  ),
  (
    'adapter_limits', 'the limits of a sender', 'ZD201', 'Write {"daily_cap": 500}.', null, null,
    false, false, false, false
  ),
  (
    'sequence_budget', 'the budget of a version', 'ZD201', 'Write {"max_share_pct": 30}.', null,
    null, false, false, false, false
  ),
  (
    'frequency_cap', 'a frequency cap', 'ZD201',
    'Write {"key": "weekly", "max_messages": 3, "per": "7 days"}.', null, null,
    false, false, false, false
  ),
  (
    'channel', 'a channel', 'ZD201', 'Write {"channel": "fax", "address_form": "phone"}.', null,
    null, false, false, false, false
  ),
  (
    'provider', 'a provider', 'ZD201', 'Write {"provider": "acme"}.', null, null,
    false, false, false, false
  ),
  (
    'template_field', 'a field of a template', 'ZD201', 'Write {"field": "text"}.', null, null,
    false, false, false, false
  ),
  (
    'setting', 'a setting', 'ZD201', 'Write {"field": "api_key", "secret": true}.', null, null,
    false, false, false, false
  )
  union all
  select f.* from dripdrop._kinds_by_type() as f;
end;

comment on function dripdrop._kinds() is 'The kinds of documents, and how each is refused.';

create or replace function dripdrop._fields_hint(kind text, settings boolean)
returns text
language sql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select case
    when settings then format(
      'Settings: %s.',
      string_agg(
        concat(f.field, ' (' || coalesce(f.hint, array_to_string(f.choices, ', ')) || ')'), ', '
        order by f.place
      )
    )
    else format(
      'The fields are %s.',
      regexp_replace(string_agg(f.field, ', ' order by f.place), ', ([a-z_]+)$', E' and \\1')
    )
  end
  from dripdrop.fields as f
  where f.kind = _fields_hint.kind
$$;

comment on function dripdrop._fields_hint(text, boolean) is
  'What to say to whoever wrote a field that a kind of document does not have.';

create or replace function dripdrop._presets(kind text)
returns jsonb
language sql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select jsonb_object_agg(f.field, f.preset)
  from dripdrop.fields as f
  where f.kind = _presets.kind and f.preset is not null
$$;

comment on function dripdrop._presets(text) is
  'What holds for the fields that a document of a kind leaves out.';

create or replace function dripdrop._fields_given(document jsonb)
returns jsonb
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(jsonb_object_agg(f.field, f.value), '{}')
  from jsonb_each(document) as f (field, value)
  where f.value <> 'null'
$$;

comment on function dripdrop._fields_given(jsonb) is 'The fields of a document that are not null.';

create or replace function dripdrop._plain(description text)
returns text
language sql
immutable
parallel safe
return regexp_replace(
  regexp_replace(description, '\[([^]]*)\]\([^)]*\)', '\1', 'g'), '`([^`]*)`', '\1', 'g'
);

comment on function dripdrop._plain(text) is
  'The description of a field without its Markdown: for editors, and for comments.';
