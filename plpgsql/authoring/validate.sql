-- Every problem at once, so that one look is enough.
-- Whether the Liquid parses is the renderer's to say: dripdrop validate.
--
-- raises  ZD103 unknown version
create or replace function dripdrop.validate_sequence_version(
  tenant_key text,
  sequence_version_id uuid
)
returns table (problem text, step_key text, detail text)
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_version dripdrop.sequence_versions := dripdrop._get_version(tenant_key, sequence_version_id);
begin
  return query select * from dripdrop._flow_problems(v_version);
  return query
  select p.problem, s.key, p.detail
  from dripdrop.steps as s
  cross join dripdrop._step_problems(s) as p
  where s.sequence_version_id = v_version.id
  order by s.position, s.key;
  return query select * from dripdrop._transition_problems(v_version);
  return query select * from dripdrop._condition_problems(v_version);
  return query select * from dripdrop._sender_problems(v_version);
  return query
  select 'unknown_time_zone', null::text, format('the sequence''s time zone "%s"', q.time_zone)
  from dripdrop.sequences as q
  where q.id = v_version.sequence_id
    and q.time_zone is not null
    and not dripdrop._is_time_zone(q.time_zone);
end
$$;

comment on function dripdrop.validate_sequence_version(text, uuid) is
  'What keeps a version from being activated, one row per problem; no row means it is sound.';

-- Where an enrolment can go from where: null is the entry on the one side, the end on the other.
-- Side steps are on no way. A step whose transitions all have conditions can end: none may match.
create or replace function dripdrop._flow(sequence_version_id uuid)
returns table (from_step_id uuid, to_step_id uuid)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  with
  step as (
    select s.*
    from dripdrop.steps as s
    where s.sequence_version_id = _flow.sequence_version_id and not s.recurring
  ),
  transition as (
    select t.*
    from dripdrop.step_transitions as t
    where t.sequence_version_id = _flow.sequence_version_id
  ),
  entry as (
    select s.id
    from step as s
    where s.active and s.position is not null
    order by s.position
    limit 1
  )
  select t.from_step_id, t.to_step_id
  from transition as t
  where (t.from_step_id is null or t.from_step_id in (select s.id from step as s))
    and (t.to_step_id is null or t.to_step_id in (select s.id from step as s))
  union
  select null, e.id
  from entry as e
  where not exists (select from transition as t where t.from_step_id is null)
  union
  select s.id, next.id
  from step as s
  left join lateral (
    select n.id
    from step as n
    where n.active and n.position > s.position
    order by n.position
    limit 1
  ) as next on true
  where not exists (select from transition as t where t.from_step_id = s.id)
  union
  select t.from_step_id, null
  from transition as t
  where t.from_step_id is not null
  group by t.from_step_id
  having bool_and(t.condition_mode <> 'always')
  union
  select s.id, next.id
  from step as s
  left join step as next on next.key = s.timing ->> 'on_timeout'
  where s.timing ->> 'on_timeout' = 'exit'
    or next.id is not null
$$;

comment on function dripdrop._flow(uuid) is 'The ways of a version from step to step.';

create or replace function dripdrop._flow_problems(version dripdrop.sequence_versions)
returns table (problem text, step_key text, detail text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  with recursive
  way as materialized (select * from dripdrop._flow(version.id)),
  step as materialized (
    select
      s.*,
      s.timing ->> 'type' = 'immediate' or s.timing ->> 'since' = 'enrollment' as at_once
    from dripdrop.steps as s
    where s.sequence_version_id = version.id
  ),
  reached as (
    select w.to_step_id from way as w where w.from_step_id is null
    union
    select w.to_step_id from reached as r join way as w on w.from_step_id = r.to_step_id
  ),
  quick as (
    select w.from_step_id, w.to_step_id
    from way as w
    join step as a on a.id = w.from_step_id and a.at_once
    join step as b on b.id = w.to_step_id and b.at_once
    union
    select q.from_step_id, w.to_step_id
    from quick as q
    join way as w on w.from_step_id = q.to_step_id
    join step as b on b.id = w.to_step_id and b.at_once
  ),
  -- A circle is one row, whichever of its steps one looks from.
  circle as (
    select distinct array(
      select s.key
      from quick as back
      join quick as forth
        on forth.from_step_id = back.to_step_id and forth.to_step_id = back.from_step_id
      join step as s on s.id = back.to_step_id
      where back.from_step_id = q.from_step_id
      order by s.position, s.key
    ) as keys
    from quick as q
    where q.from_step_id = q.to_step_id
  )
  select 'no_entry_path', null, 'no way leads to an active step, and none recurs'
  where not exists (select from reached as r where r.to_step_id is not null)
    and not exists (select from step as s where s.active and s.recurring)
  union all
  (
    select 'unreachable_step', s.key, 'neither its position nor a transition leads to it'
    from step as s
    where s.active
      and not s.recurring
      and s.id not in (select r.to_step_id from reached as r where r.to_step_id is not null)
    order by s.position, s.key
  )
  union all
  (
    select
      'cycle_without_wait', c.keys[1],
      format('comes back to itself at once: %s', array_to_string(c.keys, ', '))
    from circle as c
    order by c.keys
  )
  union all
  select 'no_completion', null, 'no way leads to an end, and the sequence has no goal or exit'
  where exists (select from reached as r where r.to_step_id is not null)
    and not exists (select from reached as r where r.to_step_id is null)
    and not exists (select from dripdrop.conditions as c where c.sequence_id = version.sequence_id)
$$;

comment on function dripdrop._flow_problems(dripdrop.sequence_versions) is
  'What is wrong with the ways of a version.';

-- What create_step() would refuse, had it been asked: rows can be written past it, and time zones
-- can go.
create or replace function dripdrop._step_problems(step dripdrop.steps)
returns table (problem text, detail text)
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_part text;
begin
  foreach v_part in array array['timing', 'channel', 'config', 'template'] loop
    begin
      case v_part
        when 'timing' then
          if dripdrop._canonical_timing(step.timing) <> step.timing then
            raise exception 'the timing is not in its stored form' using
              errcode = 'ZD203', hint = 'Write steps with create_step() or apply().';
          end if;
        when 'channel' then perform dripdrop._check_channel(step.channel);
        when 'config' then perform dripdrop._check_step_config(step.config);
        when 'template' then
          perform dripdrop._check_template(step.channel, step.template_content);
      end case;
    exception
      when others then
        if sqlstate not like 'ZD%' then
          raise;
        end if;
        problem := case sqlstate
          when 'ZD204' then 'unknown_time_zone' else 'invalid_' || v_part
        end;
        detail := sqlerrm;
        return next;
    end;
  end loop;

  return query
  select 'unknown_timeout_step', format('no step "%s" on the path', step.timing ->> 'on_timeout')
  where step.timing ->> 'on_timeout' not in ('continue', 'exit')
    and not exists (
      select from dripdrop.steps as s
      where s.sequence_version_id = step.sequence_version_id
        and s.key = step.timing ->> 'on_timeout'
        and not s.recurring
    )
  union all
  select 'unknown_topic', format('no topic "%s" in this tenant', step.config ->> 'topic')
  where step.config ? 'topic'
    and not exists (
      select from dripdrop.topics as t
      where t.key = step.config ->> 'topic'
        and t.tenant_key is not distinct from step.tenant_key
    )
  union all
  select
    'no_unsubscribe_url',
    'the template names unsubscribe_url, and update_tenant_settings() was told none'
  where step.active and dripdrop._links_nowhere(step);
end
$$;

comment on function dripdrop._step_problems(dripdrop.steps) is
  'What is wrong with a step by itself.';

create or replace function dripdrop._transition_problems(version dripdrop.sequence_versions)
returns table (problem text, step_key text, detail text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select fault.problem, a.key, fault.detail
  from dripdrop.step_transitions as t
  left join dripdrop.steps as a on a.id = t.from_step_id
  left join dripdrop.steps as b on b.id = t.to_step_id
  cross join lateral (
    select count(*) as conditions from dripdrop.conditions as c where c.transition_id = t.id
  ) as of_it
  cross join lateral (
    values
    (
      'transition_leaves_version',
      a.sequence_version_id <> version.id or b.sequence_version_id <> version.id,
      format('priority %s joins "%s" and "%s"', t.priority, a.key, b.key)
    ),
    (
      'transition_of_side_step',
      a.recurring or b.recurring,
      format('priority %s: a step that recurs is on no way', t.priority)
    ),
    (
      'transition_without_conditions',
      t.condition_mode <> 'always' and of_it.conditions = 0,
      format('priority %s: %s of no conditions', t.priority, t.condition_mode)
    ),
    (
      'conditions_without_effect',
      t.condition_mode = 'always' and of_it.conditions > 0,
      format('priority %s is always taken, whatever its conditions say', t.priority)
    )
  ) as fault (problem, is_one, detail)
  where t.sequence_version_id = version.id and fault.is_one
  order by a.position nulls first, a.key, t.priority
$$;

comment on function dripdrop._transition_problems(dripdrop.sequence_versions) is
  'What is wrong with the transitions of a version.';

-- Those of the steps and transitions, and those of the sequence, which every version asks.
create or replace function dripdrop._condition_problems(version dripdrop.sequence_versions)
returns table (problem text, step_key text, detail text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  with
  asked as materialized (
    select s.key as step_key, s.position, c as condition
    from dripdrop.steps as s
    join dripdrop.conditions as c on c.step_id = s.id
    where s.sequence_version_id = version.id
    union all
    select s.key, s.position, c
    from dripdrop.step_transitions as t
    join dripdrop.conditions as c on c.transition_id = t.id
    left join dripdrop.steps as s on s.id = t.from_step_id
    where t.sequence_version_id = version.id
    union all
    select null, null, c
    from dripdrop.conditions as c
    where c.sequence_id = version.sequence_id
  ),
  -- A predicate names a hook in its canonical text as $."hooks"."key".
  named as (
    select distinct a.step_key, a.position, coalesce((a.condition).hook, found.words[1]) as hook
    from asked as a
    left join lateral regexp_matches(
      (a.condition).predicate::text, '[$][.]"hooks"[.]"([^"]+)"', 'g'
    ) as found (words) on true
    where (a.condition).hook is not null or found.words is not null
  )
  (
    select 'invalid_condition', a.step_key, fault.detail
    from asked as a
    cross join dripdrop._condition_fault(a.condition) as fault (detail)
    where fault.detail is not null
    order by a.position, a.step_key
  )
  -- Nobody has been asked yet when an enrolment begins.
  union all
  (
    select 'hook_at_entry', null, format('hook "%s"', (a.condition).hook)
    from asked as a
    join dripdrop.step_transitions as t
      on t.id = (a.condition).transition_id and t.from_step_id is null
    where (a.condition).hook is not null
    order by (a.condition).hook
  )
  union all
  (
    select
      case
        when http.id is not null then 'inactive_hook'
        when sql.id is null then 'missing_hook'
        else 'missing_hook_function'
      end,
      n.step_key,
      format('hook "%s"', n.hook)
    from named as n
    left join dripdrop.http_hooks as http
      on http.sequence_id = version.sequence_id and http.key = n.hook
    left join lateral dripdrop._hook(version.tenant_key, n.hook) as sql on true
    where case
      when http.id is not null then not http.active
      else sql.id is null or dripdrop._function_named(sql.function) is null
    end
    order by n.position, n.step_key, n.hook
  )
$$;

comment on function dripdrop._condition_problems(dripdrop.sequence_versions) is
  'What is wrong with the conditions that people on a version are asked.';

create or replace function dripdrop._condition_fault(condition dripdrop.conditions)
returns text
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_document jsonb := dripdrop._condition_document(condition);
begin
  if dripdrop._canonical_condition(v_document) <> v_document then
    return 'the condition is not in its stored form';
  end if;
  return null;
exception
  when others then
    if sqlstate not like 'ZD%' then
      raise;
    end if;
    return sqlerrm;
end
$$;

comment on function dripdrop._condition_fault(dripdrop.conditions) is
  'What create_condition() would say against a stored condition; null for nothing.';

-- What belongs to another tenant is missing, like what does not exist.
create or replace function dripdrop._sender_problems(version dripdrop.sequence_versions)
returns table (problem text, step_key text, detail text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  with
  pool as (
    select p.*
    from dripdrop.adapter_pools as p
    where p.id = (version.config ->> 'pool_id')::uuid
      and (p.tenant_key = version.tenant_key or p.tenant_key is null)
  ),
  -- All that are named, by the steps and by the sequence for their channels, whoever sends.
  named as (
    select
      case w.named_by when 'step' then s.key end as key,
      case w.named_by when 'step' then s.position end as position,
      s.channel,
      w.adapter_id
    from dripdrop.steps as s
    join dripdrop.sequences as q on q.id = version.sequence_id
    cross join lateral dripdrop._who_sends(
      s.channel_adapter_id, s.config, q.metadata, s.tenant_key, s.channel
    ) as w
    where s.sequence_version_id = version.id and w.named_by in ('step', 'sequence')
    union
    select s.key, s.position, s.channel, s.adapter_override_id
    from dripdrop.steps as s
    where s.sequence_version_id = version.id and s.adapter_override_id is not null
  )
  (
    select
      case
        when a.id is null then 'missing_channel_adapter'
        when a.channel <> n.channel then 'adapter_channel_mismatch'
        else 'adapter_inactive'
      end,
      n.key,
      format('adapter "%s" for %s', coalesce(a.name, n.adapter_id::text), n.channel)
    from named as n
    left join dripdrop.channel_adapters as a
      on a.id = n.adapter_id and (a.tenant_key = version.tenant_key or a.tenant_key is null)
    where a.id is null
      or a.channel <> n.channel
      or not a.active
    order by n.position, n.key
  )
  union all
  select 'outbound_requires_pool', null, 'config.pool_id names no pool'
  where version.mode = 'outbound' and version.config ->> 'pool_id' is null
  union all
  select 'missing_adapter_pool', null, format('pool "%s"', version.config ->> 'pool_id')
  where version.mode = 'outbound'
    and version.config ->> 'pool_id' is not null
    and not exists (select from pool)
  union all
  select 'pool_empty', null, format('pool "%s"', p.name)
  from pool as p
  where version.mode = 'outbound'
    and not exists (
      select from dripdrop.adapter_pool_members as m where m.pool_id = p.id and m.active
    )
$$;

comment on function dripdrop._sender_problems(dripdrop.sequence_versions) is
  'What is wrong with the senders of a version.';
