-- One adapter as a step of a tenant may or may not use it. Without a search_path of its own the
-- planner makes it part of the query that calls it. An adapter of another tenant is as good as
-- none: not even its name is shown.
create or replace function dripdrop._as_sender(
  adapter dripdrop.channel_adapters,
  circuit dripdrop.sender_states,
  named uuid,
  weight float8,
  tenant_key text,
  channel text,
  at timestamptz
)
returns dripdrop._sender
language sql
immutable
parallel safe
return case
  when (adapter).tenant_key is null or (adapter).tenant_key = tenant_key
  then row(
    (adapter).id,
    coalesce((adapter).name, named::text),
    weight,
    case
      when named is null then 'no_adapter'
      when (adapter).id is null then 'missing_channel_adapter'
      when (adapter).channel <> channel then 'adapter_channel_mismatch'
      when not (adapter).active then 'adapter_inactive'
    end,
    dripdrop._is_resting((adapter).health_state, (adapter).resting_until, at),
    (adapter).resting_until,
    (adapter).resting_reason,
    case when (circuit).state <> 'closed' and (circuit).until > at then (circuit).until end,
    (circuit).reason,
    (circuit).probe_id
  )::dripdrop._sender
  else row(
    null, named::text, weight, 'missing_channel_adapter', false, null, null, null, null, null
  )::dripdrop._sender
end;

comment on function dripdrop._as_sender(
  dripdrop.channel_adapters, dripdrop.sender_states, uuid, float8, text, text, timestamptz
) is
  'What an adapter is to a step: its fault, if it cannot be used, and whether it rests.';

-- Who sends the messages of a step: sends marks those of the first rule that names anybody. No
-- other place knows the rules: whoever draws, checks or reports asks here. A rotation names
-- several, of which each message draws one; of a default rotation, which may serve several
-- channels, only the channel's own senders count. The last rule is that there is nobody.
create or replace function dripdrop._who_sends(
  step_adapter_id uuid,
  config jsonb,
  metadata jsonb,
  tenant_key text,
  channel text
)
returns table (named_by text, adapter_id uuid, weight float8, place bigint, sends boolean)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select n.named_by, n.adapter_id, n.weight, n.place, n.rule = min(n.rule) over ()
  from (
    select
      1 as rule, 'step' as named_by, _who_sends.step_adapter_id as adapter_id,
      1::float8 as weight, 1::bigint as place
    where _who_sends.step_adapter_id is not null
    union all
    select r.rule, r.named_by, s.adapter_id, s.weight, s.place
    from (
      select
        2 as rule, 'step' as named_by,
        _who_sends.config -> 'channel_adapter_rotation' as rotation
      union all
      select 3, 'sequence', _who_sends.metadata #> array['channel_rotation', _who_sends.channel]
      union all
      select 4, 'sequence', _who_sends.metadata #> '{channel_rotation,default}'
    ) as r
    cross join lateral (
      select
        (e.entry ->> 'adapter_id')::uuid as adapter_id,
        (e.entry ->> 'weight')::float8 as weight,
        e.place
      from jsonb_array_elements(r.rotation) with ordinality as e (entry, place)
    ) as s
    left join dripdrop.channel_adapters as a on a.id = s.adapter_id
    where r.rule <> 4 or a.channel = _who_sends.channel
    union all
    select
      5, 'sequence', (_who_sends.metadata #>> array['channel_adapters', _who_sends.channel])::uuid,
      1, 1
    where _who_sends.metadata #>> array['channel_adapters', _who_sends.channel] is not null
    union all
    select case when d.tenant_key is null then 7 else 6 end, 'default', d.id, 1, 1
    from dripdrop.channel_adapters as d
    where (d.tenant_key = _who_sends.tenant_key or d.tenant_key is null)
      and d.channel = _who_sends.channel
      and d.is_default
      and d.active
    union all
    select 8, 'nobody', null, 1, 1
  ) as n
$$;

comment on function dripdrop._who_sends(uuid, jsonb, jsonb, text, text) is
  'All that are named to send the messages of a step, by the step, its sequence or as a default of '
  'the channel, and which of them do; adapter_id is null where nobody is.';

create or replace function dripdrop._senders_of(
  step_adapter_id uuid,
  config jsonb,
  metadata jsonb,
  tenant_key text,
  channel text,
  at timestamptz
)
returns dripdrop._sender[]
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select array_agg(
    dripdrop._as_sender(
      a, c, w.adapter_id, w.weight, _senders_of.tenant_key, _senders_of.channel, _senders_of.at
    )
    order by w.place
  )
  from dripdrop._who_sends(
    _senders_of.step_adapter_id,
    _senders_of.config,
    _senders_of.metadata,
    _senders_of.tenant_key,
    _senders_of.channel
  ) as w
  left join dripdrop.channel_adapters as a on a.id = w.adapter_id
  left join dripdrop.sender_states as c
    on c.adapter_id = a.id and c.host = '' and c.ended_at is null
  where w.sends
$$;

comment on function dripdrop._senders_of(uuid, jsonb, jsonb, text, text, timestamptz) is
  'Who sends the messages of a step, as they stand at a time: several if they share them, else one '
  'or, if nobody does, the fault that there is none.';

-- Every sender gets a number from the message and itself, and the best one wins (rendezvous
-- hashing): shares follow the weights, the same message draws the same sender again, and one that
-- rests, or whose server is away, passes only its own messages on. When all do, the first to be
-- back has it.
create or replace function dripdrop._drawn_sender(
  senders dripdrop._sender[],
  execution_id uuid,
  kept uuid
)
returns dripdrop._sender
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select s
  from unnest(senders) as s
  order by
    s.fault is not null,
    s.fault <> 'adapter_inactive',
    s.rests,
    case when s.rests then s.resting_until end,
    s.circuit_until is not null and s.probe_id is distinct from execution_id,
    s.circuit_until,
    s.adapter_id is distinct from kept,
    -ln(
      (1 + (
        uuid_hash_extended(execution_id, uuid_hash_extended(s.adapter_id, 0))
        & ((1::bigint << 52) - 1)
      )) / (1 + (1::bigint << 52))::float8
    ) / s.weight
  limit 1
$$;

comment on function dripdrop._drawn_sender(dripdrop._sender[], uuid, uuid) is
  'The sender of a message among several: kept, while it can be used, else one by lot.';

-- Where the message has a URL of its own, so is the circuit.
create or replace function dripdrop._message_sender(
  sender dripdrop._sender,
  senders dripdrop._sender[],
  execution_id uuid,
  kept uuid,
  host text,
  at timestamptz
)
returns table (
  adapter_id uuid,
  name text,
  fault text,
  rests boolean,
  resting_until timestamptz,
  resting_reason text,
  circuit_until timestamptz,
  circuit_reason text,
  host text
)
language sql
stable
begin atomic
  select
    (s.sender).adapter_id, (s.sender).name, (s.sender).fault,
    (s.sender).rests, (s.sender).resting_until, (s.sender).resting_reason,
    case
      when (s.sender).probe_id = _message_sender.execution_id then null
      else coalesce((s.sender).circuit_until, c.until)
    end,
    coalesce((s.sender).circuit_reason, c.reason),
    c.host
  from (
    select
      case
        when _message_sender.senders is null then _message_sender.sender
        else dripdrop._drawn_sender(
          _message_sender.senders, _message_sender.execution_id, kept
        )
      end as sender
    from (values (1)) as one
    offset 0
  ) as s
  left join dripdrop.sender_states as c
    on c.adapter_id = (s.sender).adapter_id
    and c.host = _message_sender.host
    and c.ended_at is null
    and c.state <> 'closed'
    and c.until > _message_sender.at
    and c.probe_id is distinct from _message_sender.execution_id;
end;

comment on function dripdrop._message_sender(
  dripdrop._sender, dripdrop._sender[], uuid, uuid, text, timestamptz
) is
  'The sender of a message: the only one of its step, or its own of those who share them.';

-- raises  ZD201 with the path of the fault
create or replace function dripdrop._check_rotation(rotation jsonb, field text)
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_entry jsonb;
  v_path text;
begin
  if jsonb_typeof(rotation) is distinct from 'array' or rotation = '[]' then
    raise exception 'a rotation is a list of senders' using
      errcode = 'ZD201', column = _check_rotation.field,
      hint = 'Write their names, or [{"adapter": "Postmark", "weight": 3}, …].';
  end if;
  for i in 0 .. jsonb_array_length(rotation) - 1 loop
    v_entry := case jsonb_typeof(rotation -> i)
      when 'string' then jsonb_build_object('adapter', rotation -> i)
      else rotation -> i
    end;
    v_path := format('%s[%s]', _check_rotation.field, i);
    -- One of the two names it: which of them is wrong nobody can say, so the entry is.
    if jsonb_typeof(v_entry) = 'object' and (
      v_entry ? 'adapter' = v_entry ? 'adapter_id'
      or exists (
        select from dripdrop._field_faults('sender', v_entry) as f
        where f.field in ('adapter', 'adapter_id')
      )
    ) then
      v_entry := v_entry - '{adapter,adapter_id}'::text[];
    end if;
    perform dripdrop._check_document(v_entry, 'sender', v_path || '.');
    if not v_entry ?| '{adapter,adapter_id}' then
      raise exception 'a sender of a rotation has no name' using
        errcode = 'ZD201', column = v_path,
        hint = 'Write its name, or {"adapter": "Postmark", "weight": 3}.';
    end if;
  end loop;
end
$$;

comment on function dripdrop._check_rotation(jsonb, text) is
  'Raises on what is not a list of senders with weights.';

-- channel null: of whatever channel.
--
-- raises  ZD107 no such adapter, ZD201 it is switched off; with the path of the fault
create or replace function dripdrop._named_adapter(
  tenant_key text,
  channel text,
  name text,
  id uuid,
  field text
)
returns uuid
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_adapter dripdrop.channel_adapters;
begin
  select a.* into v_adapter
  from dripdrop.channel_adapters as a
  where (a.name = _named_adapter.name or a.id = _named_adapter.id)
    and (a.tenant_key = _named_adapter.tenant_key or a.tenant_key is null)
    and (a.channel = _named_adapter.channel or _named_adapter.channel is null)
  order by a.tenant_key nulls last
  limit 1;
  if not found then
    raise exception 'adapter % not found%',
      dripdrop._quoted(coalesce(name, id::text)),
      coalesce(' for channel ' || dripdrop._quoted(nullif(channel, '')), '') using
      errcode = 'ZD107', column = _named_adapter.field,
      hint = 'Name an adapter of this tenant or a global one; list_channel_adapters() shows them.';
  end if;
  if not v_adapter.active then
    raise exception 'adapter % is switched off', dripdrop._quoted(v_adapter.name) using
      errcode = 'ZD201', column = _named_adapter.field,
      hint = 'Leave it out, or switch it on: update_channel_adapter(…, active => true).';
  end if;
  return v_adapter.id;
end
$$;

comment on function dripdrop._named_adapter(text, text, text, uuid, text) is
  'The id of an active adapter that a tenant may use, by its name or its id.';

-- raises  ZD107, ZD201 with the path of the fault
create or replace function dripdrop._canonical_rotation(
  tenant_key text,
  channel text,
  rotation jsonb,
  field text
)
returns jsonb
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_entry jsonb;
  v_path text;
  v_id uuid;
  v_senders jsonb := jsonb '[]';
begin
  perform dripdrop._check_rotation(rotation, field);
  for i in 0 .. jsonb_array_length(rotation) - 1 loop
    v_entry := rotation -> i;
    v_path := format('%s[%s]', field, i);
    if jsonb_typeof(v_entry) = 'string' then
      v_entry := jsonb_build_object('adapter', v_entry);
    else
      v_path := v_path || case when v_entry ? 'adapter' then '.adapter' else '.adapter_id' end;
    end if;
    v_id := dripdrop._named_adapter(
      tenant_key, channel, v_entry ->> 'adapter', (v_entry ->> 'adapter_id')::uuid, v_path
    );
    if v_senders @> jsonb_build_array(jsonb_build_object('adapter_id', v_id)) then
      raise exception 'adapter % stands twice in a rotation',
        dripdrop._quoted(coalesce(v_entry ->> 'adapter', v_id::text)) using
        errcode = 'ZD201', column = v_path, hint = 'Give it a greater weight instead.';
    end if;
    v_senders := v_senders || jsonb_build_object(
      'adapter_id', v_id, 'weight', coalesce(v_entry -> 'weight', '1')
    );
  end loop;
  return v_senders;
end
$$;

comment on function dripdrop._canonical_rotation(text, text, jsonb, text) is
  'A rotation in its stored form: [{"adapter_id", "weight"}, …].';

-- What the metadata of a sequence say about its senders, checked whenever they are written: a
-- change of them makes no version that would be validated.
--
-- raises  ZD107, ZD201 with the path of the fault
create or replace function dripdrop._canonical_metadata(tenant_key text, metadata jsonb)
returns jsonb
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_key text;
  v_path text;
  v_metadata jsonb := metadata;
begin
  for v_key in select jsonb_object_keys(coalesce(metadata -> 'channel_adapters', '{}')) loop
    perform dripdrop._named_adapter(
      tenant_key, v_key, null, (metadata #>> array['channel_adapters', v_key])::uuid,
      'metadata.channel_adapters.' || v_key
    );
  end loop;
  if not metadata ? 'channel_rotation' then
    return metadata;
  end if;
  if jsonb_typeof(metadata -> 'channel_rotation') <> 'object' then
    raise exception 'metadata.channel_rotation does not map channels to senders' using
      errcode = 'ZD201', column = 'metadata.channel_rotation',
      hint = 'For example {"email": ["Postmark", "Mail"]}.';
  end if;
  for v_key in select jsonb_object_keys(metadata -> 'channel_rotation') loop
    v_path := 'metadata.channel_rotation.' || v_key;
    if v_key <> 'default' then
      begin
        perform dripdrop._check_channel(v_key);
      exception
        when sqlstate 'ZD202' then
          raise exception 'channel % is unknown', dripdrop._quoted(v_key) using
            errcode = 'ZD202', column = v_path,
            hint = 'Name a channel of providers(), or "default" for the channels not named.';
      end;
    end if;
    v_metadata := jsonb_set(
      v_metadata,
      array['channel_rotation', v_key],
      dripdrop._canonical_rotation(
        tenant_key, nullif(v_key, 'default'), metadata #> array['channel_rotation', v_key], v_path
      )
    );
  end loop;
  return v_metadata;
end
$$;

comment on function dripdrop._canonical_metadata(text, jsonb) is
  'The metadata of a sequence, its senders checked and a rotation in its stored form.';
