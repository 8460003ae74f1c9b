-- Never a default of its own: a copy of the schema has another one, a restored dump the same.
create table dripdrop.erasure_secret (
  only_one boolean not null default true,
  salt bytea not null,
  inserted_at timestamptz not null default dripdrop._now(),
  constraint erasure_secret_pkey primary key (only_one),
  constraint erasure_secret_is_one check (only_one)
);

comment on table dripdrop.erasure_secret is
  'What the hashes of erased addresses and subscribers are salted with; empty until somebody is '
  'erased. Without it they match nobody.';
comment on column dripdrop.erasure_secret.only_one is 'True: there is one row.';
comment on column dripdrop.erasure_secret.salt is '244 random bits.';
comment on column dripdrop.erasure_secret.inserted_at is 'When somebody was first erased.';
