-- What a key of a step stands for: an HTTP hook of the sequence, else a SQL function, else nothing.
-- error: why there is nothing to call.
create or replace function dripdrop._hook_to_call(
  tenant_key text,
  sequence dripdrop.sequences,
  key text
)
returns table (kind text, hook jsonb, error text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select found.kind, found.hook, found.error
  from (
    select
      1 as place,
      'http' as kind,
      dripdrop._http_hook_call(h, sequence.key) as hook,
      case when not h.active then 'hook_inactive' end as error
    from dripdrop.http_hooks as h
    where h.sequence_id = sequence.id and h.key = _hook_to_call.key
    union all
    select 2, 'sql', jsonb_build_object('id', h.id, 'timeout_ms', h.timeout_ms), null
    from dripdrop._hook(_hook_to_call.tenant_key, _hook_to_call.key) as h
    union all
    select 3, null, null, 'hook_missing'
  ) as found
  order by found.place
  limit 1
$$;

comment on function dripdrop._hook_to_call(text, dripdrop.sequences, text) is
  'How the value of a hook is come by for a sequence, or why it cannot be.';

create or replace function dripdrop._steps_waiting_for(hooks uuid[])
returns uuid[]
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select array(
    select s.id
    from dripdrop.http_hooks as h
    join dripdrop.sequence_versions as v on v.sequence_id = h.sequence_id
    join dripdrop.steps as s on s.sequence_version_id = v.id
    where h.id = any (_steps_waiting_for.hooks) and h.key = any (s.hooks)
    union
    select s.id
    from dripdrop.hooks as h
    join dripdrop.steps as s on h.key = any (s.hooks)
    where h.id = any (_steps_waiting_for.hooks)
      and (s.tenant_key = h.tenant_key or h.tenant_key is null)
  )
$$;

comment on function dripdrop._steps_waiting_for(uuid[]) is
  'The steps that need the value of one of these hooks.';

-- The queue is read past what waits for a hook without a place, and tenants take turns: nobody
-- stands behind somebody else's slow endpoint. What is no pointer has no execution. A pointer that
-- was read is hidden until a time of ours, and not of the queue's.
--
-- locks   messages of the queue, skipping what is locked
-- raises  ZD120 the queue does not exist
create or replace function dripdrop._read_hook_pointers(
  steps uuid[],
  busy jsonb,
  batch_size int,
  at timestamptz
)
returns table (message_id bigint, execution uuid, fence int)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_most int := dripdrop._places_per_tenant('http', busy, batch_size);
begin
  return query
  with waiting as materialized (
    select m.msg_id, p.execution, p.fence, x.tenant_key
    from pgmq.q_dripdrop_hooks as m
    cross join lateral (
      select
        case
          when m.message ->> 'execution' ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
            and m.message ->> 'fence' ~ '^[0-9]{1,9}$'
          then (m.message ->> 'execution')::uuid
        end as execution,
        case
          when m.message ->> 'fence' ~ '^[0-9]{1,9}$' then (m.message ->> 'fence')::int
        end as fence
    ) as p
    left join dripdrop.step_executions as x on x.id = p.execution
    where (m.read_ct = 0 or m.vt <= _read_hook_pointers.at)
      and coalesce(x.step_id <> all (_read_hook_pointers.steps), true)
    order by m.msg_id
    limit greatest(1000, _read_hook_pointers.batch_size)
  ),
  chosen as (
    select w.*, row_number() over (partition by w.tenant_key order by w.msg_id) as turn
    from waiting as w
    order by turn, w.msg_id
    limit _read_hook_pointers.batch_size
  )
  select c.msg_id, c.execution, c.fence
  from chosen as c
  join pgmq.q_dripdrop_hooks as m
    on m.msg_id = c.msg_id and (m.read_ct = 0 or m.vt <= _read_hook_pointers.at)
  left join dripdrop._calls_by_tenant(busy) as b
    on b.kind = 'http' and b.tenant_key = coalesce(c.tenant_key, '')
  where c.turn <= v_most - coalesce(b.calls, 0)
    or c.execution is null
  order by c.turn, c.msg_id
  for update of m skip locked;
exception
  when undefined_table or invalid_schema_name then
    raise exception 'queue "dripdrop_hooks" does not exist' using
      errcode = 'ZD120', hint = 'select * from dripdrop.start() creates the queues.';
end
$$;

comment on function dripdrop._read_hook_pointers(uuid[], jsonb, int, timestamptz) is
  'Pointers to executions that wait for their hooks, locked.';

-- A caller that dies has changed nothing: what it took is handed out again.
--
-- locks   enrolments, skipping what is locked
create or replace function dripdrop._take_rules_to_ask(
  full_hooks uuid[],
  batch_size int,
  again_at timestamptz,
  at timestamptz
)
returns uuid[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_without_a_place uuid[];
  v_taken uuid[];
begin
  if full_hooks <> '{}' then
    v_without_a_place := array(
      select q.id
      from dripdrop.sequences as q
      cross join lateral dripdrop._rule_functions(q) as f
      where f.id = any (full_hooks)
    );
  end if;
  v_taken := array(
    select e.id
    from dripdrop.enrollments as e
    where e.ask_at <= _take_rules_to_ask.at
      and e.sequence_id <> all (coalesce(v_without_a_place, '{}'))
      and not exists (
        select from dripdrop.step_executions as x
        join dripdrop.faults as f on f.execution_id = x.id
        where x.enrollment_id = e.id and x.ended_at is null and f.until > _take_rules_to_ask.at
      )
    order by e.ask_at
    limit _take_rules_to_ask.batch_size
    for no key update skip locked
  );
  return dripdrop._postpone_rules(v_taken, again_at, at);
end
$$;

comment on function dripdrop._take_rules_to_ask(uuid[], int, timestamptz, timestamptz) is
  'Enrolments whose goals and exit rules are to be asked now.';

-- A fault of an enrolment is one of its messages: explain() shows it there.
create or replace function dripdrop._open_executions(enrollments uuid[])
returns uuid[]
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select array(
    select x.id
    from dripdrop.step_executions as x
    where x.enrollment_id = any (enrollments) and x.ended_at is null
  )
$$;

comment on function dripdrop._open_executions(uuid[]) is
  'The executions of enrolments that are not over.';

-- One enrolment that cannot be written keeps no other from being asked.
--
-- locks   nothing new: the caller holds the enrolments
create or replace function dripdrop._postpone_rules(
  enrollments uuid[],
  again_at timestamptz,
  at timestamptz
)
returns uuid[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_half int := cardinality(enrollments) / 2;
  v_open uuid[] := dripdrop._open_executions(enrollments);
  v_most int := dripdrop._most_together(v_open);
begin
  if cardinality(enrollments) = 0 or dripdrop._is_cut_off() then
    return array[]::uuid[];
  elsif cardinality(enrollments) > v_most then
    -- The others keep their time: a statement that is cut off asks nobody.
    return dripdrop._postpone_rules(enrollments[:v_most], again_at, at);
  end if;
  begin
    update dripdrop.enrollments as e
    set ask_at = again_at
    where e.id = any (enrollments);
    perform dripdrop._forget_slow(v_open) where v_most is not null;
    return enrollments;
  exception
    when others or query_canceled or assert_failure then
      perform dripdrop._cut_off() where sqlstate = '57014';
      if v_half = 0 then
        perform dripdrop._note_fault(o.id, 'hooks', sqlstate, sqlerrm, at)
        from unnest(v_open) as o (id);
        return array[]::uuid[];
      elsif sqlstate = '57014' then
        perform dripdrop._note_slow(v_open, 'hooks', sqlerrm, at);
        return array[]::uuid[];
      end if;
      return dripdrop._postpone_rules(enrollments[:v_half], again_at, at)
        || dripdrop._postpone_rules(enrollments[v_half + 1:], again_at, at);
  end;
end
$$;

comment on function dripdrop._postpone_rules(uuid[], timestamptz, timestamptz) is
  'Says when enrolments are asked again if nobody answers; returns those that are asked now.';

-- What is to be called: first for those whose rules are to be asked, then for executions.
create or replace function dripdrop._pending_hooks(
  questions uuid[],
  messages bigint[],
  executions uuid[],
  fences int[]
)
returns setof dripdrop._wanted_hook
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select
    a.place, null::uuid, e.id, null::bigint, f.key, 'sql',
    jsonb_build_object('id', f.id, 'timeout_ms', f.timeout_ms), null
  from unnest(_pending_hooks.questions) with ordinality as a (id, place)
  join dripdrop.enrollments as e on e.id = a.id
  join dripdrop.sequences as q on q.id = e.sequence_id
  cross join lateral dripdrop._rule_functions(q) as f
  union all
  select
    cardinality(_pending_hooks.questions) + p.place, x.id, e.id, p.message, k.key, c.kind, c.hook,
    c.error
  from unnest(
    _pending_hooks.messages, _pending_hooks.executions, _pending_hooks.fences
  ) with ordinality as p (message, execution, fence, place)
  join dripdrop.step_executions as x
    on x.id = p.execution and x.fence = p.fence and x.state = 'scheduled'
  join dripdrop.steps as s on s.id = x.step_id
  join dripdrop.enrollments as e on e.id = x.enrollment_id
  join dripdrop.sequences as q on q.id = e.sequence_id
  cross join lateral unnest(s.hooks) as k (key)
  cross join lateral dripdrop._hook_to_call(x.tenant_key, q, k.key) as c
  where not coalesce(x.hooks, '{}') ? k.key
$$;

comment on function dripdrop._pending_hooks(uuid[], bigint[], uuid[], int[]) is
  'The hooks that enrolments and executions wait for.';
