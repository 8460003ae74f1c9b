create table dripdrop.prune_marks (
  kind text not null,
  after_id uuid not null,
  constraint prune_marks_pkey primary key (kind)
);

comment on table dripdrop.prune_marks is
  'How far prune() has come with each kind of row; at the end it begins anew.';
comment on column dripdrop.prune_marks.kind is 'The table.';
comment on column dripdrop.prune_marks.after_id is 'The last row that it has looked at.';
