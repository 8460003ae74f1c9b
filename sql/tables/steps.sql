create table dripdrop.steps (
  id uuid not null default dripdrop._uuidv7(),
  sequence_version_id uuid not null,
  tenant_key text,
  key text not null,
  name text not null,
  position int,
  channel text not null,
  timing jsonb not null default '{"type": "immediate"}',
  recurring boolean not null
  generated always as (coalesce((timing ->> 'recurring')::boolean, false)) stored,
  template_type text not null default 'inline',
  template_content jsonb not null default '{}',
  template_hash text generated always as (dripdrop._digest(template_content::text)) stored,
  template_module text,
  template_function text,
  channel_adapter_id uuid,
  adapter_override_id uuid,
  hooks text[] not null default '{}',
  config jsonb not null default '{}',
  active boolean not null default true,
  inserted_at timestamptz not null default dripdrop._now(),
  updated_at timestamptz not null default dripdrop._now(),
  constraint steps_pkey primary key (id),
  constraint steps_of_a_version foreign key (sequence_version_id)
  references dripdrop.sequence_versions (id) on delete cascade,
  constraint steps_of_a_channel foreign key (channel) references dripdrop.channels (channel),
  constraint steps_channel_adapter foreign key (channel_adapter_id)
  references dripdrop.channel_adapters (id) on delete set null,
  constraint steps_adapter_override foreign key (adapter_override_id)
  references dripdrop.channel_adapters (id) on delete set null,
  constraint steps_one_key_per_version unique (sequence_version_id, key),
  constraint steps_one_step_per_position unique (sequence_version_id, position),
  constraint steps_key_is_a_slug check (key ~ '^[a-z0-9][a-z0-9_-]*$'),
  constraint steps_template_type_is_known check (template_type in ('inline', 'module', 'external')),
  constraint steps_name_one_adapter check (
    channel_adapter_id is null or adapter_override_id is null
  ),
  constraint steps_config_is_an_object check (jsonb_typeof(config) = 'object')
);

comment on table dripdrop.steps is
  'One message of a version: when, over which channel, with which words.';
comment on column dripdrop.steps.id is 'Time-ordered uuid.';
comment on column dripdrop.steps.sequence_version_id is 'The version.';
comment on column dripdrop.steps.tenant_key is 'The tenant of the version.';
comment on column dripdrop.steps.key is
  'What the application calls it: lower case, unique in the version.';
comment on column dripdrop.steps.name is 'What people call it.';
comment on column dripdrop.steps.position is
  'Place in the linear flow; null is reached only by a transition.';
comment on column dripdrop.steps.channel is 'What it is sent over: see channels().';
comment on column dripdrop.steps.timing is
  'Canonical: {"type": "immediate"}, {"type": "delay", "delay_amount": 3, "delay_unit": "days"} or '
  '{"type": "cron", "cron_expression": "0 9 * * MON", "timezone": "Europe/Berlin"}; other types '
  'are interval, relative and event.';
comment on column dripdrop.steps.recurring is
  'Whether it is a side step: it fires again and again and never leads on.';
comment on column dripdrop.steps.template_type is 'inline: template_content holds Liquid.';
comment on column dripdrop.steps.template_content is
  'Liquid by field: which there are is in fields(), under template and the channel.';
comment on column dripdrop.steps.template_hash is
  'SHA-256 of the content: what a renderer keys its parsed template on.';
comment on column dripdrop.steps.template_module is
  'For a template_type module: the renderer''s module. Nothing reads it yet.';
comment on column dripdrop.steps.template_function is
  'For a template_type module: the function in it. Nothing reads it yet.';
comment on column dripdrop.steps.channel_adapter_id is
  'The sender of this step; null leaves the choice to the sequence and the defaults.';
comment on column dripdrop.steps.adapter_override_id is
  'Outbound only: another sender than the enrolment''s, and a new thread. Nothing chooses it yet.';
comment on column dripdrop.steps.hooks is
  'The hooks whose values are fetched before it is decided: those that its conditions, its '
  'transitions and its template name. Set on activation.';
comment on column dripdrop.steps.config is 'Settings of the step.';
comment on column dripdrop.steps.active is 'False skips the step.';
comment on column dripdrop.steps.inserted_at is 'When the row was made.';
comment on column dripdrop.steps.updated_at is 'When the row last changed.';
