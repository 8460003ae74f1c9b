-- What a column holds that is a field, or a document of fields, is said by the rows of those: here,
-- once the other comments are in place. Of a document the fields follow what its own comment says.
do $$
declare
  v_comment record;
begin
  for v_comment in
    select
      c.relation, f.field as attribute,
      upper(left(dripdrop._plain(f.description), 1)) || substr(dripdrop._plain(f.description), 2)
      || '.' as words
    from (
      values
      ('tenant_settings', 'tenant_settings'),
      ('adapter_limits', 'channel_adapters'),
      ('sequence_budget', 'adapter_sequence_budgets'),
      ('frequency_cap', 'frequency_caps')
    ) as c (kind, relation)
    join dripdrop.fields as f on f.kind = c.kind and f.type <> 'document'
    union all
    select
      c.relation, c.attribute,
      concat_ws(
        ' ', col_description(a.attrelid, a.attnum),
        'Fields: ' || string_agg(f.field, ', ' order by f.place) || '.'
      )
    from (
      values
      ('step.config', 'steps', 'config'),
      ('sequence.config', 'sequence_versions', 'config'),
      ('sequence.metadata', 'sequences', 'metadata'),
      ('send_window', 'tenant_settings', 'send_window'),
      ('thresholds', 'tenant_settings', 'thresholds'),
      ('rate_limits', 'tenant_settings', 'rate_limits'),
      ('rate_limits', 'channel_adapters', 'rate_limits')
    ) as c (kind, relation, attribute)
    join dripdrop.fields as f on f.kind = c.kind
    join pg_catalog.pg_attribute as a
      on a.attrelid = ('dripdrop.' || c.relation)::regclass and a.attname = c.attribute
    group by c.relation, c.attribute, a.attrelid, a.attnum
  loop
    execute format(
      'comment on column dripdrop.%I.%I is %L',
      v_comment.relation, v_comment.attribute, v_comment.words
    );
  end loop;
end
$$;
