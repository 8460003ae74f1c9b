-- The fence. From here on a message may have left, so the stop conditions are asked once more, and
-- the claim is committed before anything goes out. The pointer is gone with the commit: the lease
-- on the row takes its place. What would now get another sender goes back to tick(), which decides
-- about it as about anything due. The sender stands only in the first row of each adapter_id in a
-- batch.
--
-- places: {adapter_id: how many messages the caller can hand over at once}; "*" is for senders that
-- it does not name. Without it batch_size is the only bound. claim: the caller's token, by which
-- release_claim() gives everything back if the answer is lost. leave_within: what has not left so
-- long after the caller asked must be released. ahead: how long before its slot a message that
-- waits for its sender's rate or gap may be handed out, to a caller that keeps to leave_after: so
-- it has time to come to the content.
--
-- locks   executions, skipping what is locked, and the slots of stops, shared: a stop that is under
--         way keeps its message from being sent; senders with a concurrency, by try; half-open
--         circuits, and of what is stopped the enrolments and all their executions, skipping what
--         is locked; the counters of limits
-- raises  ZD120 the queue does not exist, ZD125 a daemon of another version,
--         ZD201 malformed places, ZD202 unknown channel
create or replace function dripdrop.claim_sends(
  channel text,
  batch_size int default 100,
  lease interval default '2 minutes',
  places jsonb default null,
  claim uuid default null,
  ahead interval default '0',
  answered uuid[] default '{}'
)
returns table (
  execution_id uuid,
  fence int,
  tenant_key text,
  idempotency_key text,
  recipient text,
  payload jsonb,
  adapter_id uuid,
  adapter jsonb,
  claimed_at timestamptz,
  leave_after float8,
  leave_within float8
)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set standard_conforming_strings = on
as $$
declare
  v_now timestamptz := dripdrop._now();
  v_taken uuid[];
  v_passed uuid[];
  v_size int;
  v_foreign bigint := 0;
begin
  perform dripdrop._cut_off('off');
  perform dripdrop._check_interval(lease, 'lease', interval '0');
  perform dripdrop._check_interval(ahead, 'ahead', interval '0');
  perform dripdrop._check_places(places);
  perform dripdrop._check_channel(channel);
  perform dripdrop._check_driver();
  perform dripdrop._check_batch_size(batch_size);
  -- What has been stopped meanwhile, or must not leave now, costs a claim little: it looks on.
  for i in 1 .. 6 loop
    select t.taken, v_foreign + coalesce(t.foreign_messages, 0)
    into v_taken, v_foreign
    from dripdrop._take_pointers(
      'dripdrop_send_' || channel, places, coalesce(answered, '{}'), batch_size, v_size, v_now
    ) as t;
    exit when v_taken is null;
    v_passed := dripdrop._pass_fence_but_for_faults(v_taken, lease, claim, ahead, v_now);
    exit when cardinality(v_passed) > 0 or dripdrop._is_cut_off();
    v_size := 2000;
  end loop;
  perform dripdrop._warn_of_foreign_messages('dripdrop_send_' || channel, v_foreign);
  if coalesce(cardinality(v_passed), 0) = 0 then
    return;
  end if;

  return query
  select c.* from dripdrop._claimed(v_passed, lease, v_now) as c;
end
$$;

comment on function dripdrop.claim_sends(
  text, int, interval, jsonb, uuid, interval, uuid[]
) is
  'Messages that may leave now over a channel, fenced and leased; hand the outcomes to '
  'complete_sends(). places: {adapter_id: free places, "*": those of any other sender}; claim: a '
  'token for release_claim(); ahead: how long before its slot a message may be handed out; '
  'leave_after, leave_within: when it may leave; what has not by then is to be released.';

-- What was fenced, as claim_sends() hands it out.
create or replace function dripdrop._claimed(
  executions uuid[],
  lease interval,
  at timestamptz
)
returns table (
  execution_id uuid,
  fence int,
  tenant_key text,
  idempotency_key text,
  recipient text,
  payload jsonb,
  adapter_id uuid,
  adapter jsonb,
  claimed_at timestamptz,
  leave_after float8,
  leave_within float8
)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select
    x.id,
    x.fence,
    x.tenant_key,
    dripdrop.idempotency_key(x.enrollment_id, x.step_id, x.occurrence, x.attempt_window),
    x.recipient,
    x.payload,
    x.adapter_id,
    case when row_number() over (partition by x.adapter_id) = 1 then jsonb_build_object(
      'id', a.id,
      'tenant_key', a.tenant_key,
      'name', a.name,
      'channel', a.channel,
      'provider', a.provider,
      'config', a.config,
      'credentials', translate(encode(a.credentials, 'base64'), E'\n', '')
    ) end,
    _claimed.at,
    extract(
      epoch from greatest(
        x.leave_by - dripdrop._leave_by(x.fence - 1, _claimed.at), interval '0'
      )
    )::float8,
    extract(epoch from coalesce(x.leave_by - _claimed.at, _claimed.lease / 2))::float8
  from dripdrop.step_executions as x
  left join dripdrop.channel_adapters as a on a.id = x.adapter_id
  where x.id = any (_claimed.executions)
$$;

comment on function dripdrop._claimed(uuid[], interval, timestamptz) is
  'Fenced executions as claim_sends() hands them out.';

-- complete_renders() and claim_sends() in one, for whoever renders and has places free: what may
-- leave at once of what was just rendered needs no pointer. As long as others wait in the queue of
-- the channel it joins them there, and so does everything that there is no place for.
--
-- results are those of complete_renders(), everything else is as with claim_sends().
--
-- locks   as complete_renders(), then as claim_sends()
-- raises  ZD120 the queue does not exist, ZD125 a daemon of another version,
--         ZD201 malformed results or places, ZD202 unknown channel
create or replace function dripdrop.claim_rendered(
  results jsonb,
  channel text,
  batch_size int default 500,
  lease interval default '2 minutes',
  places jsonb default null,
  claim uuid default null,
  ahead interval default '0',
  answered uuid[] default '{}'
)
returns table (
  execution_id uuid,
  fence int,
  tenant_key text,
  idempotency_key text,
  recipient text,
  payload jsonb,
  adapter_id uuid,
  adapter jsonb,
  claimed_at timestamptz,
  leave_after float8,
  leave_within float8
)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := dripdrop._now();
  v_results dripdrop._render_result[];
  v_taken uuid[];
  v_payloads jsonb[];
  v_passed uuid[];
begin
  perform dripdrop._check_interval(lease, 'lease', interval '0');
  perform dripdrop._check_interval(ahead, 'ahead', interval '0');
  perform dripdrop._check_places(places);
  perform dripdrop._check_channel(channel);
  perform dripdrop._check_driver();
  perform dripdrop._check_batch_size(batch_size);
  perform dripdrop._cut_off('off');
  v_results := dripdrop._without_empty(dripdrop._read_renders(results));
  v_taken := dripdrop._take_rendered(
    v_results, channel, places, coalesce(answered, '{}'), batch_size, v_now
  );
  select coalesce(array_agg(r.execution), '{}'), array_agg(r.payload)
  into v_taken, v_payloads
  from unnest(v_results) as r
  where r.execution = any (v_taken);
  if cardinality(v_taken) < cardinality(v_results) then
    perform dripdrop._enqueue_rendered(
      dripdrop._record_renders(
        array(select r from unnest(v_results) as r where r.execution <> all (v_taken)), v_now
      )
    );
  end if;
  if cardinality(v_taken) > 0 then
    v_passed := dripdrop._pass_fence(v_taken, v_payloads, lease, claim, ahead, v_now);
  end if;
  perform dripdrop._delete_render_messages(v_results);
  return query
  select c.* from dripdrop._claimed(v_passed, lease, v_now) as c;
end
$$;

comment on function dripdrop.claim_rendered(
  jsonb, text, int, interval, jsonb, uuid, interval, uuid[]
) is
  'Takes rendered messages as complete_renders() does, and hands out at once, as claim_sends() '
  'does, those that may leave and have a place; the others go to their senders'' queues.';

-- raises  ZD201
create or replace function dripdrop._check_places(places jsonb)
returns void
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if places is null then
    return;
  end if;
  perform dripdrop._check_json(places, 'places');
  if jsonb_typeof(places) <> 'object'
    or exists (
      select from jsonb_each(places) as p
      where jsonb_typeof(p.value) <> 'number' or p.value #>> '{}' !~ '^[0-9]{1,6}$'
    )
  then
    raise exception 'places are not counts by sender' using
      errcode = 'ZD201', column = 'places',
      hint = 'For example {"*": 1, "0198…": 8}: an adapter_id and how many messages it can take.';
  end if;
end
$$;

comment on function dripdrop._check_places(jsonb) is
  'Raises ZD201 on what does not map senders to free places.';

-- The claim of a caller that never got the answer, or could not read it: nothing of it has begun,
-- so all of it goes back. Safe to repeat, and to call for a claim that was never made.
--
-- locks   as complete_sends()
create or replace function dripdrop.release_claim(claim uuid)
returns int
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_results jsonb := (
    select jsonb_agg(jsonb_build_object(
      'execution', x.id, 'fence', x.fence, 'outcome', 'released', 'code', 'claim_lost'
    ))
    from dripdrop.step_executions as x
    where x.due_at is null
      and x.ended_at is null
      and x.waits_for is null
      and x.claim = release_claim.claim
      and x.state in ('sending', 'unknown')
  );
begin
  return case when v_results is null then 0 else dripdrop.complete_sends(v_results) end;
end
$$;

comment on function dripdrop.release_claim(uuid) is
  'Gives back everything that claim_sends() handed out under a token and nobody has begun to send; '
  'returns how many messages.';

-- Of those that were taken, what may leave is fenced; the rest has gone back.
--
-- locks   half-open circuits, skipping what is locked; the counters of limits
create or replace function dripdrop._pass_fence_but_for_faults(
  taken uuid[],
  lease interval,
  claim uuid,
  ahead interval,
  at timestamptz
)
returns uuid[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_half int := cardinality(taken) / 2;
  v_most int := dripdrop._most_together(taken);
  v_passed uuid[] := array[]::uuid[];
begin
  if cardinality(taken) = 0 then
    return taken;
  elsif dripdrop._is_cut_off() then
    perform dripdrop._enqueue_rendered(taken);
    return v_passed;
  elsif cardinality(taken) > v_most then
    return dripdrop._pass_fence_but_for_faults(taken[:v_half], lease, claim, ahead, at)
      || dripdrop._pass_fence_but_for_faults(taken[v_half + 1:], lease, claim, ahead, at);
  end if;
  begin
    v_passed := dripdrop._pass_fence(taken, '{}', lease, claim, ahead, at);
    perform dripdrop._forget_slow(taken) where v_most is not null;
    return v_passed;
  exception
    when query_canceled then
      perform dripdrop._note_slow(taken, 'send', sqlerrm, at);
      perform dripdrop._enqueue_rendered(taken);
      return array[]::uuid[];
    when others or assert_failure then
      if v_half = 0 then
        perform dripdrop._note_fault(taken[1], 'send', sqlstate, sqlerrm, at);
        return array[]::uuid[];
      end if;
      return dripdrop._pass_fence_but_for_faults(taken[:v_half], lease, claim, ahead, at)
        || dripdrop._pass_fence_but_for_faults(taken[v_half + 1:], lease, claim, ahead, at);
  end;
end
$$;

comment on function dripdrop._pass_fence_but_for_faults(
  uuid[], interval, uuid, interval, timestamptz
) is
  'Fences the executions that may leave now, and returns which; one that cannot be told or written '
  'is left out for a while.';

-- payloads: of those whose rows do not hold them yet, in the same order.
--
-- locks   half-open circuits, skipping what is locked; the counters of limits
create or replace function dripdrop._pass_fence(
  executions uuid[],
  payloads jsonb[],
  lease interval,
  claim uuid,
  ahead interval,
  at timestamptz
)
returns uuid[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_own_hosts text[] := array(select c.channel from dripdrop.channels as c where c.own_hosts);
  v_stopped uuid[] := dripdrop._stop_at_fence(executions, ahead, at);
  v_passed uuid[];
begin
  with fenced as (
    update dripdrop.step_executions as x
    set state = 'sending',
        payload = coalesce(t.payload, x.payload),
        fence = x.fence + 1,
        lease_until = _pass_fence.at + _pass_fence.lease,
        leave_by = case when x.leave_by > _pass_fence.at then x.leave_by end,
        claim = _pass_fence.claim,
        place_of = (
          select a.id
          from dripdrop.channel_adapters as a
          where a.id = x.adapter_id
            and (
              a.concurrency is not null
              or a.channel = any (v_own_hosts) and dripdrop._own_host(x.payload) is not null
            )
        ),
        claimed_at = _pass_fence.at,
        updated_at = _pass_fence.at
    from unnest(executions, payloads) as t (id, payload)
    where x.id = t.id and t.id <> all (v_stopped)
    returning x.id
  )
  select coalesce(array_agg(f.id), '{}')
  into v_passed
  from fenced as f;
  -- Nothing leaves that is not fenced.
  perform dripdrop._check_written(array(
    select t.id from unnest(executions) as t (id) where t.id <> all (v_stopped || v_passed)
  ));
  return v_passed;
end
$$;

comment on function dripdrop._pass_fence(
  uuid[], jsonb[], interval, uuid, interval, timestamptz
) is
  'Fences the executions that may leave now, and returns which.';

-- A message that does not try a server which is away finds its circuit open.
--
-- locks   half-open circuits, skipping what is locked, enrolments of what is stopped and their
--         executions, skipping what is locked, then the counters of limits; claim_sends() holds the
--         executions
create or replace function dripdrop._stop_at_fence(
  executions uuid[],
  ahead interval,
  at timestamptz
)
returns uuid[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_stops dripdrop._decision[] := array(
    select d from dripdrop._decide(executions, _stop_at_fence.at, 'fence') as d
  );
  v_stopped uuid[] := array(select d.execution_id from unnest(v_stops) as d);
  v_waiting uuid[] := dripdrop._pick_probes(
    array(select u.id from unnest(executions) as u (id) where u.id <> all (v_stopped)),
    _stop_at_fence.at
  );
begin
  if cardinality(v_waiting) > 0 then
    v_stopped := v_stopped || v_waiting;
    v_stops := v_stops || array(
      select d from dripdrop._decide(v_waiting, _stop_at_fence.at, 'fence') as d
    );
  end if;
  if cardinality(v_stopped) > 0 then
    v_stops := dripdrop._confirmed_holds(v_stops, _stop_at_fence.at);
    perform dripdrop._make_due(v_stopped, _stop_at_fence.at);
    perform dripdrop._carry_out_at_fence(v_stops, _stop_at_fence.at);
  end if;
  return v_stopped || dripdrop._limit_at_fence(
    array(select u.id from unnest(executions) as u (id) where u.id <> all (v_stopped)),
    _stop_at_fence.at,
    ahead
  );
end
$$;

comment on function dripdrop._stop_at_fence(uuid[], interval, timestamptz) is
  'Does with those that may not leave what their closed gates say, and returns which.';

-- What was found at the fence is not found again. But nobody waits here for an enrolment: where one
-- is in other hands, or another message of it, the message stays due and tick() decides. So does
-- what is to be decided anew, by another sender.
--
-- locks   enrolments and their executions, skipping what is locked
create or replace function dripdrop._carry_out_at_fence(
  decisions dripdrop._decision[],
  at timestamptz
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_had uuid[] := dripdrop._try_enrollments(
    array(
      select d.execution_id
      from unnest(decisions) as d
      where d.until is distinct from _carry_out_at_fence.at
    )
  );
begin
  perform from dripdrop._carry_out(
    array(select d from unnest(decisions) as d where d.execution_id = any (v_had)),
    _carry_out_at_fence.at
  );
end
$$;

comment on function dripdrop._carry_out_at_fence(dripdrop._decision[], timestamptz) is
  'Carries out at the fence what concerns nobody who is being dealt with elsewhere.';

-- Limits that were set after tick() count as well.
--
-- locks   the counters of limits; callers hold the executions
create or replace function dripdrop._limit_at_fence(
  executions uuid[],
  at timestamptz,
  ahead interval default '0'
)
returns uuid[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_limited dripdrop._decision[] := array(
    with
    limited as materialized (
      select s.id, a.id
      from (
        select distinct x.step_id, x.adapter_id
        from dripdrop.step_executions as x
        where x.id = any (executions) and x.line_id is null
      ) as p
      join dripdrop.steps as s on s.id = p.step_id
      join dripdrop.channel_adapters as a on a.id = p.adapter_id
      where dripdrop._has_limits(s, a)
    )
    select dripdrop._as_decision(
      x.id, 'send', 'send', until => dripdrop._leave_by(x.fence, _limit_at_fence.at),
      adapter_id => x.adapter_id, recipient => x.recipient, limited => true,
      line_id => x.line_id
    )
    from dripdrop.step_executions as x
    where x.id = any (executions)
      and (x.line_id is not null or (x.step_id, x.adapter_id) in (select * from limited))
    order by x.id
  );
begin
  if cardinality(v_limited) > 0 then
    v_limited := dripdrop._admit_at_fence(v_limited, _limit_at_fence.at, ahead);
    update dripdrop.step_executions as x
    set line_id = d.line_id,
        leave_by = d.until
    from unnest(v_limited) as d
    where x.id = d.execution_id
      and d.action = 'send'
      and (x.line_id is null or d.until is not null);
    v_limited := array(select d from unnest(v_limited) as d where d.action = 'defer');
    perform dripdrop._defer_executions(v_limited, _limit_at_fence.at);
  end if;
  return array(select d.execution_id from unnest(v_limited) as d where d.action = 'defer');
end
$$;

comment on function dripdrop._limit_at_fence(uuid[], timestamptz, interval) is
  'Puts off those whose limits are used up by what has left, and returns which.';

-- A claim under a rate is good for two seconds; for longer if the message has missed its moment
-- again and again, because its server takes long to come to the content.
create or replace function dripdrop._leave_by(fence int, at timestamptz)
returns timestamptz
language sql
immutable
parallel safe
return at + case when fence < 6 then interval '2 seconds' else interval '20 seconds' end;

comment on function dripdrop._leave_by(int, timestamptz) is
  'When a message that a rate limits must have left, if it is claimed at a time.';
