-- Where ticks begin to look for what is due while a look from the beginning takes long: at most one
-- row, see plpgsql/pipeline/due.sql.
create table dripdrop.due_looks (
  only_one boolean not null default true,
  first_due_at timestamptz not null,
  at timestamptz not null,
  good_until timestamptz not null,
  constraint due_looks_pkey primary key (only_one),
  constraint due_looks_are_one check (only_one)
)
with (fillfactor = 10);

comment on table dripdrop.due_looks is
  'The last look for what is due that began at the beginning and took long.';
comment on column dripdrop.due_looks.only_one is 'There is one row, or none.';
comment on column dripdrop.due_looks.first_due_at is 'due_at of the first message that it found.';
comment on column dripdrop.due_looks.at is 'When it was.';
comment on column dripdrop.due_looks.good_until is
  'Until when others begin where it found something, by the machine''s clock.';
