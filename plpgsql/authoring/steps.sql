-- A step's document in its one form: every field present, the timing canonical, nothing unknown.
-- create_step() and apply() both come through here, so there is one set of rules.
--
-- raises  ZD201, ZD202, ZD203, ZD204, ZD206, ZD208, ZD209, ZD107,
--         with the path of the fault in the diagnostics' column field
create or replace function dripdrop._canonical_step(tenant_key text, step jsonb)
returns jsonb
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_step jsonb;
  v_channel text;
begin
  perform dripdrop._check_document(step, 'step');
  v_step := dripdrop._presets('step')
    || jsonb_build_object('name', step -> 'key', 'position', null, 'adapter', null)
    || dripdrop._fields_given(step);
  v_channel := v_step ->> 'channel';
  if v_step ->> 'key' in ('continue', 'exit') then
    raise exception 'step key % is a word of its own in on_timeout',
      dripdrop._quoted(v_step ->> 'key') using
      errcode = 'ZD201', column = 'key', hint = 'Choose another key.';
  end if;
  perform dripdrop._check_channel(v_channel);
  perform dripdrop._check_json(step -> 'template', 'template', 262144);
  v_step := v_step || jsonb_build_object(
    'config',
    dripdrop._canonical_step_config(tenant_key, v_channel, v_step -> 'config')
  );
  perform dripdrop._check_template(
    v_channel, coalesce(step -> 'template', v_step -> 'template')
  );
  if v_step ->> 'adapter' is not null then
    perform dripdrop._named_adapter(
      _canonical_step.tenant_key, v_channel, v_step ->> 'adapter', null, 'adapter'
    );
  end if;
  return v_step || jsonb_build_object(
    'timing', dripdrop._canonical_timing(coalesce(step -> 'timing', v_step -> 'timing')),
    'conditions', dripdrop._canonical_conditions(v_step -> 'conditions', 'conditions'),
    'transitions', dripdrop._canonical_transitions(v_step -> 'transitions', 'transitions')
  );
end
$$;

comment on function dripdrop._canonical_step(text, jsonb) is
  'A step''s document, checked, with every field present.';

-- raises  ZD107, ZD201, ZD204, ZD209, with the path of the fault
create or replace function dripdrop._canonical_step_config(
  tenant_key text,
  channel text,
  config jsonb
)
returns jsonb
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_config jsonb := config;
begin
  perform dripdrop._check_step_config(config);
  if config ? 'topic' and not (dripdrop._channel(channel)).topics then
    raise exception 'messages over % are about no topic', channel using
      errcode = 'ZD201', column = 'config.topic', hint = 'Leave it out.';
  end if;
  if config ? 'channel_adapter_rotation' then
    v_config := v_config || jsonb_build_object(
      'channel_adapter_rotation',
      dripdrop._canonical_rotation(
        tenant_key, channel, config -> 'channel_adapter_rotation',
        'config.channel_adapter_rotation'
      )
    );
  end if;
  if config ? 'rate_limits' then
    v_config := v_config || jsonb_build_object(
      'rate_limits',
      dripdrop._canonical_rate_limits(config -> 'rate_limits', 'config.rate_limits')
    );
  end if;
  return v_config;
end
$$;

comment on function dripdrop._canonical_step_config(text, text, jsonb) is
  'The settings of a step, checked and in their stored form.';

-- A misspelt setting would be a setting that silently does nothing.
--
-- raises  ZD201, ZD204, with the path of the fault
create or replace function dripdrop._check_step_config(config jsonb)
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
  perform dripdrop._check_document(config, 'step.config', 'config.');
  if config ? 'channel_adapter_rotation' then
    perform dripdrop._check_rotation(
      config -> 'channel_adapter_rotation', 'config.channel_adapter_rotation'
    );
  end if;
  if config ? 'send_window' then
    perform dripdrop._check_send_window(config -> 'send_window', 'config.send_window');
  end if;
end
$$;

comment on function dripdrop._check_step_config(jsonb) is
  'Raises on a setting of a step that is unknown or has a bad value.';

-- raises  ZD201 with the path of the fault
create or replace function dripdrop._check_template(channel text, template jsonb)
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_channel dripdrop.channels := dripdrop._channel(channel);
begin
  perform dripdrop._check_document(template, 'template.' || channel, 'template.');
  perform dripdrop._check_template_headers(v_channel, template -> 'headers');
  perform dripdrop._check_liquid(field.value, 'template.' || field.key, 'message')
  from jsonb_each(template) as field;
  if not exists (
    select from unnest(v_channel.one_of) as o (field) where btrim(template ->> o.field) <> ''
  ) and v_channel.one_of is not null then
    raise exception 'a template for % needs %', channel, array_to_string(v_channel.one_of, ' or ')
      using errcode = 'ZD201', column = 'template.' || v_channel.one_of[1],
      hint = format('Give %s or both.', array_to_string(v_channel.one_of, ', '));
  end if;
end
$$;

comment on function dripdrop._check_template(text, jsonb) is
  'Raises on a template a channel cannot use.';

-- What the message says itself, and what would make it go to others, is no template's to set.
--
-- raises  ZD201 with the path of the fault
create or replace function dripdrop._check_template_headers(
  channel dripdrop.channels,
  headers jsonb
)
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_header record;
  v_field text;
begin
  if coalesce(jsonb_typeof(headers), 'null') <> 'object' then
    return;
  end if;
  for v_header in
    select h.key as name, jsonb_typeof(h.value) as type from jsonb_each(headers) as h
  loop
    if v_header.name !~ '^[!#$%&''*+.^_`|~0-9A-Za-z-]{1,200}$'
      or v_header.type not in ('string', 'number', 'boolean', 'null')
    then
      raise exception 'header % is not one line of text', dripdrop._quoted(v_header.name) using
        errcode = 'ZD201', column = 'template.headers.' || left(v_header.name, 100),
        hint = 'A name has letters, digits and "-", a value is a text.';
    end if;
    if v_header.name ~* channel.own_headers then
      v_field := lower(replace(v_header.name, '-', '_'));
      raise exception 'header % is not the template''s to set',
        dripdrop._quoted(v_header.name) using
        errcode = 'ZD201', column = 'template.headers.' || v_header.name,
        hint = case
          when exists (
            select from dripdrop.fields as f
            where f.kind = 'template.' || channel.channel and f.field = v_field
          )
          then format('Write "%s" in the template.', v_field)
          when v_header.name ~* '^(to|cc|bcc|resent-)'
          then 'A message goes to one address, which was checked; enrol others themselves.'
          else 'The message sets it itself.'
        end;
    end if;
  end loop;
end
$$;

comment on function dripdrop._check_template_headers(dripdrop.channels, jsonb) is
  'Raises on a header that a template may not set.';

-- Steps are added to drafts only. Position defaults to the place after the last step.
--
-- raises  ZD103 unknown version, ZD111 version not a draft, ZD113 key or position taken,
--         and what _canonical_step() raises
create or replace function dripdrop.create_step(
  tenant_key text,
  sequence_version_id uuid,
  key text,
  channel text,
  template jsonb,
  timing jsonb default '{"type": "immediate"}',
  name text default null,
  "position" int default null,
  adapter text default null,
  config jsonb default '{}',
  active boolean default true
)
returns dripdrop.steps
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_version dripdrop.sequence_versions;
begin
  perform dripdrop._check_json(template, 'template', 262144);
  perform dripdrop._check_json(timing, 'timing');
  perform dripdrop._check_json(config, 'config');
  v_version := dripdrop._get_version(tenant_key, sequence_version_id);
  return dripdrop._insert_step(v_version, dripdrop._canonical_step(
    create_step.tenant_key,
    jsonb_build_object(
      'key', create_step.key,
      'name', create_step.name,
      'position', create_step."position",
      'channel', create_step.channel,
      'timing', create_step.timing,
      'template', create_step.template,
      'adapter', create_step.adapter,
      'config', create_step.config,
      'active', create_step.active
    )
  ));
end
$$;

comment on function dripdrop.create_step(
  text, uuid, text, text, jsonb, jsonb, text, int, text, jsonb, boolean
) is
  'Adds a step to a draft version. adapter: the name of a sender, or null to leave the choice to '
  'the defaults.';

-- Its transitions come later, when the steps they lead to exist.
--
-- raises  ZD113 key or position taken; the trigger raises ZD111 when the version is not a draft
create or replace function dripdrop._insert_step(version dripdrop.sequence_versions, step jsonb)
returns dripdrop.steps
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_step dripdrop.steps;
begin
  insert into dripdrop.steps (
    sequence_version_id, tenant_key, key, name, position, channel, timing, template_content,
    channel_adapter_id, config, active
  )
  select
    version.id,
    version.tenant_key,
    step ->> 'key',
    step ->> 'name',
    coalesce(
      (step ->> 'position')::int,
      (
        select max(s.position) + 1
        from dripdrop.steps as s
        where s.sequence_version_id = version.id
      ),
      1
    ),
    step ->> 'channel',
    step -> 'timing',
    step -> 'template',
    case
      when step ->> 'adapter' is not null
      then dripdrop._named_adapter(
        version.tenant_key, step ->> 'channel', step ->> 'adapter', null, 'adapter'
      )
    end,
    step -> 'config',
    (step ->> 'active')::boolean
  on conflict do nothing
  returning * into v_step;
  if v_step.id is null then
    raise exception 'the version has a step % or a step at its position already',
      dripdrop._quoted(step ->> 'key') using
      errcode = 'ZD113', column = 'key', hint = 'Keys and positions are unique within a version.';
  end if;
  perform dripdrop._insert_condition(
    version.tenant_key, c.condition, c.place, step_id => v_step.id
  )
  from jsonb_array_elements(step -> 'conditions') with ordinality as c (condition, place);
  return v_step;
end
$$;

comment on function dripdrop._insert_step(dripdrop.sequence_versions, jsonb) is
  'Inserts a step from its canonical document.';

-- Whoever mends a word need not make a version: what is rendered from now on has the new words.
-- The version is then no longer what its document made, so apply() does not recognise it by that.
--
-- locks   the sequence, then the step
-- raises  ZD104 unknown step, ZD201 a template its channel cannot use
create or replace function dripdrop.update_step_content(
  tenant_key text,
  step_id uuid,
  template jsonb default null,
  name text default null
)
returns dripdrop.steps
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_step dripdrop.steps;
begin
  perform dripdrop._check_json(template, 'template', 262144);
  perform from dripdrop.sequences as q
  where q.id = (
    select v.sequence_id
    from dripdrop.steps as s
    join dripdrop.sequence_versions as v on v.id = s.sequence_version_id
    where s.id = update_step_content.step_id
      and s.tenant_key is not distinct from update_step_content.tenant_key
  )
  for no key update;
  select s.* into v_step
  from dripdrop.steps as s
  where s.id = update_step_content.step_id
    and s.tenant_key is not distinct from update_step_content.tenant_key
  for no key update;
  if not found then
    raise exception 'step "%" not found', step_id using
      errcode = 'ZD104', hint = 'Ids are looked up within the tenant that is named first.';
  end if;
  if template is not null then
    perform dripdrop._check_template(v_step.channel, template);
  end if;
  perform dripdrop._check_title(name, 'name');
  if (coalesce(template, v_step.template_content), coalesce(name, v_step.name))
    = (v_step.template_content, v_step.name)
  then
    return v_step;
  end if;

  insert into dripdrop.step_revisions (tenant_key, step_id, name, template_content)
  values (v_step.tenant_key, v_step.id, v_step.name, v_step.template_content);
  update dripdrop.steps as s
  set name = coalesce(update_step_content.name, s.name),
      template_content = coalesce(update_step_content.template, s.template_content),
      updated_at = dripdrop._now()
  where s.id = v_step.id;
  update dripdrop.sequence_versions as v
  set content_hash = null,
      updated_at = dripdrop._now()
  where v.id = v_step.sequence_version_id;
  perform dripdrop._set_step_hooks(v_step.sequence_version_id);
  select s.* into v_step from dripdrop.steps as s where s.id = v_step.id;
  if template is not null and dripdrop._links_nowhere(v_step) then
    raise exception 'the template names unsubscribe_url, and its messages have no link' using
      errcode = 'ZD201', column = 'template',
      hint = 'update_tenant_settings(…, unsubscribe_url => …) says where recipients unsubscribe.';
  end if;
  return v_step;
end
$$;

comment on function dripdrop.update_step_content(text, uuid, jsonb, text) is
  'Changes the words or the name of a step, also of an active version, for what is not yet '
  'rendered; what they replace is kept in step_revisions.';

-- What people were enrolled into does not change under them.
create or replace function dripdrop._guard_steps()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform dripdrop._check_draft(array[new.sequence_version_id, old.sequence_version_id]);
  return coalesce(new, old);
end
$$;

comment on function dripdrop._guard_steps() is
  'Trigger: raises ZD111 when a version that is not a draft would change.';

create or replace function dripdrop._check_draft(versions uuid[])
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  -- Shared, so that an activation that is under way is waited for.
  perform from dripdrop.sequence_versions as v
  where v.id = any (versions)
  for share;
  if exists (
    select from dripdrop.sequence_versions as v
    where v.id = any (versions) and v.state <> 'draft'
  ) then
    raise exception 'the version is not a draft' using
      errcode = 'ZD111',
      hint = 'Make a new version with create_sequence_version(), or change the whole sequence with '
        'apply().';
  end if;
end
$$;

comment on function dripdrop._check_draft(uuid[]) is
  'Raises ZD111 unless the versions are drafts.';

create or replace trigger steps_of_a_draft
before insert or delete or update of
sequence_version_id, key, position, channel, timing, template_type, channel_adapter_id,
adapter_override_id, config
on dripdrop.steps
for each row
execute function dripdrop._guard_steps();
