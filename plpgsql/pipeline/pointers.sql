-- A queue of what is rendered is read by sender and tenant, not from its front: whoever has free
-- places gets messages, whatever stands before them. start() makes the index for it.

-- Beyond 500 senders and tenants it begins somewhere else each time.
create or replace function dripdrop._queue_groups(queue text)
returns table (sender text, tenant text)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_most constant int := 500;
  v_query constant text := format(
    'with recursive g as (
      (
        select coalesce(q.message ->> ''sender'', '''') as sender,
          coalesce(q.message ->> ''tenant'', '''') as tenant
        from pgmq.%1$I as q
        where (coalesce(q.message ->> ''sender'', ''''), coalesce(q.message ->> ''tenant'', ''''))
          >= ($1, '''')
        order by 1, 2
        limit 1
      )
      union all
      select n.sender, n.tenant
      from g
      cross join lateral (
        select coalesce(q.message ->> ''sender'', '''') as sender,
          coalesce(q.message ->> ''tenant'', '''') as tenant
        from pgmq.%1$I as q
        where (coalesce(q.message ->> ''sender'', ''''), coalesce(q.message ->> ''tenant'', ''''))
          > (g.sender, g.tenant)
        order by 1, 2
        limit 1
      ) as n
    )
    select array_agg(h.sender), array_agg(h.tenant)
    from (select g.sender, g.tenant from g limit $2) as h',
    'q_' || queue
  );
  v_senders text[];
  v_tenants text[];
begin
  execute v_query into v_senders, v_tenants using '', v_most;
  if cardinality(v_senders) = v_most then
    execute v_query into v_senders, v_tenants using gen_random_uuid()::text, v_most;
    -- Near the end there are few: the beginning has its turn too.
    if coalesce(cardinality(v_senders), 0) < v_most / 2 then
      execute v_query into v_senders, v_tenants using '', v_most;
    end if;
  end if;
  return query select g.sender, g.tenant from unnest(v_senders, v_tenants) as g (sender, tenant);
exception
  when undefined_table or invalid_schema_name then
    raise exception 'queue "%" does not exist', queue using
      errcode = 'ZD120', hint = 'select * from dripdrop.start() creates the queues.';
end
$$;

comment on function dripdrop._queue_groups(text) is
  'The senders and tenants that a queue holds messages of.';

-- The pointers that stand first for each sender and tenant, locked. What is no pointer of ours is
-- without an execution.
create or replace function dripdrop._queue_heads(
  queue text,
  senders text[],
  tenants text[],
  sizes int[]
)
returns table (message_id bigint, execution uuid, fence int, sender text, tenant text)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  for message_id, execution, fence, sender, tenant in
    execute format(
      'select
        h.msg_id,
        dripdrop._pointer_execution(h.message),
        dripdrop._pointer_fence(h.message),
        g.sender,
        g.tenant
      from unnest($1, $2, $3) as g (sender, tenant, size)
      cross join lateral (
        select q.msg_id, q.message
        from pgmq.%I as q
        where coalesce(q.message ->> ''sender'', '''') = g.sender
          and coalesce(q.message ->> ''tenant'', '''') = g.tenant
        order by q.msg_id
        limit g.size
        for update skip locked
      ) as h',
      'q_' || queue
    )
    using senders, tenants, sizes
  loop
    return next;
  end loop;
end
$$;

comment on function dripdrop._queue_heads(text, text[], text[], int[]) is
  'The first pointers of each sender and tenant, as many as asked for, locked.';

-- Who wrote it knows what it was for: nothing else ever takes it up. One line for each claim.
create or replace function dripdrop._warn_of_foreign_messages(queue text, count bigint)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if count > 0 then
    raise warning 'threw away % of queue "%": no pointers',
      case count when 1 then '1 message' else count || ' messages' end, queue using
      hint = 'Nothing but DripDrop writes to its queues; the pointers of its own messages that are '
        'lost by it are put back by reconcile().';
  end if;
end
$$;

comment on function dripdrop._warn_of_foreign_messages(text, bigint) is
  'Says on the client''s connection that messages which are no pointers were deleted.';

-- How many messages each sender can be handed now: what the caller has free, and what is left of
-- the concurrency that all callers share; what has been answered takes no place, though that is not
-- recorded yet. Of a sender that another claim is counting at this moment, none.
--
-- locks   senders with a concurrency, by try
create or replace function dripdrop._room_per_sender(
  senders text[],
  places jsonb,
  answered uuid[],
  batch_size int,
  at timestamptz
)
returns table (sender text, room int)
language sql
set search_path = pg_catalog, pg_temp
as $$
  select
    s.sender,
    least(
      coalesce((places ->> s.sender)::int, (places ->> '*')::int, batch_size),
      batch_size,
      case
        when a.concurrency is null then null
        when not pg_try_advisory_xact_lock(dripdrop._place_class(), hashtext(s.sender)) then 0
        else a.concurrency - (
          select count(*)::int
          from dripdrop.step_executions as x
          where x.place_of = a.id and x.lease_until > _room_per_sender.at and x.id <> all (answered)
        )
      end
    )
  from (select distinct n.sender from unnest(senders) as n (sender)) as s
  left join dripdrop.channel_adapters as a
    on a.id = case when s.sender ~ '^[0-9a-f-]{36}$' then s.sender::uuid end
$$;

comment on function dripdrop._room_per_sender(text[], jsonb, uuid[], int, timestamptz) is
  'How many messages each sender can be handed.';

-- A URL of a message's own may be of a host that hangs, and whoever invents such hosts is not to
-- have all places of a sender that others use too: a tenant has an equal part with everybody who
-- waits and one more, who may yet come; half, if nobody else waits; at least one.
create or replace function dripdrop._room_per_tenant(
  senders text[],
  tenants text[],
  rooms jsonb,
  answered uuid[],
  at timestamptz
)
returns jsonb
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select jsonb_object_agg(
    format('%s %s', r.sender, r.tenant), greatest((r.room + r.taken) / (r.waiting + 1), 1) - r.taken
  )
  from (
    select
      g.sender,
      g.tenant,
      (rooms ->> g.sender)::bigint as room,
      count(*) over (partition by g.sender) as waiting,
      (
        select count(*)
        from dripdrop.step_executions as x
        where x.place_of = case when g.sender ~ '^[0-9a-f-]{36}$' then g.sender::uuid end
          and coalesce(x.tenant_key, '') = g.tenant
          and x.lease_until > _room_per_tenant.at
          and x.id <> all (answered)
          and dripdrop._own_host(x.payload) is not null
      ) as taken
    from unnest(senders, tenants) as g (sender, tenant)
    where rooms ? g.sender
  ) as r
$$;

comment on function dripdrop._room_per_tenant(text[], text[], jsonb, uuid[], timestamptz) is
  'How many messages with a URL of their own each sender can be handed for each tenant, by both.';

-- Of what has no room nothing is said; tenants is null where their parts are of no matter.
--
-- locks   senders with a concurrency, by try
create or replace function dripdrop._rooms(
  queue text,
  sender_ids text[],
  tenant_keys text[],
  places jsonb,
  answered uuid[],
  batch_size int,
  at timestamptz,
  out senders jsonb,
  out tenants jsonb
)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  select jsonb_object_agg(r.sender, r.room) into senders
  from dripdrop._room_per_sender(sender_ids, places, answered, batch_size, at) as r
  where r.room > 0;
  if places is not null and exists (
    select from dripdrop.channels as c
    where c.own_hosts and 'dripdrop_send_' || c.channel = _rooms.queue
  ) then
    tenants := dripdrop._room_per_tenant(sender_ids, tenant_keys, senders, answered, at);
  end if;
end
$$;

comment on function dripdrop._rooms(
  text, text[], text[], jsonb, uuid[], int, timestamptz
) is
  'How many messages senders can be handed, and of those with a URL of their own for each tenant.';

create or replace function dripdrop._place_class()
returns int
language sql
immutable
parallel safe
return hashtext('dripdrop.place');

comment on function dripdrop._place_class() is
  'The class of the advisory locks under which places of senders are counted.';

-- Senders take turns, and the tenants of each. A pointer names its sender as it was when it was
-- made; the row knows better.
create or replace function dripdrop._choose_pointers(
  executions uuid[],
  fences int[],
  rooms jsonb,
  tenant_rooms jsonb,
  batch_size int,
  at timestamptz,
  out valid uuid[],
  out chosen uuid[]
)
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
  select
    coalesce(array_agg(c.id), '{}'),
    coalesce(
      array_agg(c.id) filter (
        where c.has_room and c.number <= batch_size and (c.number = 1 or c.bytes <= 33554432)
      ),
      '{}'
    )
  into valid, chosen
  from (
    select
      t.id,
      t.has_room,
      sum(t.bytes) over (order by not t.has_room, t.turn, t.sender_turn, t.id) as bytes,
      row_number() over (order by not t.has_room, t.turn, t.sender_turn, t.id) as number
    from (
      select
        n.id,
        n.bytes,
        n.tenant_turn as turn,
        row_number() over sender as sender_turn,
        row_number() over sender <= coalesce((rooms ->> n.sender)::int, batch_size)
        and n.tenant_turn <= coalesce(n.tenant_room, batch_size) as has_room
      from (
        select
          x.id,
          coalesce(x.adapter_id::text, '') as sender,
          pg_column_size(x.payload)::bigint as bytes,
          p.place,
          case
            when tenant_rooms is not null and dripdrop._own_host(x.payload) is not null
            then (
              tenant_rooms ->> format('%s %s', x.adapter_id, x.tenant_key)
            )::int
          end as tenant_room,
          row_number() over (partition by x.adapter_id, x.tenant_key order by p.place)
            as tenant_turn
        from unnest(executions, fences) with ordinality as p (execution, fence, place)
        join dripdrop.step_executions as x
          on x.id = p.execution and x.fence = p.fence and x.state = 'rendered'
        where not exists (
          select from dripdrop.faults as f
          where f.execution_id = x.id and f.until > _choose_pointers.at
        )
      ) as n
      window sender as (partition by n.sender order by n.tenant_turn, n.place)
    ) as t
  ) as c;
end
$$;

comment on function dripdrop._choose_pointers(uuid[], int[], jsonb, jsonb, int, timestamptz) is
  'Of pointers those whose message has not moved on, and those of them that are next and have room '
  'at their sender; at most 32 MB of payload.';

-- Pointers whose message has moved on are deleted; those of what somebody is stopping at this
-- moment go to the end of the queue. size: how many pointers of each sender and tenant are looked
-- at; as many as it has room for, if it is null. taken is null when there is no pointer at all.
--
-- locks   senders with a concurrency, by try; the slots of stops, shared; executions, skipping what
--         is locked
-- raises  ZD120 the queue does not exist
create or replace function dripdrop._take_pointers(
  queue text,
  places jsonb,
  answered uuid[],
  batch_size int,
  size int,
  at timestamptz,
  out taken uuid[],
  out foreign_messages bigint
)
language plpgsql
set search_path = pg_catalog, pg_temp
set standard_conforming_strings = on
as $$
declare
  v_senders text[];
  v_tenants text[];
  v_sizes int[];
  v_rooms jsonb;
  v_tenant_rooms jsonb;
  v_read bigint[];
  v_executions uuid[];
  v_fences int[];
  v_valid uuid[];
  v_chosen uuid[];
  v_gone bigint[];
begin
  select array_agg(g.sender), array_agg(g.tenant)
  into v_senders, v_tenants
  from dripdrop._queue_groups(queue) as g;
  if v_senders is null then
    return;
  end if;
  select r.senders, r.tenants into v_rooms, v_tenant_rooms
  from dripdrop._rooms(queue, v_senders, v_tenants, places, answered, batch_size, at) as r;
  select
    array_agg(g.sender),
    array_agg(g.tenant),
    array_agg(greatest((v_rooms ->> g.sender)::int, size))
  into v_senders, v_tenants, v_sizes
  from unnest(v_senders, v_tenants) as g (sender, tenant)
  where v_rooms ? g.sender
    and coalesce((v_tenant_rooms ->> format('%s %s', g.sender, g.tenant))::int, 1) > 0;

  select array_agg(h.message_id), array_agg(h.execution), array_agg(h.fence)
  into v_read, v_executions, v_fences
  from dripdrop._queue_heads(queue, v_senders, v_tenants, v_sizes) as h;
  if v_read is null then
    return;
  end if;

  select c.valid, c.chosen into v_valid, v_chosen
  from dripdrop._choose_pointers(
    v_executions, v_fences, v_rooms, v_tenant_rooms, batch_size, at
  ) as c;
  taken := array(
    select x.id
    from dripdrop.step_executions as x
    where x.id = any (v_chosen) and x.state = 'rendered'
    for update of x skip locked
  );
  taken := dripdrop._free_of_stops(taken);

  -- What is left out for a while is put back by reconcile().
  v_gone := array(
    select p.message_id
    from unnest(v_read, v_executions) as p (message_id, execution)
    where p.execution is null
      or p.execution <> all (v_valid)
      or p.execution = any (v_chosen)
  );
  perform pgmq.delete(queue, v_gone);
  foreign_messages := (
    select count(*)
    from unnest(v_executions, v_fences) as p (execution, fence)
    where p.execution is null or p.fence is null
  );
  if cardinality(taken) < cardinality(v_chosen) then
    perform dripdrop._enqueue_rendered(
      array(select c from unnest(v_chosen) as c where c <> all (taken))
    );
  end if;
end
$$;

comment on function dripdrop._take_pointers(text, jsonb, uuid[], int, int, timestamptz) is
  'Takes rendered messages from a queue, as many as their senders have room for, and locks them; '
  'foreign_messages: how many were no pointers.';

create or replace function dripdrop._is_empty(queue text)
returns boolean
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_empty boolean;
begin
  execute format('select not exists (select from pgmq.%I)', 'q_' || queue) into v_empty;
  return v_empty;
exception
  when undefined_table or invalid_schema_name then
    raise exception 'queue "%" does not exist', queue using
      errcode = 'ZD120', hint = 'select * from dripdrop.start() creates the queues.';
end
$$;

comment on function dripdrop._is_empty(text) is 'Whether a queue holds nothing at all.';

-- Nobody overtakes what waits in the queue; and what has a URL of its own goes there too, where the
-- tenants get their parts.
--
-- locks   senders with a concurrency, by try; executions, skipping what is locked; the slots of
--         stops, shared
-- raises  ZD120 the queue does not exist
create or replace function dripdrop._take_rendered(
  results dripdrop._render_result[],
  channel text,
  places jsonb,
  answered uuid[],
  batch_size int,
  at timestamptz
)
returns uuid[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_own_hosts boolean := (
    select c.own_hosts from dripdrop.channels as c where c.channel = _take_rendered.channel
  );
  v_executions uuid[];
  v_senders text[];
  v_bytes int[];
  v_rooms jsonb;
begin
  if not dripdrop._is_empty('dripdrop_send_' || channel) then
    return array[]::uuid[];
  end if;
  select array_agg(l.id), array_agg(l.sender), array_agg(l.bytes)
  into v_executions, v_senders, v_bytes
  from (
    select x.id, x.adapter_id::text as sender, pg_column_size(r.payload) as bytes
    from unnest(results) as r
    join dripdrop.step_executions as x
      on x.id = r.execution and x.fence = r.fence and x.state = 'queued'
    where x.channel = _take_rendered.channel
      and r.payload is not null
      and not (v_own_hosts and dripdrop._own_host(r.payload) is not null)
    order by x.scheduled_for, x.id
    for update of x skip locked
  ) as l;
  v_rooms := (
    select jsonb_object_agg(r.sender, r.room)
    from dripdrop._room_per_sender(
      array(select distinct s.sender from unnest(v_senders) as s (sender)),
      places, answered, batch_size, at
    ) as r
  );
  return dripdrop._free_of_stops(array(
    select n.id
    from (
      select
        t.id,
        t.sender_turn <= (v_rooms ->> t.sender)::int as has_room,
        row_number() over turns as number,
        sum(t.bytes) over turns as bytes
      from (
        select
          l.id, l.sender, l.bytes::bigint, l.place,
          row_number() over (partition by l.sender order by l.place) as sender_turn
        from unnest(v_executions, v_senders, v_bytes) with ordinality
          as l (id, sender, bytes, place)
      ) as t
      window turns as (order by t.sender_turn, t.place)
    ) as n
    where n.has_room and n.number <= batch_size and n.bytes <= 33554432
  ));
end
$$;

comment on function dripdrop._take_rendered(
  dripdrop._render_result[], text, jsonb, uuid[], int, timestamptz
) is
  'Which of what was just rendered for a channel has room at its sender now, locked; none if '
  'others wait for that.';
