-- The circuit of an HTTP hook's endpoint. While it is open, one asks it for a value, to try it; the
-- others wait, and that costs them nothing. Where the host is in the hands of the data, each has a
-- server of its own, and only its own retries.
create or replace function dripdrop._has_one_server(hook dripdrop.http_hooks)
returns boolean
language sql
immutable
parallel safe
return dripdrop._url_host(hook.url) is not null;

comment on function dripdrop._has_one_server(dripdrop.http_hooks) is
  'Whether all calls of a hook go to the same host.';

-- A refusal says that the server is there. One 500 may be one person's data: only the third in a
-- row counts, as with silence. What is no status at all (RFC 9110 section 15) is as good as a 500.
create or replace function dripdrop._hook_signal(answer jsonb)
returns text
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
  select case
    when answer ? 'error' is not true or a.code = 'response_too_large' then 'ok'
    when a.code = 'http_429' or a.code = 'http_503' and answer ? 'retry_after' then 'asked'
    when a.code in ('connect_error', 'connection_lost', 'http_502', 'http_503', 'http_504')
    then 'away'
    when a.code like any ('{http_3__,http_4__}') then 'ok'
    when a.code = 'hook_timeout' or a.code like 'http_%' then 'slow'
    else 'nothing'
  end
  from (select answer ->> 'error' as code) as a
$$;

comment on function dripdrop._hook_signal(jsonb) is
  'What an answer says about the server: ok, away, asked, slow or nothing.';

-- locks   the circuits of what was asked; callers hold the executions
create or replace function dripdrop._note_answers(
  results dripdrop._hook_result[],
  at timestamptz
)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  select dripdrop._note_signals(
    array(
      select row(
        null,
        h.id,
        '',
        x.id,
        _note_answers.at,
        dripdrop._hook_signal(a.value),
        a.value ->> 'error',
        null,
        case
          when jsonb_typeof(a.value -> 'retry_after') = 'number'
          then (a.value ->> 'retry_after')::float8
        end
      )::dripdrop._signal
      from unnest(results) as r
      join dripdrop.step_executions as x
        on x.id = r.execution and x.fence = r.fence and x.state = 'scheduled'
      join dripdrop.enrollments as e on e.id = x.enrollment_id
      cross join lateral jsonb_each(r.values) as a
      join dripdrop.http_hooks as h on h.sequence_id = e.sequence_id and h.key = a.key
      where dripdrop._has_one_server(h)
        and not coalesce(x.hooks, '{}') ? a.key
    ),
    _note_answers.at
  )
$$;

comment on function dripdrop._note_answers(dripdrop._hook_result[], timestamptz) is
  'Tells the circuits of endpoints what their answers say.';

-- Of those who may go out, one tries each endpoint whose rest is over.
--
-- locks   circuits whose rest is over, skipping what is locked
create or replace function dripdrop._probe_endpoints(
  wanted dripdrop._wanted_hook[],
  fitting bigint[],
  at timestamptz
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_ready uuid[];
begin
  v_ready := array(
    select c.id
    from dripdrop.sender_states as c
    where c.ended_at is null
      and c.state <> 'closed'
      and c.until <= _probe_endpoints.at
      and c.http_hook_id in (
        select (w.hook ->> 'id')::uuid from unnest(wanted) as w where w.kind = 'http'
      )
    order by c.id
    for no key update skip locked
  );
  update dripdrop.sender_states as c
  set state = 'probing',
      probe_id = p.execution_id,
      probes = c.probes + 1,
      until = _probe_endpoints.at + interval '5 minutes',
      changed_at = _probe_endpoints.at
  from (
    select distinct on (n.id) n.id, w.execution_id
    from dripdrop.sender_states as n
    join unnest(wanted) as w on w.kind = 'http' and (w.hook ->> 'id')::uuid = n.http_hook_id
    where n.id = any (v_ready) and w.place = any (fitting)
    order by n.id, w.place
  ) as p
  where c.id = p.id;
end
$$;

comment on function dripdrop._probe_endpoints(dripdrop._wanted_hook[], bigint[], timestamptz) is
  'Says of each endpoint that has rested which execution tries it.';

-- What stands behind an open circuit waits there, without a pointer; what somebody has locked is
-- looked at again.
--
-- locks   circuits whose rest is over; enrolments and their executions; all skipping what is locked
create or replace function dripdrop._behind_circuits(
  wanted dripdrop._wanted_hook[],
  fitting bigint[],
  at timestamptz
)
returns bigint[]
language plpgsql
set search_path = pg_catalog, pg_temp
set standard_conforming_strings = on
as $$
declare
  v_behind jsonb;
  v_held uuid[];
begin
  if not exists (
    select from dripdrop.sender_states as c
    where c.ended_at is null and c.http_hook_id is not null and c.state <> 'closed'
  ) then
    return '{}'::bigint[];
  end if;
  perform dripdrop._probe_endpoints(wanted, fitting, at);

  select jsonb_object_agg(w.execution_id, c.id) into v_behind
  from unnest(wanted) as w
  join dripdrop.sender_states as c
    on c.http_hook_id = (w.hook ->> 'id')::uuid and c.ended_at is null and c.state <> 'closed'
  where w.kind = 'http' and c.probe_id is distinct from w.execution_id;
  if v_behind is null then
    return '{}'::bigint[];
  end if;
  v_held := array(
    select x.id
    from dripdrop.step_executions as x
    join dripdrop.enrollments as e on e.id = x.enrollment_id
    where x.id in (select b.key::uuid from jsonb_each(v_behind) as b)
      and x.state = 'scheduled'
      and e.state = 'active'
    for no key update of e, x skip locked
  );
  perform dripdrop._hold_behind_circuits(
    v_held,
    array(
      select (v_behind ->> h.id::text)::uuid
      from unnest(v_held) with ordinality as h (id, place)
      order by h.place
    ),
    _behind_circuits.at
  );
  perform pgmq.delete('dripdrop_hooks', array(
    select distinct w.message_id from unnest(wanted) as w where w.execution_id = any (v_held)
  ));
  return array(
    select distinct w.place from unnest(wanted) as w where v_behind ? w.execution_id::text
  );
end
$$;

comment on function dripdrop._behind_circuits(dripdrop._wanted_hook[], bigint[], timestamptz) is
  'Lets executions wait whose endpoint is away, but for the one that tries it.';

create or replace function dripdrop._hook_trouble(circuit_id uuid, failures jsonb)
returns table (reason text, detail text, until timestamptz)
language sql
stable
parallel safe
begin atomic
  select
    case
      when h.id is not null then 'circuit_open'
      when _hook_trouble.failures is not null then 'hook_unavailable'
    end,
    case
      when h.id is not null then format('hook "%s": %s', h.key, c.reason)
      when _hook_trouble.failures is not null
      then dripdrop._describe_failures(_hook_trouble.failures)
    end,
    case when h.id is not null then c.until end
  from (values (1)) as one
  left join dripdrop.sender_states as c on c.id = _hook_trouble.circuit_id and c.ended_at is null
  left join dripdrop.http_hooks as h on h.id = c.http_hook_id;
end;

comment on function dripdrop._hook_trouble(uuid, jsonb) is
  'What keeps a hook from answering, and until when its server is left alone; nulls for nothing.';
