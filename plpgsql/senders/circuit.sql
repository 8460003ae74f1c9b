-- A message with a URL of its own goes to that host, whichever sender signs it. Where no host can
-- be read the message is refused, and is nothing that a sender answers for.
create or replace function dripdrop._own_host(payload jsonb)
returns text
language sql
immutable
parallel safe
return case
  when payload ->> 'url' <> '' then coalesce(dripdrop._url_host(payload ->> 'url'), '?')
end;

comment on function dripdrop._own_host(jsonb) is
  'The host of the URL that a payload brings along, ? where there is none to read; null: it brings '
  'none.';

create or replace function dripdrop._rest_after(openings int)
returns interval
language sql
immutable
parallel safe
return least(interval '30 seconds' * power(2, least(openings, 10) - 1), interval '15 minutes');

comment on function dripdrop._rest_after(int) is
  'How long a server is left alone that was found away so often in a row: 30 s, doubled each time, '
  'to 15 minutes.';

-- How long a server asks to be left alone, one reply says of one message perhaps. The rest is no
-- longer than it would get to be anyway, until another message that tries the server hears it too.
create or replace function dripdrop._asked_rest(retry_after float8, is_confirmed boolean)
returns interval
language sql
immutable
parallel safe
return make_interval(
  secs => least(coalesce(retry_after, 0), case when is_confirmed then 86400 else 900 end)
);

comment on function dripdrop._asked_rest(float8, boolean) is
  'How long a server is left alone because it asks for it: 15 minutes at most, a day if it said so '
  'of two messages.';

-- What was claimed before the circuit last closed says nothing new. While it is open, only the
-- probe's answer counts: its success closes it, its failure doubles the rest. A server that answers
-- others of the same batch is not away, and only the third missing answer in a row makes it so, of
-- a message's own host the first.
--
-- locks   the circuit
create or replace function dripdrop._move_circuit(
  asked dripdrop._asked_server,
  at timestamptz
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_circuit dripdrop.sender_states;
begin
  select c.* into v_circuit
  from dripdrop.sender_states as c
  where c.adapter_id is not distinct from (asked).adapter_id
    and c.http_hook_id is not distinct from (asked).http_hook_id
    and c.host = (asked).host
    and c.ended_at is null
  for no key update;

  if v_circuit.state in ('resting', 'probing') then
    perform dripdrop._note_while_open(
      v_circuit,
      (asked).by_execution ->> v_circuit.probe_id::text,
      (asked).faults + (asked).slow, (asked).code, (asked).detail, (asked).retry_after, at
    );
  elsif (asked).asked > 0
    or (asked).answers = 0
    and (
      (asked).faults > 0
      or (asked).host <> '' and (asked).slow > 0
      or (asked).slow + coalesce(v_circuit.faults, 0) >= 3
    )
  then
    perform dripdrop._open_circuit(
      (asked).adapter_id, (asked).http_hook_id, (asked).host, (asked).execution_id,
      (asked).faults + (asked).slow, (asked).code, (asked).detail, (asked).retry_after, at
    );
  elsif (asked).answers > 0 then
    delete from dripdrop.sender_states as c where c.id = v_circuit.id;
  elsif (asked).slow > 0 then
    insert into dripdrop.sender_states as c (
      tenant_key, adapter_id, http_hook_id, host, state, reason, detail, faults
    )
    values (
      dripdrop._tenant_of_server((asked).adapter_id, (asked).http_hook_id),
      (asked).adapter_id, (asked).http_hook_id, (asked).host, 'closed', (asked).code,
      (asked).detail, (asked).slow
    )
    on conflict (adapter_id, http_hook_id, host, kind) where ended_at is null do update
    set faults = c.faults + excluded.faults;
  end if;
end
$$;

comment on function dripdrop._move_circuit(dripdrop._asked_server, timestamptz) is
  'Moves the circuit of a server by what its answers say.';

-- Each server that was asked, by itself. A circuit that cannot be written costs no outcome.
--
-- locks   the circuits of what was asked, in the order of their keys
create or replace function dripdrop._note_signals(signals dripdrop._signal[], at timestamptz)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_asked dripdrop._asked_server;
begin
  for v_asked in
    select
      n.adapter_id,
      n.http_hook_id,
      n.host,
      count(*) filter (where n.says = 'ok') as answers,
      count(*) filter (where n.says in ('away', 'asked')) as faults,
      count(*) filter (where n.says = 'asked') as asked,
      count(*) filter (where n.says = 'slow') as slow,
      max(n.retry_after) filter (where n.says in ('away', 'asked')) as retry_after,
      (array_agg(n.code order by n.says = 'ok', n.says = 'slow'))[1] as code,
      (array_agg(n.detail order by n.says = 'ok', n.says = 'slow'))[1] as detail,
      (array_agg(n.execution_id order by n.says = 'ok', n.says = 'slow'))[1] as execution_id,
      jsonb_object_agg(n.execution_id, n.says) as by_execution
    from unnest(signals) as n
    where (n.adapter_id is not null or n.http_hook_id is not null)
      and not exists (
        select from dripdrop.sender_states as c
        where c.adapter_id is not distinct from n.adapter_id
          and c.http_hook_id is not distinct from n.http_hook_id
          and c.host = n.host
          and c.ended_at > n.claimed_at
      )
    group by n.adapter_id, n.http_hook_id, n.host
    order by n.adapter_id, n.http_hook_id, n.host
  loop
    begin
      perform dripdrop._move_circuit(v_asked, at);
    exception
      when others or assert_failure then
        raise warning 'the circuit of % could not be written: %',
          dripdrop._name_of_server(v_asked.adapter_id, v_asked.http_hook_id, v_asked.host),
          left(sqlerrm, 200) using
          errcode = sqlstate, hint = 'What was answered is recorded all the same.';
    end;
  end loop;
end
$$;

comment on function dripdrop._note_signals(dripdrop._signal[], timestamptz) is
  'Opens and closes the circuits of servers by what their answers say.';

create or replace function dripdrop._tenant_of_server(adapter_id uuid, http_hook_id uuid)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select a.tenant_key
  from dripdrop.channel_adapters as a
  where a.id = _tenant_of_server.adapter_id
  union all
  select h.tenant_key
  from dripdrop.http_hooks as h
  where h.id = _tenant_of_server.http_hook_id
$$;

comment on function dripdrop._tenant_of_server(uuid, uuid) is 'Whose sender or hook it is.';

create or replace function dripdrop._name_of_server(adapter_id uuid, http_hook_id uuid, host text)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select n.name || coalesce(' at ' || nullif(_name_of_server.host, ''), '')
  from (
    select format('sender "%s"', a.name) as name
    from dripdrop.channel_adapters as a
    where a.id = _name_of_server.adapter_id
    union all
    select format('hook "%s"', h.key)
    from dripdrop.http_hooks as h
    where h.id = _name_of_server.http_hook_id
  ) as n
$$;

comment on function dripdrop._name_of_server(uuid, uuid, text) is
  'A sender or a hook''s endpoint, as people name it.';

-- Hosts that messages bring along are anybody's to invent: a sender has at most a thousand open at
-- a time, and what goes to others is tried again by its own retries alone. The warning goes to the
-- client's log, once per change. Whose fault it may be after all does not try it first.
create or replace function dripdrop._open_circuit(
  adapter_id uuid,
  http_hook_id uuid,
  host text,
  execution_id uuid,
  faults bigint,
  code text,
  detail text,
  retry_after float8,
  at timestamptz
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_until timestamptz := _open_circuit.at
    + greatest(
      dripdrop._rest_after(1), dripdrop._asked_rest(_open_circuit.retry_after, false)
    );
begin
  if _open_circuit.host <> ''
    and (
      select count(*) >= 1000
      from dripdrop.sender_states as c
      where c.adapter_id is not distinct from _open_circuit.adapter_id
        and c.http_hook_id is not distinct from _open_circuit.http_hook_id
        and c.ended_at is null
    )
  then
    return;
  end if;
  insert into dripdrop.sender_states as c (
    tenant_key, adapter_id, http_hook_id, host, state, reason, detail, openings, faults, until,
    tried_id, started_at, changed_at
  )
  values (
    dripdrop._tenant_of_server(_open_circuit.adapter_id, _open_circuit.http_hook_id),
    _open_circuit.adapter_id, _open_circuit.http_hook_id, _open_circuit.host, 'resting',
    coalesce(_open_circuit.code, 'unreachable'), left(_open_circuit.detail, 500), 1,
    _open_circuit.faults, v_until, _open_circuit.execution_id, _open_circuit.at, _open_circuit.at
  )
  on conflict (adapter_id, http_hook_id, host, kind) where ended_at is null do update
  set state = 'resting',
      reason = excluded.reason,
      detail = excluded.detail,
      openings = 1,
      faults = c.faults + excluded.faults,
      until = excluded.until,
      tried_id = excluded.tried_id,
      changed_at = excluded.changed_at
  where c.state = 'closed';
  if found then
    perform dripdrop._warn_of_server(
      _open_circuit.adapter_id, _open_circuit.http_hook_id, _open_circuit.host,
      'rests', v_until, _open_circuit.code, _open_circuit.detail
    );
  end if;
end
$$;

comment on function dripdrop._open_circuit(
  uuid, uuid, text, uuid, bigint, text, text, float8, timestamptz
) is 'Lets nothing more be handed to a server for a while.';

create or replace function dripdrop._note_while_open(
  circuit dripdrop.sender_states,
  probe_says text,
  faults bigint,
  code text,
  detail text,
  retry_after float8,
  at timestamptz
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_failed boolean := coalesce(probe_says in ('away', 'asked', 'slow'), false);
  v_asked timestamptz := at + dripdrop._asked_rest(
    retry_after,
    v_failed and exists (
      select from dripdrop.step_executions as x
      where x.id = circuit.probe_id
        and x.excused_at is null
        and (circuit.adapter_id is not null or x.id is distinct from circuit.tried_id)
    )
  );
begin
  update dripdrop.sender_states as c
  set state = case
        when probe_says = 'ok' then 'closed'
        when probe_says is not null then 'resting'
        else c.state
      end,
      ended_at = case when probe_says = 'ok' then at end,
      probe_id = case when probe_says is null then c.probe_id end,
      openings = c.openings + v_failed::int,
      faults = c.faults + _note_while_open.faults,
      reason = case when v_failed then coalesce(code, c.reason) else c.reason end,
      detail = case when v_failed then left(_note_while_open.detail, 500) else c.detail end,
      until = case
        when v_failed then greatest(at + dripdrop._rest_after(c.openings + 1), v_asked)
        -- What was to try it was not handed over: the next one may.
        when probe_says = 'nothing' then at
        else greatest(c.until, v_asked)
      end,
      changed_at = case when probe_says is not null then at else c.changed_at end
  where c.id = circuit.id
  returning c.* into circuit;
  if v_failed or probe_says = 'ok' then
    perform dripdrop._warn_of_server(
      circuit.adapter_id, circuit.http_hook_id, circuit.host,
      case when v_failed then 'still rests' else 'answers again' end,
      case when v_failed then circuit.until end,
      case when v_failed then circuit.reason end,
      case when v_failed then circuit.detail end
    );
  end if;
end
$$;

comment on function dripdrop._note_while_open(
  dripdrop.sender_states, text, bigint, text, text, float8, timestamptz
) is 'Closes an open circuit when its probe succeeded, and rests longer when it failed.';

create or replace function dripdrop._warn_of_server(
  adapter_id uuid,
  http_hook_id uuid,
  host text,
  what text,
  until timestamptz,
  code text,
  detail text
)
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
  raise warning '%',
    concat_ws(
      ' ',
      dripdrop._name_of_server(adapter_id, http_hook_id, host),
      what,
      'until ' || to_char(until at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS"Z"'),
      case when until is not null then format('(%s)', code) end
    )
  using
    detail = coalesce(detail, ''),
    hint = 'select * from dripdrop.list_circuits(…) shows the circuits; what waits is kept.';
end
$$;

comment on function dripdrop._warn_of_server(uuid, uuid, text, text, timestamptz, text, text) is
  'Says on the client''s connection that a circuit has opened or closed.';

-- Of several messages that pass the fence while a circuit is half open, one tries the server and
-- the others go back; rather one that has not failed here. One that has says little new: its
-- failures let the server rest for a minute, so that who comes next, and may fare better, does not
-- wait for long. Whoever is quicker elsewhere has the circuit locked: then all of them go
-- back.
--
-- locks   the half-open circuits, skipping what is locked; callers hold the executions
create or replace function dripdrop._pick_probes(executions uuid[], at timestamptz)
returns uuid[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_waiting uuid[];
  v_probes uuid[];
begin
  if not exists (
    select from dripdrop.sender_states as c where c.ended_at is null and c.adapter_id is not null
  ) then
    return array[]::uuid[];
  end if;
  v_waiting := array(
    select c.id
    from dripdrop._circuits_of(executions) as o
    join dripdrop.sender_states as c on c.id = o.circuit_id
    order by c.id
    for no key update of c skip locked
  );
  with
  probe as (
    select distinct on (o.circuit_id)
      o.circuit_id, o.execution_id, x.excused_at is not null as failed_before
    from dripdrop._circuits_of(executions) as o
    join dripdrop.sender_states as c on c.id = o.circuit_id
    join dripdrop.step_executions as x on x.id = o.execution_id
    where o.circuit_id = any (v_waiting)
    order by
      o.circuit_id, o.execution_id is distinct from c.probe_id, failed_before,
      o.execution_id is not distinct from c.tried_id, o.execution_id
  ),
  picked as (
    update dripdrop.sender_states as c
    set state = 'probing',
        probe_id = p.execution_id,
        tried_id = p.execution_id,
        openings = case when p.failed_before then 1 else c.openings end,
        probes = c.probes + 1,
        until = _pick_probes.at + interval '5 minutes',
        changed_at = _pick_probes.at
    from probe as p
    where c.id = p.circuit_id
      and (c.until <= _pick_probes.at or c.probe_id = p.execution_id)
    returning c.probe_id
  )
  select array_agg(k.probe_id) into v_probes
  from picked as k;
  return array(
    select o.execution_id
    from dripdrop._circuits_of(executions) as o
    where o.execution_id <> all (coalesce(v_probes, '{}'))
  );
end
$$;

comment on function dripdrop._pick_probes(uuid[], timestamptz) is
  'Of messages behind open circuits, those that may not try the server now.';

create or replace function dripdrop._circuits_of(executions uuid[])
returns table (execution_id uuid, circuit_id uuid)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select x.id, c.id
  from dripdrop.step_executions as x
  left join dripdrop.channels as h on h.channel = x.channel
  join dripdrop.sender_states as c
    on c.adapter_id = x.adapter_id
    and c.ended_at is null
    and c.state <> 'closed'
  where x.id = any (executions)
    and (
      c.host = ''
      or c.host = case when h.own_hosts then dripdrop._own_host(x.payload) end
    )
$$;

comment on function dripdrop._circuits_of(uuid[]) is
  'The open circuits that executions stand behind.';

create or replace function dripdrop.list_circuits(tenant_key text)
returns table (
  server text,
  adapter_id uuid,
  http_hook_id uuid,
  host text,
  state text,
  reason text,
  detail text,
  until timestamptz,
  openings int,
  faults int,
  probes int,
  waiting bigint,
  started_at timestamptz,
  ended_at timestamptz
)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
  select
    dripdrop._name_of_server(c.adapter_id, c.http_hook_id, c.host),
    c.adapter_id, c.http_hook_id, c.host, c.state, c.reason, c.detail,
    case when c.ended_at is null then c.until end, c.openings,
    c.faults, c.probes,
    (select count(*) from dripdrop.step_executions as x where x.circuit_id = c.id),
    c.started_at, c.ended_at
  from dripdrop.sender_states as c
  where c.tenant_key is not distinct from list_circuits.tenant_key
    and (c.state <> 'closed' or c.ended_at is not null)
  order by c.ended_at is not null, c.started_at desc
  limit 1000
$$;

comment on function dripdrop.list_circuits(text) is
  'The circuits of a tenant''s senders and hooks (null: the global ones): those that are open, '
  'with how many messages wait for them, and then those of the last thirty days.';
