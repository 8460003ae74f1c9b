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

-- Of one SQL function a caller has at most two calls under way, so that a slow one leaves places to
-- the others.
create or replace function dripdrop._free_places(kind text, hook jsonb, busy jsonb)
returns int
language sql
immutable
parallel safe
return case kind when 'http' then (hook ->> 'max_in_flight')::int else 2 end
  - coalesce((busy ->> (hook ->> 'id'))::int, 0);

comment on function dripdrop._free_places(text, jsonb, jsonb) is
  'How many calls of a hook a caller may begin, of whom so many are under way.';

-- raises  ZD201
create or replace function dripdrop._check_busy(busy jsonb)
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
  perform dripdrop._check_json(busy, 'busy');
  if jsonb_typeof(busy) is distinct from 'object'
    or exists (
      select from jsonb_each(busy) as b
      where b.key !~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
        or b.value::text !~ '^[0-9]{1,6}$'
    )
  then
    raise exception 'busy is not a count of calls by hook' using
      errcode = 'ZD201', column = 'busy',
      hint = 'Pass {"the id of a hook": how many of its calls are under way}.';
  end if;
end
$$;

comment on function dripdrop._check_busy(jsonb) is 'Raises ZD201 on what does not count calls.';

-- A function that all tenants share counts as another tenant's.
create or replace function dripdrop._calls_by_tenant(busy jsonb)
returns table (kind text, tenant_key text, calls int)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select h.kind, h.tenant_key, sum((busy ->> h.id::text)::int)::int
  from (
    select 'http' as kind, n.id, coalesce(n.tenant_key, '') as tenant_key
    from dripdrop.http_hooks as n
    where n.id in (select k.id::uuid from jsonb_object_keys(busy) as k (id))
    union all
    select 'sql', n.id, coalesce(n.tenant_key, '')
    from dripdrop.hooks as n
    where n.id in (select k.id::uuid from jsonb_object_keys(busy) as k (id))
  ) as h
  group by h.kind, h.tenant_key
$$;

comment on function dripdrop._calls_by_tenant(jsonb) is
  'How many calls of each tenant''s hooks a caller has under way.';

-- One tenant has half of all places at most: whoever comes next need not wait for its endpoints and
-- functions.
create or replace function dripdrop._places_per_tenant(kind text, busy jsonb, free int)
returns int
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select greatest((free + coalesce(sum(c.calls), 0) + 1) / 2, 1)::int
  from dripdrop._calls_by_tenant(busy) as c
  where c.kind = _places_per_tenant.kind
$$;

comment on function dripdrop._places_per_tenant(text, jsonb, int) is
  'How many calls of one tenant''s hooks of a kind a caller may have under way, who has so many '
  'places free.';

create or replace function dripdrop._full_hooks(busy jsonb, functions int, batch_size int)
returns uuid[]
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select array(
    select h.id
    from jsonb_each_text(busy) as b
    join dripdrop.http_hooks as h on h.id = b.key::uuid
    where b.value::int >= h.max_in_flight
    union all
    select h.id
    from dripdrop.hooks as h
    where functions <= 0 or (busy ->> h.id::text)::int >= 2
    union all
    select h.id
    from dripdrop._calls_by_tenant(busy) as c
    join dripdrop.http_hooks as h on coalesce(h.tenant_key, '') = c.tenant_key
    where c.kind = 'http' and c.calls >= dripdrop._places_per_tenant('http', busy, batch_size)
    union all
    select h.id
    from dripdrop._calls_by_tenant(busy) as c
    join dripdrop.hooks as h on coalesce(h.tenant_key, '') = c.tenant_key
    where c.kind = 'sql' and c.calls >= dripdrop._places_per_tenant('sql', busy, functions)
  )
$$;

comment on function dripdrop._full_hooks(jsonb, int, int) is
  'The hooks that have no place for a call.';

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
    order by e.ask_at
    limit _take_rules_to_ask.batch_size
    for no key update skip locked
  );
  return dripdrop._put_off_rules(v_taken, again_at);
end
$$;

comment on function dripdrop._take_rules_to_ask(uuid[], int, timestamptz, timestamptz) is
  'Enrolments whose goals and exit rules are to be asked now.';

-- One enrolment that cannot be written keeps no other from being asked.
--
-- locks   nothing new: the caller holds the enrolments
create or replace function dripdrop._put_off_rules(enrollments uuid[], again_at timestamptz)
returns uuid[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_half int := cardinality(enrollments) / 2;
begin
  if cardinality(enrollments) = 0 then
    return enrollments;
  end if;
  update dripdrop.enrollments as e
  set ask_at = case
        when exists (
          select from dripdrop.sequences as q
          cross join lateral dripdrop._rule_functions(q)
          where q.id = e.sequence_id
        )
        then again_at
      end
  where e.id = any (enrollments);
  return enrollments;
exception
  when sqlstate '40001' or sqlstate '40P01' then
    raise;
  when others or assert_failure then
    if v_half = 0 then
      raise warning 'the rules of enrolment "%" are not asked: %', enrollments[1],
      left(sqlerrm, 200) using
        errcode = sqlstate, hint = 'They are asked again by the next claim.';
      return array[]::uuid[];
    end if;
    return dripdrop._put_off_rules(enrollments[:v_half], again_at)
      || dripdrop._put_off_rules(enrollments[v_half + 1:], again_at);
end
$$;

comment on function dripdrop._put_off_rules(uuid[], timestamptz) is
  'Says when enrolments are asked again if nobody answers; returns those that are asked now.';

-- A place is handed out when each of its hooks has room for it, and there is a function''s place if
-- it asks functions: those are called one after the other. Where there is nothing to call, nothing
-- is needed.
create or replace function dripdrop._callable_places(
  wanted dripdrop._wanted_hook[],
  busy jsonb,
  functions int
)
returns bigint[]
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select array(
    select w.place
    from (
      select
        w.place,
        w.error is not null
        or (
          row_number() over (partition by w.hook ->> 'id' order by w.place)
          <= dripdrop._free_places(w.kind, w.hook, busy)
          and (
            w.kind <> 'sql'
            or functions
            >= dense_rank() over (partition by w.kind, w.error is null order by w.place)
            and dripdrop._places_per_tenant('sql', busy, functions) - coalesce(c.calls, 0)
            >= dense_rank() over (
              partition by w.kind, w.error is null, coalesce(h.tenant_key, '') order by w.place
            )
          )
        ) as fits
      from unnest(wanted) as w
      left join dripdrop.hooks as h on w.kind = 'sql' and h.id = (w.hook ->> 'id')::uuid
      left join dripdrop._calls_by_tenant(busy) as c
        on c.kind = 'sql' and c.tenant_key = coalesce(h.tenant_key, '') and w.kind = 'sql'
    ) as w
    group by w.place
    having bool_and(w.fits)
    order by w.place
  )
$$;

comment on function dripdrop._callable_places(dripdrop._wanted_hook[], jsonb, int) is
  'The places of what can be asked at once.';

-- What has nothing to call is answered here with its error; an execution that somebody has locked
-- gets it when its claim has run out, so that a claim waits for nobody.
--
-- locks   enrolments and their executions, skipping what is locked
create or replace function dripdrop._answer_with_errors(
  wanted dripdrop._wanted_hook[],
  at timestamptz
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_answerable uuid[];
begin
  -- One that waits for other values too gets its errors after them.
  v_answerable := array(
    select w.execution_id
    from unnest(wanted) as w
    where w.execution_id is not null
    group by w.execution_id
    having bool_and(w.error is not null)
  );
  if cardinality(v_answerable) = 0 then
    return;
  end if;
  v_answerable := array(
    select x.id
    from dripdrop.step_executions as x
    join dripdrop.enrollments as e on e.id = x.enrollment_id
    where x.id = any (v_answerable)
    for no key update of e, x skip locked
  );
  perform dripdrop._record_hook_results(
    array(
      select r::dripdrop._hook_result
      from (
        select
          x.id as execution,
          x.fence,
          w.message_id as message,
          jsonb_object_agg(w.key, jsonb_build_object('error', w.error)) as values,
          null::uuid as enrollment,
          null::timestamptz as ask_at
        from unnest(wanted) as w
        join dripdrop.step_executions as x on x.id = w.execution_id
        where x.id = any (v_answerable)
        group by x.id, w.message_id
      ) as r
    ),
    at
  );
end
$$;

comment on function dripdrop._answer_with_errors(dripdrop._wanted_hook[], timestamptz) is
  'Answers what there is nothing to call for.';

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

-- locks   callers hold the messages
create or replace function dripdrop._delete_hook_messages(
  messages bigint[],
  executions uuid[],
  wanted dripdrop._wanted_hook[]
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set standard_conforming_strings = on
as $$
declare
  v_stale bigint[] := array(
    select m.id
    from unnest(messages) as m (id)
    where m.id not in (select w.message_id from unnest(wanted) as w where w.message_id is not null)
  );
begin
  perform dripdrop._warn_of_foreign_messages('dripdrop_hooks', count(*))
  from unnest(executions) as m (execution)
  where m.execution is null;
  if cardinality(v_stale) > 0 then
    perform pgmq.delete('dripdrop_hooks', v_stale);
  end if;
end
$$;

comment on function dripdrop._delete_hook_messages(bigint[], uuid[], dripdrop._wanted_hook[]) is
  'Deletes pointers whose execution has moved on, and messages that are no pointers.';

-- What a claim calls, of what it has taken and holds: first what cannot be called is answered, and
-- what has no place, or is behind a circuit, goes back.
--
-- locks   where nothing can be called, enrolments and their executions; circuits; all skipping what
--         is locked
create or replace function dripdrop._hook_calls(
  rules_of uuid[],
  messages bigint[],
  executions uuid[],
  fences int[],
  busy jsonb,
  functions int,
  visibility interval,
  at timestamptz
)
returns dripdrop._hook_call[]
language plpgsql
set search_path = pg_catalog, pg_temp
set standard_conforming_strings = on
as $$
declare
  v_wanted dripdrop._wanted_hook[] := array(
    select w
    from dripdrop._pending_hooks(rules_of, messages, executions, fences) as w
  );
  v_fitting bigint[];
  v_behind bigint[];
begin
  perform dripdrop._delete_hook_messages(messages, executions, v_wanted);
  perform dripdrop._answer_with_errors(v_wanted, at);
  v_fitting := dripdrop._callable_places(v_wanted, busy, functions);
  v_behind := dripdrop._behind_circuits(v_wanted, v_fitting, at);
  v_fitting := array(
    select f.place from unnest(v_fitting) as f (place) where f.place <> all (v_behind)
  );
  update pgmq.q_dripdrop_hooks as m
  set vt = _hook_calls.at + visibility,
      read_ct = m.read_ct + 1
  from unnest(v_wanted) as w
  where w.place = any (v_fitting) and m.msg_id = w.message_id;
  update dripdrop.enrollments as e
  set ask_at = _hook_calls.at
  from unnest(v_wanted) as w
  where w.execution_id is null and w.place <> all (v_fitting) and e.id = w.enrollment_id;

  return array(
    select row(
      x.id,
      e.id,
      x.fence,
      w.message_id,
      case when x.id is null then e.ask_at end,
      e.tenant_key,
      w.key,
      w.kind,
      w.hook,
      dripdrop._variables(e, q.key, s.key, x.hooks, x.event_id, at)
    )::dripdrop._hook_call
    from unnest(v_wanted) as w
    join dripdrop.enrollments as e on e.id = w.enrollment_id
    join dripdrop.sequences as q on q.id = e.sequence_id
    left join dripdrop.step_executions as x on x.id = w.execution_id
    left join dripdrop.steps as s on s.id = x.step_id
    where w.error is null and w.place = any (v_fitting)
    order by w.place, w.key
  );
end
$$;

comment on function dripdrop._hook_calls(
  uuid[], bigint[], uuid[], int[], jsonb, int, interval, timestamptz
) is
  'What can be called now of what enrolments and executions wait for.';

-- A row that cannot be dealt with is found by halving and left out for a while. Messages behind it
-- stay in the queue for the next claim; enrolments have a place each and go on.
--
-- raises  ZD120, 40001, 40P01: no row's fault
create or replace function dripdrop._hook_calls_but_for_faults(
  rules_of uuid[],
  messages bigint[],
  executions uuid[],
  fences int[],
  busy jsonb,
  functions int,
  visibility interval,
  at timestamptz
)
returns dripdrop._hook_call[]
language plpgsql
set search_path = pg_catalog, pg_temp
set standard_conforming_strings = on
as $$
declare
  v_rules int := cardinality(rules_of);
  v_half int := greatest(v_rules, cardinality(messages)) / 2;
begin
  if v_rules = 0 and cardinality(messages) = 0 then
    return array[]::dripdrop._hook_call[];
  end if;
  return dripdrop._hook_calls(
    rules_of, messages, executions, fences, busy, functions, visibility, at
  );
exception
  when sqlstate 'ZD120' or sqlstate '40001' or sqlstate '40P01' then
    raise;
  when others or assert_failure then
    if v_rules > 0 and cardinality(messages) > 0 then
      return dripdrop._hook_calls_but_for_faults(
        rules_of, '{}', '{}', '{}', busy, functions, visibility, at
      ) || dripdrop._hook_calls_but_for_faults(
        '{}', messages, executions, fences, busy, greatest(functions - v_rules, 0), visibility, at
      );
    elsif v_half > 0 and v_rules > 0 then
      return dripdrop._hook_calls_but_for_faults(
        rules_of[:v_half], '{}', '{}', '{}', busy, functions, visibility, at
      ) || dripdrop._hook_calls_but_for_faults(
        rules_of[v_half + 1:], '{}', '{}', '{}', busy, functions, visibility, at
      );
    elsif v_half > 0 then
      return dripdrop._hook_calls_but_for_faults(
        '{}', messages[:v_half], executions[:v_half], fences[:v_half], busy, functions, visibility,
        at
      );
    elsif v_rules > 0 then
      raise warning 'the rules of enrolment "%" are not asked: %', rules_of[1], left(sqlerrm, 200)
      using errcode = sqlstate, hint = 'They are asked again when the claim has run out.';
    else
      perform dripdrop._note_fault(executions[1], 'hooks', sqlstate, sqlerrm, at);
      perform pgmq.delete('dripdrop_hooks', messages);
    end if;
    return array[]::dripdrop._hook_call[];
end
$$;

comment on function dripdrop._hook_calls_but_for_faults(
  uuid[], bigint[], uuid[], int[], jsonb, int, interval, timestamptz
) is
  'What can be called now, without the rows that raise.';

-- Work for whoever calls hooks. A claim is only a time for which nobody else gets it: a caller that
-- dies has changed nothing, and the call is made again. busy: {hook id: calls under way};
-- functions: how many executions and enrolments may ask SQL functions now.
--
-- locks   enrolments whose rules are to be asked; messages of the queue; where nothing can be
--         called, enrolments and their executions; circuits; all skipping what is locked
-- raises  ZD120 the queue does not exist, ZD125 a daemon of another version, ZD201 bad argument
create or replace function dripdrop.claim_hooks(
  batch_size int default 100,
  visibility interval default '5 minutes',
  busy jsonb default '{}',
  functions int default 4
)
returns table (
  execution_id uuid,
  enrollment_id uuid,
  fence int,
  message_id bigint,
  ask_at timestamptz,
  tenant_key text,
  key text,
  kind text,
  hook jsonb,
  variables jsonb
)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set standard_conforming_strings = on
as $$
declare
  v_now timestamptz := dripdrop._now();
  v_full uuid[];
  v_rules_of uuid[];
  v_messages bigint[];
  v_executions uuid[];
  v_fences int[];
begin
  perform dripdrop._check_interval(visibility, 'visibility', interval '0');
  perform dripdrop._check_driver();
  perform dripdrop._check_batch_size(batch_size);
  perform dripdrop._check_busy(busy);
  if coalesce(functions < 0, true) then
    raise exception 'functions % is no count', coalesce(functions::text, 'null') using
      errcode = 'ZD201', column = 'functions', hint = 'Pass how many may ask SQL functions, or 0.';
  end if;
  v_full := dripdrop._full_hooks(busy, functions, batch_size);
  v_rules_of := dripdrop._take_rules_to_ask(
    v_full, least(batch_size, functions), v_now + visibility, v_now
  );
  select
    coalesce(array_agg(m.message_id), '{}'),
    coalesce(array_agg(m.execution), '{}'),
    coalesce(array_agg(m.fence), '{}')
  into v_messages, v_executions, v_fences
  from dripdrop._read_hook_pointers(
    dripdrop._steps_waiting_for(v_full), busy, batch_size - cardinality(v_rules_of), v_now
  ) as m;
  return query
  select c.*
  from unnest(
    dripdrop._hook_calls_but_for_faults(
      v_rules_of, v_messages, v_executions, v_fences, busy, functions, visibility, v_now
    )
  ) as c;
end
$$;

comment on function dripdrop.claim_hooks(int, interval, jsonb, int) is
  'Hooks to call, one row per execution and key, for a while nobody else''s; without an '
  'execution_id it is the goals and exit rules of the enrolment that ask. busy: {hook id: calls '
  'under way}; functions: how many may ask SQL functions. Hand the answers to complete_hooks().';
