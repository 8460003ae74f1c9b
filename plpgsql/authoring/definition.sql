-- A whole sequence as one document, in its one form, with every field of fields() present. Every
-- fault is reported with the path to it.
--
-- raises  ZD206 malformed, or what the part itself raises, always with the path in the message
create or replace function dripdrop._canonical_definition(tenant_key text, definition jsonb)
returns jsonb
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_new jsonb;
  v_parts jsonb := jsonb '{"hooks": [], "steps": []}';
  v_part record;
  v_path text := '';
  v_state text;
  v_message text;
  v_hint text;
  v_column text;
begin
  perform dripdrop._check_document(definition, 'sequence');
  v_new := dripdrop._canonical_sequence(
    tenant_key,
    '{"description": null, "time_zone": null, "reentry_interval": null, "exclusive_group": null}'
    || dripdrop._presets('sequence')
    || dripdrop._fields_given(definition)
  );
  for v_part in
    select 'hooks' as list, h.place, h.hook as document
    from jsonb_array_elements(v_new -> 'hooks') with ordinality as h (hook, place)
    union all
    select 'steps', s.place, s.step
    from jsonb_array_elements(v_new -> 'steps') with ordinality as s (step, place)
  loop
    v_path := format('%s[%s].', v_part.list, v_part.place - 1);
    v_parts := dripdrop._with_part(v_parts, tenant_key, v_part.list, v_part.document);
  end loop;
  v_path := '';
  v_new := v_new || v_parts;
  perform dripdrop._check_targets(v_new);
  return v_new;
exception
  when others then
    get stacked diagnostics
      v_state = returned_sqlstate,
      v_message = message_text,
      v_hint = pg_exception_hint,
      v_column = column_name;
    if v_state not like 'ZD%' then
      raise;
    end if;
    v_column := rtrim(v_path || v_column, '.');
    if v_column = '' then
      raise;
    end if;
    raise exception 'at %: %', dripdrop._quoted(v_column), v_message using
      errcode = v_state, column = v_column, hint = v_hint;
end
$$;

comment on function dripdrop._canonical_definition(text, jsonb) is
  'A sequence document, checked, with every field present.';

-- raises  what its parts raise, with the path of the fault in the diagnostics' column field
create or replace function dripdrop._canonical_sequence(tenant_key text, definition jsonb)
returns jsonb
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
  perform dripdrop._check_sequence(
    definition ->> 'reentry', definition ->> 'reentry_interval', definition -> 'metadata'
  );
  perform dripdrop._check_document(definition -> 'config', 'sequence.config', 'config.');
  return definition || jsonb_build_object(
    'reentry_interval', (definition ->> 'reentry_interval')::interval,
    'priority', (definition ->> 'priority')::int,
    'metadata', dripdrop._canonical_metadata(tenant_key, definition -> 'metadata'),
    'goals', dripdrop._canonical_conditions(definition -> 'goals', 'goals'),
    'exit_when', dripdrop._canonical_conditions(definition -> 'exit_when', 'exit_when'),
    'entry', dripdrop._canonical_transitions(definition -> 'entry', 'entry')
  );
end
$$;

comment on function dripdrop._canonical_sequence(text, jsonb) is
  'A sequence document with everything but its hooks and steps in its stored form.';

-- raises  ZD206 key used twice, or a step with a position, and what the part itself raises
create or replace function dripdrop._with_part(
  parts jsonb,
  tenant_key text,
  list text,
  part jsonb
)
returns jsonb
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_part jsonb;
begin
  if list = 'hooks' then
    v_part := dripdrop._canonical_http_hook(tenant_key, part);
  elsif part ? 'position' then
    raise exception 'a step of a document has no position' using
      errcode = 'ZD206', column = 'position', hint = 'Steps follow one another as they stand.';
  else
    v_part := jsonb_set(
      dripdrop._canonical_step(tenant_key, part),
      '{position}', to_jsonb(jsonb_array_length(parts -> 'steps') + 1)
    );
  end if;
  if parts -> list @> jsonb_build_array(jsonb_build_object('key', v_part -> 'key')) then
    raise exception '% key % is used twice',
      rtrim(list, 's'), dripdrop._quoted(v_part ->> 'key') using
      errcode = 'ZD206', column = 'key', hint = 'Keys are unique within a sequence.';
  end if;
  return jsonb_set(parts, array[list], parts -> list || v_part);
end
$$;

comment on function dripdrop._with_part(jsonb, text, text, jsonb) is
  'The canonical hooks and steps of a document with one more of them.';

-- raises  ZD206, with the path of the fault in the diagnostics' column field
create or replace function dripdrop._check_targets(definition jsonb)
returns void
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_target record;
begin
  select t.path, t.step into v_target
  from (
    select format('entry[%s].to', e.place - 1), e.transition ->> 'to'
    from jsonb_array_elements(definition -> 'entry') with ordinality as e (transition, place)
    union all
    select
      format('steps[%s].transitions[%s].to', s.place - 1, t.place - 1), t.transition ->> 'to'
    from jsonb_array_elements(definition -> 'steps') with ordinality as s (step, place)
    cross join jsonb_array_elements(s.step -> 'transitions')
      with ordinality as t (transition, place)
    union all
    select format('steps[%s].timing.on_timeout', s.place - 1), s.step #>> '{timing,on_timeout}'
    from jsonb_array_elements(definition -> 'steps') with ordinality as s (step, place)
    where s.step #>> '{timing,on_timeout}' not in ('continue', 'exit')
  ) as t (path, step)
  where t.step is not null
    and not definition -> 'steps' @> jsonb_build_array(jsonb_build_object('key', t.step))
  limit 1;
  if found then
    raise exception 'there is no step %', dripdrop._quoted(v_target.step) using
      errcode = 'ZD206', column = v_target.path, hint = 'Name the key of a step of this document.';
  end if;
end
$$;

comment on function dripdrop._check_targets(jsonb) is
  'Raises where a canonical document leads to a step that it does not have.';

-- What identifies a version's content, in canonical form. What belongs to the sequence is changed
-- in place and makes no version: its words, goals, exits, hooks and who may return.
create or replace function dripdrop._content_hash(canonical jsonb)
returns text
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
  select dripdrop._digest(
    jsonb_build_object(
      'mode', canonical -> 'mode',
      'config', canonical -> 'config',
      'entry', canonical -> 'entry',
      'steps', canonical -> 'steps'
    )::text
  )
$$;

comment on function dripdrop._content_hash(jsonb) is 'SHA-256 of what a version is made of.';

-- A stored version in the document's form, so that plan() compares like with like.
create or replace function dripdrop._version_steps(sequence_version_id uuid)
returns table (key text, step jsonb)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select
    s.key,
    jsonb_build_object(
      'key', s.key,
      'name', s.name,
      'position', s.position,
      'channel', s.channel,
      'timing', s.timing,
      'template', s.template_content,
      'adapter', a.name,
      'config', s.config,
      'active', s.active,
      'conditions', (
        select coalesce(
          jsonb_agg(dripdrop._condition_document(c) order by c.position, c.id), '[]'
        )
        from dripdrop.conditions as c
        where c.step_id = s.id
      ),
      'transitions', dripdrop._transition_documents(s.sequence_version_id, s.id)
    )
  from dripdrop.steps as s
  left join dripdrop.channel_adapters as a on a.id = s.channel_adapter_id
  where s.sequence_version_id = _version_steps.sequence_version_id
$$;

comment on function dripdrop._version_steps(uuid) is 'The steps of a version as documents.';

-- So that a document is known by what it says, whoever made the version: apply() or the single
-- functions.
create or replace function dripdrop._version_document(version dripdrop.sequence_versions)
returns jsonb
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select jsonb_build_object(
    'mode', version.mode,
    'config', version.config,
    'entry', dripdrop._transition_documents(version.id, null),
    'steps', jsonb_agg(s.step order by (s.step ->> 'position')::int, s.key)
  )
  from dripdrop._version_steps(version.id) as s
$$;

comment on function dripdrop._version_document(dripdrop.sequence_versions) is
  'A stored version in the form of a canonical document.';

-- A sequence in the document's form, less its versions and hooks.
create or replace function dripdrop._sequence_document(sequence dripdrop.sequences)
returns jsonb
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select jsonb_build_object(
    'name', sequence.name,
    'description', sequence.description,
    'time_zone', sequence.time_zone,
    'reentry', sequence.reentry,
    'reentry_interval', sequence.reentry_interval,
    'priority', sequence.priority,
    'exclusive_group', sequence.exclusive_group,
    'metadata', sequence.metadata,
    'goals', coalesce(
      jsonb_agg(dripdrop._condition_document(c) order by c.position, c.id)
        filter (where c.outcome = 'goal'),
      '[]'
    ),
    'exit_when', coalesce(
      jsonb_agg(dripdrop._condition_document(c) order by c.position, c.id)
        filter (where c.outcome = 'exit'),
      '[]'
    )
  )
  from dripdrop.conditions as c
  where c.sequence_id = sequence.id
$$;

comment on function dripdrop._sequence_document(dripdrop.sequences) is
  'What a document says of a sequence itself.';
