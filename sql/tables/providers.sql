create table dripdrop.providers (
  channel text not null,
  provider text not null,
  idempotent boolean not null default false,
  batch_size int not null default 1,
  shipped boolean not null default false,
  constraint providers_pkey primary key (channel, provider),
  constraint providers_of_a_channel foreign key (channel) references dripdrop.channels (channel),
  constraint providers_name_is_a_slug check (provider ~ '^[a-z][a-z0-9_]{0,62}$'),
  constraint providers_batch_size_is_positive check (batch_size > 0)
);

comment on table dripdrop.providers is
  'What sends over a channel. What its accounts say about themselves is in fields, under the '
  'channel and its name.';
comment on column dripdrop.providers.channel is 'The channel.';
comment on column dripdrop.providers.provider is 'Its name, unique in the channel.';
comment on column dripdrop.providers.idempotent is
  'Whether a second request with our key delivers nothing twice, so that an uncertain send is '
  'repeated.';
comment on column dripdrop.providers.batch_size is
  'How many messages one call takes; for senders to read, the engine does not.';
comment on column dripdrop.providers.shipped is
  'Whether it comes with DripDrop; others were registered, and upgrades leave them alone.';
