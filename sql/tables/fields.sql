create table dripdrop.fields (
  kind text not null,
  field text not null,
  place int not null,
  type text not null,
  choices text[],
  pattern text,
  minimum int,
  maximum int,
  holds text,
  nullable boolean not null default false,
  required boolean not null default false,
  preset jsonb,
  errcode text,
  hint text,
  description text not null,
  secret boolean not null default false,
  destination boolean not null default false,
  since text,
  constraint fields_pkey primary key (kind, field)
);

comment on table dripdrop.fields is
  'What documents may say, one row per field; see fields(), which shows it.';
comment on column dripdrop.fields.kind is
  'The kind of document: step, step.config, timing.delay, …, channel.provider for the settings '
  'of a sender, or what a function takes: tenant_settings, adapter_limits, ….';
comment on column dripdrop.fields.field is 'The field''s name, unique in its kind.';
comment on column dripdrop.fields.place is 'In which order fields are listed and looked at.';
comment on column dripdrop.fields.type is
  'text, key, title, integer, share, weight, boolean, object, list, any, interval, duration (or a '
  'number of seconds), time, time_zone, path, predicate, url, address (of a mailbox), mailbox '
  '(Liquid for one, its name included), document (looked at by itself), or switch (an object, or '
  'false).';
comment on column dripdrop.fields.choices is 'The values it has, or those of a list.';
comment on column dripdrop.fields.pattern is 'What its text matches.';
comment on column dripdrop.fields.minimum is
  'The least: of a number, the bytes of a text, the seconds of an interval, the elements of a '
  'list.';
comment on column dripdrop.fields.maximum is 'The most, of the same.';
comment on column dripdrop.fields.holds is 'The kind of document that it is, or a list of.';
comment on column dripdrop.fields.nullable is 'Whether it may be null.';
comment on column dripdrop.fields.required is 'Whether it has to be there.';
comment on column dripdrop.fields.preset is 'What holds where it is left out.';
comment on column dripdrop.fields.errcode is
  'What a bad value is refused with, unless as the rest of its document.';
comment on column dripdrop.fields.hint is
  'What to write, for whoever wrote something else; in brief for a setting.';
comment on column dripdrop.fields.description is 'What it is, in Markdown.';
comment on column dripdrop.fields.secret is 'Whether it stands in sealed credentials only.';
comment on column dripdrop.fields.destination is
  'Whether it says where sealed credentials go, so that it changes only together with them.';
comment on column dripdrop.fields.since is
  'The release that brought it; null where it was registered, which no upgrade touches.';
