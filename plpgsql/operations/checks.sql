-- A role that this server does not have is granted nothing; storage settings beyond ours are the
-- operator's.
create or replace function dripdrop.check_schema()
returns table (kind text, name text, problem text, expected text, found text)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
  select
    coalesce(m.kind, c.kind),
    coalesce(m.name, c.name),
    case
      when c.name is null then 'missing'
      when m.name is null then 'unexpected'
      else 'different'
    end,
    m.definition,
    c.definition
  from (
    select e.*
    from dripdrop._expected() as e
    where e.kind <> 'grant'
      or starts_with(e.name, 'public ')
      or to_regrole(split_part(e.name, ' ', 1)) is not null
  ) as m
  full join dripdrop._catalogue() as c on c.kind = m.kind and c.name = m.name
  where m.definition is distinct from c.definition
    and (m.name is not null or c.kind <> 'storage')
  order by 1, 2
$$;

comment on function dripdrop.check_schema() is
  'What is missing, different or unexpected in the schema, against what this version is made of; '
  'no row means it is whole.';

create or replace function dripdrop._installation_problems()
returns setof dripdrop._problem
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
  return query
  select
    'untrusted_owner',
    format('%s belongs to "%s", who could act as the engine through it', u.object, u.owner),
    'Give it to the role that installed, or drop it.',
    true
  from dripdrop._untrusted() as u;

  return query
  select 'queue_missing', q.queue, 'select * from dripdrop.start() creates the queues.', true
  from dripdrop._queues() as q
  where to_regclass('pgmq.q_' || q.queue) is null;

  return query
  select
    'schema_differs',
    format('%s %s is %s', c.kind, c.name, c.problem),
    'select * from dripdrop.check_schema() shows all differences.',
    true
  from dripdrop.check_schema() as c
  limit 1;
end
$$;

comment on function dripdrop._installation_problems() is
  'What is wrong with the schema and the queues, as startup_check() reports it.';

create or replace function dripdrop._setup_problems()
returns setof dripdrop._problem
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
  return query
  select distinct
    'no_adapter',
    format(
      'sequence %s (tenant %s) sends over %s', q.key, coalesce(q.tenant_key, 'global'), s.channel
    ),
    'create_channel_adapter(…, is_default => true) gives the channel a sender.',
    true
  from dripdrop.steps as s
  join dripdrop.sequence_versions as v on v.id = s.sequence_version_id and v.state = 'active'
  join dripdrop.sequences as q on q.id = v.sequence_id and q.active
  cross join lateral dripdrop._who_sends(
    s.channel_adapter_id, s.config, q.metadata, s.tenant_key, s.channel
  ) as w
  where s.active and w.sends and w.adapter_id is null;

  return query
  select
    'invalid_adapter',
    format('sender %s (tenant %s): %s', a.name, coalesce(a.tenant_key, 'global'), p.problem),
    p.hint,
    true
  from dripdrop.channel_adapters as a
  cross join lateral dripdrop._setting_problems(
    a.channel || '.' || a.provider, a.config, a.credentials is not null
  ) as p
  where a.active
  order by a.tenant_key, a.name, p.field;

  return query
  select distinct
    'no_unsubscribe_url',
    format(
      'sequence %s (tenant %s) sends marketing messages over %s without a link to unsubscribe',
      q.key, coalesce(q.tenant_key, 'global'), s.channel
    ),
    'update_tenant_settings(…, unsubscribe_url => ''https://…''), or step config kind '
    'transactional.',
    true
  from dripdrop.steps as s
  join dripdrop.channels as c on c.channel = s.channel
  join dripdrop.sequence_versions as v on v.id = s.sequence_version_id and v.state = 'active'
  join dripdrop.sequences as q on q.id = v.sequence_id and q.active
  where s.active
    and dripdrop._carries_unsubscribe(c.unsubscribe, s.config)
    and dripdrop._unsubscribe_link(s.tenant_key) is null
    and not exists (
      select from jsonb_object_keys(coalesce(s.template_content -> 'headers', '{}')) as header
      where lower(header) = 'list-unsubscribe'
    );
end
$$;

comment on function dripdrop._setup_problems() is
  'What is wrong with senders and links to unsubscribe, as startup_check() reports it.';

-- What is missing or different comes first: what else is wrong may follow from it, or may not even
-- be found out.
--
-- raises  nothing: it is for finding out what is wrong
create or replace function dripdrop.startup_check()
returns table (problem text, detail text, hint text, blocks boolean)
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := dripdrop._now();
begin
  if to_regnamespace('pgmq') is null then
    return query
    select
      'pgmq_missing',
      'pgmq is not installed in this database',
      'create extension pgmq, or run "dripdrop install".',
      true;
  end if;
  return query select p.* from dripdrop._installation_problems() as p;
  return query select p.*, true from dripdrop._open_transaction_problems('10 seconds') as p;
  return query select p.* from dripdrop._setup_problems() as p;

  begin
    return query select p.* from dripdrop._circuit_problems(v_now) as p;
    return query select p.* from dripdrop._stop_problems() as p;
    return query select p.* from dripdrop._held_problems() as p;
    return query select p.* from dripdrop._fault_problems(v_now) as p;
    return query select p.* from dripdrop._overdue_problems(v_now) as p;
    return query select p.* from dripdrop._unserved_problems(v_now) as p;
    return query select p.* from dripdrop._retry_problems(v_now) as p;
    return query select p.* from dripdrop._journey_problems(v_now) as p;
  exception
    when others or assert_failure then
      return query
      select
        'check_failed',
        format('%s %s', sqlstate, sqlerrm),
        'What goes wrong at run time cannot be told before this is mended.',
        true;
  end;
end
$$;

comment on function dripdrop.startup_check() is
  'What keeps this installation, or some of its messages, from sending, one row per problem with '
  'what to do; blocks is false where only single recipients are at fault. No row: all is well.';
