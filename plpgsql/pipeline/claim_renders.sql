-- Work for a renderer. A claim is only the queue's visibility time: a renderer that dies changes
-- nothing, and rendering the same message twice gives the same words.
-- The template stands only in the first row of each template_hash in a batch: renderers keep it.
-- A template that names a hook without a value would go out half empty: it fails here instead.
--
-- locks   messages of the render queue; of what fails, enrolments and their executions; all
--         skipping what is locked
-- raises  ZD120 the queue does not exist, ZD125 a daemon of another version
create or replace function dripdrop.claim_renders(
  batch_size int default 500,
  visibility interval default '1 minute'
)
returns table (
  execution_id uuid,
  fence int,
  message_id bigint,
  tenant_key text,
  channel text,
  template_hash text,
  template jsonb,
  mailboxes text[],
  variables jsonb,
  unsubscribe jsonb
)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set standard_conforming_strings = on
as $$
declare
  v_now timestamptz := dripdrop._now();
  v_messages bigint[];
  v_executions uuid[];
  v_fences int[];
begin
  perform dripdrop._cut_off('off');
  perform dripdrop._check_interval(visibility, 'visibility', interval '0');
  perform dripdrop._check_driver();
  perform dripdrop._check_batch_size(batch_size);
  select
    array_agg(m.msg_id),
    array_agg(dripdrop._pointer_execution(m.message)),
    array_agg(dripdrop._pointer_fence(m.message))
  into v_messages, v_executions, v_fences
  from dripdrop._read_queue(
    'dripdrop_render', extract(epoch from visibility)::int, batch_size
  ) as m;
  if v_messages is null then
    return;
  end if;

  -- What moved on, what never was a pointer, and what is left out for a while: reconcile() puts the
  -- last back.
  perform pgmq.delete('dripdrop_render', array_agg(p.message))
  from unnest(v_messages, v_executions, v_fences) as p (message, execution, fence)
  where not exists (
    select from dripdrop.step_executions as x
    where x.id = p.execution and x.fence = p.fence and x.state = 'queued'
  )
    or exists (
      select from dripdrop.faults as f where f.execution_id = p.execution and f.until > v_now
    )
  having count(*) > 0;
  perform dripdrop._warn_of_foreign_messages('dripdrop_render', count(*))
  from unnest(v_executions, v_fences) as p (execution, fence)
  where p.execution is null or p.fence is null;
  select
    array_agg(p.message order by p.message),
    array_agg(p.execution order by p.message),
    array_agg(p.fence order by p.message)
  into v_messages, v_executions, v_fences
  from unnest(v_messages, v_executions, v_fences) as p (message, execution, fence)
  where not exists (
    select from dripdrop.faults as f where f.execution_id = p.execution and f.until > v_now
  );
  if v_messages is not null then
    return query
    select r.*
    from unnest(
      dripdrop._renders_but_for_faults(v_messages, v_executions, v_fences, v_now)
    ) as r;
  end if;
end
$$;

comment on function dripdrop.claim_renders(int, interval) is
  'Messages to render, for a while nobody else''s; hand the results to complete_renders().';

-- What was stopped meanwhile is missing.
--
-- locks   of what fails, enrolments and their executions, skipping what is locked
create or replace function dripdrop.leased_renders(executions uuid[])
returns table (
  execution_id uuid,
  fence int,
  message_id bigint,
  tenant_key text,
  channel text,
  template_hash text,
  template jsonb,
  mailboxes text[],
  variables jsonb,
  unsubscribe jsonb
)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := dripdrop._now();
  v_executions uuid[];
  v_fences int[];
begin
  perform dripdrop._cut_off('off');
  select array_agg(x.id), array_agg(x.fence)
  into v_executions, v_fences
  from dripdrop.step_executions as x
  where x.id = any (leased_renders.executions)
    and x.state = 'queued'
    and x.lease_until > v_now;
  if v_executions is null then
    return;
  end if;
  return query
  select r.*
  from unnest(
    dripdrop._renders_but_for_faults(
      array_fill(null::bigint, array[cardinality(v_executions)]), v_executions, v_fences, v_now
    )
  ) as r;
end
$$;

comment on function dripdrop.leased_renders(uuid[]) is
  'The messages to render that claim_due() has leased to the caller, as claim_renders() hands them '
  'out, without message_id; hand the results to complete_renders().';

create or replace function dripdrop._pointer_execution(message jsonb)
returns uuid
language sql
immutable
parallel safe
return case
  when message ->> 'execution' ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
  then (message ->> 'execution')::uuid
end;

comment on function dripdrop._pointer_execution(jsonb) is
  'The execution of a pointer; null if it is none of ours.';

create or replace function dripdrop._pointer_fence(message jsonb)
returns int
language sql
immutable
parallel safe
return case when message ->> 'fence' ~ '^[0-9]{1,9}$' then (message ->> 'fence')::int end;

comment on function dripdrop._pointer_fence(jsonb) is
  'The fence of a pointer; null if it is none of ours.';

-- What was leased has no message: it gets one.
create or replace function dripdrop._put_renders_back(
  messages bigint[],
  executions uuid[],
  fences int[]
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set standard_conforming_strings = on
as $$
begin
  perform from pgmq.set_vt(
    'dripdrop_render', array(select m.id from unnest(messages) as m (id) where m.id is not null), 0
  );
  perform dripdrop._enqueue('dripdrop_render', array(
    select jsonb_build_object('execution', p.execution, 'fence', p.fence)
    from unnest(messages, executions, fences) as p (message, execution, fence)
    where p.message is null
  ));
end
$$;

comment on function dripdrop._put_renders_back(bigint[], uuid[], int[]) is
  'Has messages claimed again that a claim was cut off with.';

-- The rows of a claim. One that cannot be made is found by halving and left out for a while.
--
-- locks   of what fails for want of a value, enrolments and their executions, skipping what is
--         locked
create or replace function dripdrop._renders_but_for_faults(
  messages bigint[],
  executions uuid[],
  fences int[],
  at timestamptz
)
returns dripdrop._render_claim[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_half int := cardinality(messages) / 2;
  v_most int := dripdrop._most_together(executions);
  v_claims dripdrop._render_claim[] := array[]::dripdrop._render_claim[];
begin
  if dripdrop._is_cut_off() then
    perform dripdrop._put_renders_back(messages, executions, fences);
    return v_claims;
  elsif cardinality(messages) > v_most then
    return dripdrop._renders_but_for_faults(
        messages[:v_half], executions[:v_half], fences[:v_half], at
      )
      || dripdrop._renders_but_for_faults(
        messages[v_half + 1:], executions[v_half + 1:], fences[v_half + 1:], at
      );
  end if;
  begin
    v_claims := dripdrop._renders(messages, executions, fences, at);
    perform dripdrop._forget_slow(executions) where v_most is not null;
    return v_claims;
  exception
    when query_canceled then
      perform dripdrop._note_slow(executions, 'render', sqlerrm, at);
      perform dripdrop._put_renders_back(messages, executions, fences);
      return array[]::dripdrop._render_claim[];
    when others or assert_failure then
      if v_half = 0 then
        perform dripdrop._note_fault(executions[1], 'render', sqlstate, sqlerrm, at);
        return array[]::dripdrop._render_claim[];
      end if;
      return dripdrop._renders_but_for_faults(
          messages[:v_half], executions[:v_half], fences[:v_half], at
        )
        || dripdrop._renders_but_for_faults(
          messages[v_half + 1:], executions[v_half + 1:], fences[v_half + 1:], at
        );
  end;
end
$$;

comment on function dripdrop._renders_but_for_faults(bigint[], uuid[], int[], timestamptz) is
  'What a renderer needs of queued messages, but for those that raise.';

-- locks   of what fails for want of a value, enrolments and their executions, skipping what is
--         locked
create or replace function dripdrop._renders(
  messages bigint[],
  executions uuid[],
  fences int[],
  at timestamptz
)
returns dripdrop._render_claim[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_failures dripdrop._render_result[];
  v_links jsonb;
begin
  v_failures := array(
    select f::dripdrop._render_result
    from (
      select
        x.id as execution,
        x.fence,
        p.message,
        null::jsonb as payload,
        'hook_failed' as code,
        dripdrop._failed_hook(x.hooks, s.template_content) as detail
      from unnest(messages, executions, fences) as p (message, execution, fence)
      join dripdrop.step_executions as x
        on x.id = p.execution and x.fence = p.fence and x.state = 'queued'
      join dripdrop.steps as s on s.id = x.step_id
      where x.hooks is not null
        and dripdrop._failed_hook(x.hooks, s.template_content) is not null
    ) as f
  );
  if cardinality(v_failures) > 0 then
    perform dripdrop._fail_renders(v_failures, at);
  end if;
  v_links := dripdrop._unsubscribe_links(executions);

  return array(
    with mailboxes as materialized (
      select f.kind, array_agg(f.field) as fields
      from dripdrop.fields as f
      where f.type = 'mailbox'
      group by f.kind
    )
    select row(
      x.id,
      x.fence,
      p.message,
      x.tenant_key,
      x.channel,
      s.template_hash,
      case when row_number() over (partition by s.template_hash) = 1 then s.template_content end,
      m.fields,
      dripdrop._variables(e, q.key, s.key, x.hooks, x.event_id, _renders.at),
      -- Nothing of the claim's: rendered again, it gets the same token.
      (v_links -> x.step_id::text) || jsonb_build_object(
        'recipient', x.recipient, 'topic', s.config ->> 'topic'
      )
    )::dripdrop._render_claim
    from unnest(messages, executions, fences) as p (message, execution, fence)
    join dripdrop.step_executions as x
      on x.id = p.execution and x.fence = p.fence and x.state = 'queued'
    join dripdrop.steps as s on s.id = x.step_id
    join dripdrop.enrollments as e on e.id = x.enrollment_id
    join dripdrop.sequences as q on q.id = e.sequence_id
    left join mailboxes as m on m.kind = 'template.' || x.channel
    where x.id <> all (array(select f.execution from unnest(v_failures) as f))
  );
end
$$;

comment on function dripdrop._renders(bigint[], uuid[], int[], timestamptz) is
  'What a renderer needs of queued messages; what cannot be rendered for want of a value fails.';

-- A claim waits for nobody: what somebody has locked fails when its claim has run out.
--
-- locks   enrolments and their executions, skipping what is locked
create or replace function dripdrop._fail_renders(
  failures dripdrop._render_result[],
  at timestamptz
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_free uuid[] := array(
    select x.id
    from dripdrop.step_executions as x
    join dripdrop.enrollments as e on e.id = x.enrollment_id
    where x.id = any (array(select f.execution from unnest(failures) as f))
    for no key update of e, x skip locked
  );
  v_taken dripdrop._render_result[] := array(
    select f from unnest(failures) as f where f.execution = any (v_free)
  );
begin
  perform dripdrop._record_renders(v_taken, at);
  perform dripdrop._delete_render_messages(v_taken);
end
$$;

comment on function dripdrop._fail_renders(dripdrop._render_result[], timestamptz) is
  'Fails messages that cannot be rendered for want of a value.';

create or replace function dripdrop._read_queue(queue text, visibility_seconds int, batch_size int)
returns table (msg_id bigint, message jsonb)
language plpgsql
set search_path = pg_catalog, pg_temp
set standard_conforming_strings = on
as $$
begin
  return query
  select m.msg_id, m.message
  from pgmq.read(_read_queue.queue, _read_queue.visibility_seconds, _read_queue.batch_size) as m;
exception
  when undefined_table or invalid_schema_name or undefined_function then
    raise exception 'queue "%" does not exist', queue using
      errcode = 'ZD120', hint = 'select * from dripdrop.start() creates the queues.';
end
$$;

comment on function dripdrop._read_queue(text, int, int) is
  'pgmq.read(), with our own error for a missing queue.';
