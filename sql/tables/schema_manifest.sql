create table dripdrop.schema_manifest (
  kind text not null,
  name text not null,
  definition text not null,
  constraint schema_manifest_pkey primary key (kind, name)
);

comment on table dripdrop.schema_manifest is
  'What the installation created; check_schema() compares the catalogue with it.';
comment on column dripdrop.schema_manifest.kind is
  'column, constraint, index, function, trigger, policy or view.';
comment on column dripdrop.schema_manifest.name is
  'The object, qualified by its table where it has one.';
comment on column dripdrop.schema_manifest.definition is
  'Its definition as the catalogue prints it, or a digest of a long one.';
