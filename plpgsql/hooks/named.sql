-- Whether a template names a hook: as a whole word within {{ … }} or {% … %}, since words outside
-- are prose. The quantifier makes the search stop at the first end, as Liquid does.
create or replace function dripdrop._template_names(template jsonb, key text)
returns boolean
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
  select exists (
    select
    from jsonb_path_query(template, 'strict $.** ? (@.type() == "string")') as part (words)
    cross join lateral regexp_matches(
      part.words #>> '{}', '(?:[{][{].*?[}][}]|[{]%.*?%[}]){1,1}?', 'g'
    ) as tag (words)
    where tag.words[1] ~ ('(?<![[:alnum:]_])' || _template_names.key || '(?![[:alnum:]_])')
  )
$$;

comment on function dripdrop._template_names(jsonb, text) is
  'Whether a template uses the value of a hook.';

create or replace function dripdrop._template_prints(template jsonb, key text)
returns boolean
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
  select exists (
    select
    from jsonb_path_query(template, 'strict $.** ? (@.type() == "string")') as part (words)
    cross join lateral regexp_matches(part.words #>> '{}', '[{][{].*?[}][}]', 'g') as tag (words)
    where tag.words[1] ~ ('(?<![[:alnum:]_])' || _template_prints.key || '(?![[:alnum:]_])')
      and tag.words[1] !~ '[|][[:space:]]*default(?![[:alnum:]_])'
  )
$$;

comment on function dripdrop._template_prints(jsonb, text) is
  'Whether a template prints the value of a hook, without a default of its own.';

-- A path prints its keys in double quotes. One that takes hooks as a whole may mean any key in it.
create or replace function dripdrop._predicate_names(predicate jsonpath, key text)
returns boolean
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
  select predicate::text ~ format('"hooks"[.]"%s"', _predicate_names.key)
    or (
      predicate::text ~ '"hooks"(?![.]")'
      and predicate::text ~ format('[.]"%s"', _predicate_names.key)
    )
$$;

comment on function dripdrop._predicate_names(jsonpath, text) is
  'Whether a predicate uses the value of a hook.';

-- What a step waits for before it is decided. A condition on a hook names it for certain; elsewhere
-- only the keys of hooks that exist are looked for, so whoever adds a hook calls this again.
--
-- locks   the steps that change; callers hold the sequence
create or replace function dripdrop._set_step_hooks(sequence_version_id uuid)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  update dripdrop.steps as s
  set hooks = named.hooks,
      updated_at = dripdrop._now()
  from (
    select
      n.id,
      array(
        select c.hook
        from dripdrop.conditions as c
        where c.id = any (n.conditions) and c.hook is not null
        union
        select k.key
        from (
          select h.key
          from dripdrop.http_hooks as h
          where h.sequence_id = v.sequence_id
          union
          select h.key
          from dripdrop.hooks as h
          where h.tenant_key = v.tenant_key or h.tenant_key is null
        ) as k
        where dripdrop._template_names(n.template_content, k.key)
          or exists (
            select from dripdrop.conditions as c
            where c.id = any (n.conditions) and dripdrop._predicate_names(c.predicate, k.key)
          )
        order by 1
      ) as hooks
    from dripdrop.sequence_versions as v
    cross join lateral (
      select
        o.id,
        o.template_content,
        array(
          select c.id
          from dripdrop.conditions as c
          where c.step_id = o.id
            or c.sequence_id = v.sequence_id
            or c.transition_id in (
              select t.id from dripdrop.step_transitions as t where t.from_step_id = o.id
            )
        ) as conditions
      from dripdrop.steps as o
      where o.sequence_version_id = v.id
    ) as n
    where v.id = _set_step_hooks.sequence_version_id
  ) as named
  where s.id = named.id
    and s.hooks <> named.hooks
$$;

comment on function dripdrop._set_step_hooks(uuid) is
  'Works out which hooks each step of a version waits for.';

-- The SQL functions that goals and exit rules name are never asked within the statement that tracks
-- an event: nothing there would bound them. The enrolment remembers in ask_at that they are to be
-- asked, claim_hooks() hands them out, and complete_hooks() applies the rules. Nothing else has to
-- be kept, and no queue can lose it. An HTTP hook is asked when a step is decided.
create or replace function dripdrop._rule_functions(sequence dripdrop.sequences)
returns setof dripdrop.hooks
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select distinct on (f.id) f.*
  from dripdrop.conditions as c
  cross join lateral dripdrop._hook(sequence.tenant_key, c.hook) as f
  where c.sequence_id = sequence.id
    and not exists (
      select from dripdrop.http_hooks as h where h.sequence_id = sequence.id and h.key = c.hook
    )
  order by f.id
$$;

comment on function dripdrop._rule_functions(dripdrop.sequences) is
  'The SQL functions that goals and exit rules of a sequence name.';
