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

-- Whoever tracked the event did not wait for all rules; no more need be asked than what they are.
--
-- locks   enrolments and their executions, skipping what is locked
create or replace function dripdrop._apply_rules_without_functions(
  rules_of uuid[],
  wanted dripdrop._wanted_hook[],
  at timestamptz
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_results dripdrop._hook_result[] := array(
    select row(null, null, null, '{}', e.id, e.ask_at)::dripdrop._hook_result
    from dripdrop.enrollments as e
    where e.id = any (rules_of)
      and not exists (
        select from unnest(wanted) as w where w.execution_id is null and w.enrollment_id = e.id
      )
  );
begin
  if cardinality(v_results) > 0 then
    perform dripdrop._record_hook_results(v_results, at);
  end if;
end
$$;

comment on function dripdrop._apply_rules_without_functions(
  uuid[], dripdrop._wanted_hook[], timestamptz
) is
  'Applies the goals and exit rules of enrolments that are to be asked and name no function.';

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
  perform dripdrop._apply_rules_without_functions(rules_of, v_wanted, at);
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
-- raises  ZD120 a queue does not exist
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
  v_asking uuid[] := executions || dripdrop._open_executions(rules_of);
  v_most int := dripdrop._most_together(v_asking);
  v_calls dripdrop._hook_call[];
begin
  if v_rules = 0 and cardinality(messages) = 0 or dripdrop._is_cut_off() then
    return array[]::dripdrop._hook_call[];
  elsif v_rules + cardinality(messages) <= v_most or v_most is null then
    begin
      v_calls := dripdrop._hook_calls(
        rules_of, messages, executions, fences, busy, functions, visibility, at
      );
      perform dripdrop._forget_slow(v_asking) where v_most is not null;
      return v_calls;
    exception
      when others or query_canceled or assert_failure then
        perform dripdrop._cut_off() where sqlstate = '57014';
        if v_rules + cardinality(messages) = 1 then
          perform dripdrop._note_fault(a.id, 'hooks', sqlstate, sqlerrm, at)
          from unnest(v_asking) as a (id);
          perform pgmq.delete('dripdrop_hooks', messages);
          return array[]::dripdrop._hook_call[];
        elsif sqlstate = '57014' then
          perform dripdrop._note_slow(v_asking, 'hooks', sqlerrm, at);
          return array[]::dripdrop._hook_call[];
        end if;
    end;
  end if;

  if v_rules > 0 and cardinality(messages) > 0 then
    return dripdrop._hook_calls_but_for_faults(
      rules_of, '{}', '{}', '{}', busy, functions, visibility, at
    ) || dripdrop._hook_calls_but_for_faults(
      '{}', messages, executions, fences, busy, greatest(functions - v_rules, 0), visibility, at
    );
  elsif v_rules > 0 then
    return dripdrop._hook_calls_but_for_faults(
      rules_of[:v_half], '{}', '{}', '{}', busy, functions, visibility, at
    ) || dripdrop._hook_calls_but_for_faults(
      rules_of[v_half + 1:], '{}', '{}', '{}', busy, functions, visibility, at
    );
  end if;
  return dripdrop._hook_calls_but_for_faults(
    '{}', messages[:v_half], executions[:v_half], fences[:v_half], busy, functions, visibility, at
  );
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
  perform dripdrop._cut_off('off');
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
